//! Keys differ where answers may, and show nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "a key without a context is tried as well"
)]

use std::hash::{BuildHasher as _, RandomState};

use uuid::Uuid;

use super::*;
use crate::{Action, CannotOpen, Permissions};

struct List;

impl Cached for List {
    type Value = Answer;
    const DOMAIN: CacheDomain = CacheDomain::Contacts;
    const KIND: &'static str = "contact_list";
}

struct Detail;

impl Cached for Detail {
    type Value = Answer;
    const DOMAIN: CacheDomain = CacheDomain::Contacts;
    const KIND: &'static str = "contact_read";
}

/// Shows what it was given: enough to see what goes into a key.
struct Spelling;

impl Keys for Spelling {
    fn seal(&self, _: KeyOwner, _: KeyPurpose, _: &[u8], plain: &[u8]) -> Vec<u8> {
        plain.to_vec()
    }

    fn open(&self, _: KeyOwner, _: KeyPurpose, _: &[u8], b: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        Ok(b.to_vec())
    }

    fn is_current(&self, _: &[u8]) -> bool {
        true
    }

    fn mac(&self, owner: KeyOwner, _: KeyPurpose, data: &[u8]) -> [u8; 32] {
        let mut sum = [0_u8; 32];
        let KeyOwner::Clinic(clinic) = owner else {
            panic!("a clinic's own key");
        };
        for (at, byte) in clinic.as_uuid().as_bytes().iter().chain(data).enumerate() {
            let cell = &mut sum[(at * 7) % 16];
            *cell = cell.wrapping_mul(31).wrapping_add(*byte).rotate_left(3);
        }
        sum
    }
}

fn cx(clinic: u128, user: u128, permissions: &[Action]) -> TenantContext {
    let clinic = ClinicId::from(Uuid::from_u128(clinic));
    let user = UserId::from(Uuid::from_u128(user));
    TenantContext::for_test(clinic, user, Permissions::of(permissions))
}

fn text<K: Cached>(cx: &TenantContext, query: &[&[u8]], generation: i64) -> String {
    CacheKey::<K>::new(cx, query)
        .raw()
        .text(&Spelling, generation, b"r")
}

#[test]
fn keys_differ_by_all_that_may_change_an_answer_and_by_nothing_else() {
    let read = cx(1, 7, &[Action::ContactRead]);
    let q: &[&[u8]] = &[b"search=helena"];
    let keys = [
        text::<List>(&read, q, 4),
        text::<List>(&read, q, 5),
        text::<List>(&read, &[b"search=helen", b"a"], 4),
        text::<List>(&cx(2, 7, &[Action::ContactRead]), q, 4),
        text::<List>(
            &cx(1, 7, &[Action::ContactRead, Action::ContactWrite]),
            q,
            4,
        ),
        text::<Detail>(&read, q, 4),
        CacheKey::<List>::before_context(read.clinic(), UserId::from(Uuid::from_u128(7)))
            .raw()
            .text(&Spelling, 4, b"r"),
        CacheKey::<List>::new(&read, q)
            .raw()
            .text(&Spelling, 4, b"other"),
    ];
    let different: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len(), "{keys:#?}");
    // Two people of one role share.
    assert_eq!(
        text::<List>(&cx(1, 8, &[Action::ContactRead]), q, 4),
        keys[0]
    );
    for key in &keys {
        assert!(key.starts_with("clinic_00000000-0000-0000-0000-00000000000"));
        assert!(!key.contains("helena"));
        assert_eq!(key.split(':').count(), 5);
    }
}

#[test]
fn within_a_process_keys_differ_likewise() {
    let hasher = RandomState::new();
    let hash = |key: &RawKey<'_>| hasher.hash_one(key);
    let read = cx(1, 7, &[Action::ContactRead]);
    let q: &[&[u8]] = &[b"a", b"b"];
    let keys = [
        hash(CacheKey::<List>::new(&read, q).raw()),
        hash(CacheKey::<List>::new(&read, &[b"ab"]).raw()),
        hash(CacheKey::<List>::new(&cx(2, 7, &[Action::ContactRead]), q).raw()),
        hash(CacheKey::<List>::new(&cx(1, 7, &[]), q).raw()),
        hash(CacheKey::<Detail>::new(&read, q).raw()),
    ];
    let different: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
    let again = hash(CacheKey::<List>::new(&cx(1, 9, &[Action::ContactRead]), q).raw());
    assert_eq!(again, keys[0]);
}

#[test]
fn an_encoding_is_made_once() {
    let answer = Answer::new("\"x\"", "plain");
    let mut made = 0;
    for _ in 0..3 {
        let encoded = answer.encoded(1, |_| {
            made += 1;
            Some(Bytes::from_static(b"short"))
        });
        assert_eq!(encoded.as_deref(), Some(b"short".as_slice()));
    }
    assert_eq!(made, 1);
    assert!(answer.encoded(ENCODINGS, |_| None).is_none());
}
