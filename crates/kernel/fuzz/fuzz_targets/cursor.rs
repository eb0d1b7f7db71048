//! Any text as a cursor is refused; a sealed one opens to the same position, and for its own
//! clinic, list, order, filter and permissions alone; one that was changed does not open at all.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use kernel::access::{Action, Permissions};
use kernel::cursor::{ListIdentity, Position, SortValue, open_cursor, seal_cursor};
use kernel::ports::CannotOpen;
use kernel::{ClinicId, KeyOwner, KeyPurpose, Keys, TenantContext};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use security::{KeyRing, MasterKey};
use uuid::Uuid;

/// What a list gives: a folded name of 200 characters, and a message's id of 255 bytes.
const LONGEST_SORT: usize = 800;
const LONGEST_TIE: usize = 255;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    made_for: Request<'a>,
    asked_for: Request<'a>,
    sort: Sort<'a>,
    id: u128,
    tie: Option<&'a str>,
    changes: Vec<Change>,
    strange: &'a [u8],
}

/// All that a cursor is bound to.
#[derive(Arbitrary, Debug, PartialEq)]
struct Request<'a> {
    clinic: u128,
    may_write: bool,
    other_list: bool,
    sort: &'a str,
    filter: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Sort<'a> {
    Instant(i64),
    Text(&'a str),
}

/// Places are taken modulo the length.
#[derive(Arbitrary, Debug)]
enum Change {
    /// One bit of the sealed bytes.
    Flip(u16),
    /// One letter of the text.
    Letter(u16, u8),
    Insert(u16, u8),
    Remove(u16),
    Cut(u16),
    Append(u8),
}

static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let keys = [1, 2].map(|version| MasterKey::new(version, &[7; 32]).expect("a master key"));
    KeyRing::new(keys.into(), None).expect("a ring")
});

/// Keys that hide nothing, so that what is made of opened bytes is seen too.
struct Glass;

impl Keys for Glass {
    fn seal(&self, _: KeyOwner, _: KeyPurpose, _: &[u8], plain: &[u8]) -> Vec<u8> {
        plain.to_vec()
    }

    fn open(
        &self,
        _: KeyOwner,
        _: KeyPurpose,
        _: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, CannotOpen> {
        Ok(sealed.to_vec())
    }

    fn is_current(&self, _: &[u8]) -> bool {
        true
    }

    fn mac(&self, _: KeyOwner, _: KeyPurpose, _: &[u8]) -> [u8; 32] {
        [0; 32]
    }
}

impl Request<'_> {
    fn context(&self) -> TenantContext {
        let mut permissions = Permissions::of(&[Action::ContactRead]);
        if self.may_write {
            permissions = permissions.with(Permissions::of(&[Action::ContactWrite]));
        }
        let clinic = ClinicId::from(Uuid::from_u128(self.clinic));
        TenantContext::for_test(clinic, Uuid::nil().into(), permissions)
    }

    fn list(&self) -> ListIdentity<'_> {
        ListIdentity {
            list: if self.other_list {
                "conversations"
            } else {
                "contacts"
            },
            sort: self.sort,
            filter: self.filter,
        }
    }
}

fn position(input: &Input<'_>) -> Option<Position> {
    let sort = match input.sort {
        Sort::Instant(micros) => SortValue::Instant(DateTime::from_timestamp_micros(micros)?),
        Sort::Text(text) if text.len() <= LONGEST_SORT => SortValue::Text(text.to_owned()),
        Sort::Text(_) => return None,
    };
    if input.tie.is_some_and(|tie| tie.len() > LONGEST_TIE) {
        return None;
    }
    Some(Position {
        sort,
        id: Uuid::from_u128(input.id),
        tie: input.tie.map(str::to_owned),
    })
}

fn changed(cursor: &str, changes: &[Change]) -> String {
    let mut text: Vec<u8> = cursor.into();
    for change in changes {
        let place = |at: u16| usize::from(at) % text.len().max(1);
        match *change {
            Change::Flip(bit) => {
                let Ok(mut bytes) = URL_SAFE_NO_PAD.decode(&text) else {
                    continue;
                };
                let bit = usize::from(bit) % (bytes.len() * 8).max(1);
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                text = URL_SAFE_NO_PAD.encode(bytes).into();
            }
            Change::Letter(at, letter) => {
                let at = place(at);
                if let Some(old) = text.get_mut(at) {
                    *old = letter;
                }
            }
            Change::Insert(at, letter) => text.insert(place(at), letter),
            Change::Remove(at) => {
                let at = place(at);
                if at < text.len() {
                    text.remove(at);
                }
            }
            Change::Cut(at) => text.truncate(place(at)),
            Change::Append(letter) => text.push(letter),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn strangers_are_refused(request: &Request<'_>, strange: &[u8]) {
    let (cx, list) = (request.context(), request.list());
    // As it came; as sealed bytes; and as such of the present format and key.
    let plausible = [&[1, 0, 2], strange].concat();
    let texts = [
        String::from_utf8_lossy(strange).into_owned(),
        URL_SAFE_NO_PAD.encode(strange),
        URL_SAFE_NO_PAD.encode(plausible),
    ];
    for text in texts {
        assert!(open_cursor(&cx, &*RING, &list, &text).is_err());
        if let Ok(position) = open_cursor(&cx, &Glass, &list, &text) {
            let again = seal_cursor(&cx, &Glass, &list, &position);
            assert_eq!(again, text, "a position is written in one way");
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    strangers_are_refused(&input.asked_for, input.strange);

    let Some(position) = position(&input) else {
        return;
    };
    let (cx, list) = (input.made_for.context(), input.made_for.list());
    let cursor = seal_cursor(&cx, &*RING, &list, &position);
    assert_eq!(open_cursor(&cx, &*RING, &list, &cursor), Ok(position));

    if input.asked_for != input.made_for {
        let (cx, list) = (input.asked_for.context(), input.asked_for.list());
        assert!(open_cursor(&cx, &*RING, &list, &cursor).is_err());
    }
    let other = changed(&cursor, &input.changes);
    if other != cursor {
        assert!(open_cursor(&cx, &*RING, &list, &other).is_err());
    }
});
