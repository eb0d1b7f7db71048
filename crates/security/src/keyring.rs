//! [`KeyRing`]: versioned master keys, with a subkey for each owner and purpose.
//!
//! ```text
//! subkey = HKDF-Expand-SHA256(master, "acolhe 1" | use | purpose | owner)      (RFC 5869)
//! sealed = format (1) | master version (2) | nonce (12) | AES-256-GCM ciphertext and tag (16)
//! ```
//!
//! The header, the owner, the purpose and what the caller binds the value to are authenticated
//! with it. Master keys are 32 uniformly random bytes, so HKDF's extraction step is left out
//! (RFC 5869 section 3.3). Nonces are random: one subkey may seal 2^32 values before that becomes
//! unwise (NIST SP 800-38D section 8.3), and each clinic has its own.
//!
//! # Rotation
//!
//! - A **sealed** value names its master key, so a new one may be added at any time: it seals
//!   from then on, and the older ones still open. `acolhe-server keys rotate` seals anew what is
//!   stored.
//! - A **look-up** hash names nothing, and must come out the same until every stored hash has
//!   been computed anew. So [`Keys::mac`] uses a version of its own, the oldest on the ring
//!   unless told otherwise: adding a master key blinds no look-up. While no server runs, the
//!   look-up version is raised and `acolhe-server keys rotate` computes the stored hashes anew;
//!   only after it may the old key be dropped.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::TypedId as _;
use kernel::ports::CannotOpen;
use kernel::{KeyOwner, KeyPurpose, Keys};

/// Master keys: one that seals, one that look-ups use, and older ones that still open.
pub struct KeyRing {
    /// By version, ascending; never empty.
    keys: Vec<MasterKey>,
    sealing: usize,
    lookup: usize,
}

/// One master key and its version.
pub struct MasterKey {
    version: u16,
    prk: Prk,
}

/// Not a master key. The text is not repeated: it may nearly be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a version from 1 to 65535, a colon, and 32 bytes in base64")]
pub struct InvalidMasterKey;

/// These keys make no ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyRing {
    /// There is no key.
    #[error("there is no master key")]
    Empty,
    /// A version is there twice.
    #[error("two master keys have version {0}")]
    Twice(u16),
    /// The key that look-ups shall use is not there.
    #[error("look-ups shall use master key {0}, which is not there")]
    LookupMissing(u16),
}

const KEY_BYTES: usize = 32;

impl MasterKey {
    /// From 32 uniformly random bytes.
    pub fn new(version: u16, secret: &[u8; KEY_BYTES]) -> Result<Self, InvalidMasterKey> {
        if version == 0 {
            return Err(InvalidMasterKey);
        }
        Ok(Self {
            version,
            prk: Prk::new_less_safe(HKDF_SHA256, secret),
        })
    }

    /// From configuration: `2:` and 32 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, InvalidMasterKey> {
        let (version, secret) = text.trim().split_once(':').ok_or(InvalidMasterKey)?;
        let version = version.parse().map_err(|_| InvalidMasterKey)?;
        let secret = STANDARD.decode(secret).map_err(|_| InvalidMasterKey)?;
        let secret = secret.as_slice().try_into().map_err(|_| InvalidMasterKey)?;
        Self::new(version, secret)
    }

    /// Its version.
    pub const fn version(&self) -> u16 {
        self.version
    }

    /// The text of a new key, as [`MasterKey::parse`] takes it.
    pub fn generate(version: u16, random: &dyn kernel::Random) -> String {
        let mut secret = [0; KEY_BYTES];
        random.fill(&mut secret);
        format!("{version}:{}", STANDARD.encode(secret))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, ***)", self.version)
    }
}

impl KeyRing {
    /// A ring of these keys, in any order. The highest version seals. Look-ups use
    /// `lookup_version`, or the lowest where `None`.
    pub fn new(
        mut keys: Vec<MasterKey>,
        lookup_version: Option<u16>,
    ) -> Result<Self, InvalidKeyRing> {
        keys.sort_by_key(|key| key.version);
        if let Some(pair) = keys
            .windows(2)
            .find(|pair| pair[0].version == pair[1].version)
        {
            return Err(InvalidKeyRing::Twice(pair[0].version));
        }
        let sealing = keys.len().checked_sub(1).ok_or(InvalidKeyRing::Empty)?;
        let lookup = match lookup_version {
            None => 0,
            Some(version) => keys
                .iter()
                .position(|key| key.version == version)
                .ok_or(InvalidKeyRing::LookupMissing(version))?,
        };
        Ok(Self {
            keys,
            sealing,
            lookup,
        })
    }

    /// The version of the key that seals.
    pub fn sealing_version(&self) -> u16 {
        self.keys[self.sealing].version
    }

    /// The version of the key that look-ups use.
    pub fn lookup_version(&self) -> u16 {
        self.keys[self.lookup].version
    }

    /// Every version, ascending.
    pub fn versions(&self) -> impl Iterator<Item = u16> {
        self.keys.iter().map(MasterKey::version)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.keys).finish()
    }
}

/// What a derived key does: the same purpose may both seal and hash, with different keys.
#[derive(Clone, Copy)]
enum Use {
    Seal,
    Mac,
}

/// 32 bytes of key.
#[derive(Debug, Clone, Copy)]
struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// Owner in bytes: always 17, so that nothing that follows can be mistaken for part of it.
fn owner_bytes(owner: KeyOwner) -> [u8; 17] {
    let mut bytes = [0; 17];
    if let KeyOwner::Clinic(clinic) = owner {
        bytes[0] = 1;
        bytes[1..].copy_from_slice(clinic.as_uuid().as_bytes());
    }
    bytes
}

fn derive(master: &MasterKey, usage: Use, owner: KeyOwner, purpose: KeyPurpose) -> [u8; KEY_BYTES] {
    let usage = match usage {
        Use::Seal => b"seal ",
        Use::Mac => b"hash ",
    };
    let mut key = [0; KEY_BYTES];
    // The label is the only part without a fixed length, and a byte that no label has ends it.
    let info: [&[u8]; 5] = [
        b"acolhe 1 ",
        usage,
        purpose.label().as_bytes(),
        &[0],
        &owner_bytes(owner),
    ];
    #[expect(
        clippy::expect_used,
        reason = "fails only for more than 255 * 32 bytes; a key that is not derived must not be used"
    )]
    master
        .prk
        .expand(&info, Bytes32)
        .and_then(|okm| okm.fill(&mut key))
        .expect("32 bytes can be derived");
    key
}

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 3;
const NONCE_BYTES: usize = 12;

fn header(version: u16) -> [u8; HEADER_BYTES] {
    let [high, low] = version.to_be_bytes();
    [FORMAT, high, low]
}

fn authenticated(version: u16, owner: KeyOwner, purpose: KeyPurpose, bound_to: &[u8]) -> Vec<u8> {
    let label = purpose.label().as_bytes();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 18 + label.len() + bound_to.len());
    bytes.extend_from_slice(&header(version));
    bytes.extend_from_slice(&owner_bytes(owner));
    bytes.extend_from_slice(label);
    bytes.push(0);
    bytes.extend_from_slice(bound_to);
    bytes
}

fn sealing_key(master: &MasterKey, owner: KeyOwner, purpose: KeyPurpose) -> RandomizedNonceKey {
    #[expect(clippy::expect_used, reason = "fails only for a key of another length")]
    RandomizedNonceKey::new(&AES_256_GCM, &derive(master, Use::Seal, owner, purpose))
        .expect("32 bytes are an AES-256 key")
}

impl Keys for KeyRing {
    fn seal(&self, owner: KeyOwner, purpose: KeyPurpose, bound_to: &[u8], plain: &[u8]) -> Vec<u8> {
        let master = &self.keys[self.sealing];
        let mut body = plain.to_vec();
        #[expect(
            clippy::expect_used,
            reason = "fails only without randomness or past 64 GiB: stopping is better than leaking"
        )]
        let nonce = sealing_key(master, owner, purpose)
            .seal_in_place_append_tag(
                Aad::from(authenticated(master.version, owner, purpose, bound_to)),
                &mut body,
            )
            .expect("bytes can be sealed");
        let mut sealed = Vec::with_capacity(HEADER_BYTES + NONCE_BYTES + body.len());
        sealed.extend_from_slice(&header(master.version));
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&body);
        sealed
    }

    fn open(
        &self,
        owner: KeyOwner,
        purpose: KeyPurpose,
        bound_to: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, CannotOpen> {
        let (&[format, high, low], rest) = sealed.split_first_chunk().ok_or(CannotOpen)?;
        if format != FORMAT {
            return Err(CannotOpen);
        }
        let version = u16::from_be_bytes([high, low]);
        let (nonce, body) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(CannotOpen)?;
        let master = self
            .keys
            .iter()
            .find(|key| key.version == version)
            .ok_or(CannotOpen)?;
        let mut body = body.to_vec();
        let length = sealing_key(master, owner, purpose)
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(authenticated(version, owner, purpose, bound_to)),
                &mut body,
            )
            .map_err(|_| CannotOpen)?
            .len();
        body.truncate(length);
        Ok(body)
    }

    fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.starts_with(&header(self.sealing_version()))
    }

    fn mac(&self, owner: KeyOwner, purpose: KeyPurpose, data: &[u8]) -> [u8; 32] {
        let key = derive(&self.keys[self.lookup], Use::Mac, owner, purpose);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), data);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

    use kernel::ClinicId;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn ring(versions: &[u16], lookup: Option<u16>) -> KeyRing {
        let keys = versions
            .iter()
            .map(|version| {
                MasterKey::new(*version, &[u8::try_from(*version).unwrap(); 32]).unwrap()
            })
            .collect();
        KeyRing::new(keys, lookup).unwrap()
    }

    fn clinic(number: u128) -> KeyOwner {
        KeyOwner::Clinic(ClinicId::from(Uuid::from_u128(number)))
    }

    const PURPOSES: [KeyPurpose; 11] = [
        KeyPurpose::Cursor,
        KeyPurpose::DocumentLookup,
        KeyPurpose::DocumentAtRest,
        KeyPurpose::ChannelSecret,
        KeyPurpose::Audit,
        KeyPurpose::EntityTag,
        KeyPurpose::Idempotency,
        KeyPurpose::SecurityLog,
        KeyPurpose::RefreshToken,
        KeyPurpose::Lockout,
        KeyPurpose::OperatorToken,
    ];

    fn purposes() -> impl Strategy<Value = KeyPurpose> {
        prop::sample::select(&PURPOSES[..])
    }

    fn owners() -> impl Strategy<Value = KeyOwner> {
        prop_oneof![Just(KeyOwner::Platform), any::<u128>().prop_map(clinic)]
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_for_the_same_owner_purpose_and_place_alone(
            owner in owners(), other_owner in owners(),
            purpose in purposes(), other_purpose in purposes(),
            place in prop::collection::vec(any::<u8>(), 0..40),
            other_place in prop::collection::vec(any::<u8>(), 0..40),
            plain in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let ring = ring(&[1], None);
            let sealed = ring.seal(owner, purpose, &place, &plain);
            prop_assert_eq!(ring.open(owner, purpose, &place, &sealed), Ok(plain));
            if owner != other_owner {
                prop_assert!(ring.open(other_owner, purpose, &place, &sealed).is_err());
            }
            if purpose != other_purpose {
                prop_assert!(ring.open(owner, other_purpose, &place, &sealed).is_err());
            }
            if place != other_place {
                prop_assert!(ring.open(owner, purpose, &other_place, &sealed).is_err());
            }
        }

        #[test]
        fn one_changed_bit_or_a_lost_byte_is_noticed(
            plain in prop::collection::vec(any::<u8>(), 0..60), bit in any::<prop::sample::Index>(),
        ) {
            let ring = ring(&[1, 2], None);
            let sealed = ring.seal(KeyOwner::Platform, KeyPurpose::Cursor, b"row", &plain);
            let mut changed = sealed.clone();
            let bit = bit.index(sealed.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(ring.open(KeyOwner::Platform, KeyPurpose::Cursor, b"row", &changed).is_err());
            let cut = &sealed[..bit / 8];
            prop_assert!(ring.open(KeyOwner::Platform, KeyPurpose::Cursor, b"row", cut).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..100), plausible in any::<bool>(),
        ) {
            if plausible && bytes.len() >= 3 {
                bytes[..3].copy_from_slice(&header(1));
            }
            let ring = ring(&[1], None);
            prop_assert!(ring.open(KeyOwner::Platform, KeyPurpose::Cursor, b"", &bytes).is_err());
        }

        #[test]
        fn any_text_is_parsed_as_a_master_key_without_a_panic(text in ".{0,80}") {
            let _ = MasterKey::parse(&text);
        }

        #[test]
        fn hashes_differ_between_owners_purposes_and_values(
            owner in owners(), other in owners(), data in any::<[u8; 8]>(), more in any::<[u8; 8]>(),
        ) {
            let ring = ring(&[1], None);
            let hash = ring.mac(owner, KeyPurpose::DocumentLookup, &data);
            prop_assert_eq!(hash, ring.mac(owner, KeyPurpose::DocumentLookup, &data));
            prop_assert_ne!(hash, ring.mac(owner, KeyPurpose::Audit, &data));
            if owner != other {
                prop_assert_ne!(hash, ring.mac(other, KeyPurpose::DocumentLookup, &data));
            }
            if data != more {
                prop_assert_ne!(hash, ring.mac(owner, KeyPurpose::DocumentLookup, &more));
            }
        }
    }

    #[test]
    fn the_same_plain_bytes_are_never_sealed_alike() {
        let ring = ring(&[1], None);
        let seal = || ring.seal(KeyOwner::Platform, KeyPurpose::Cursor, b"", b"same");
        assert_ne!(seal(), seal());
    }

    #[test]
    fn an_older_master_key_still_opens_until_it_is_dropped() {
        let old = ring(&[1], None).seal(clinic(7), KeyPurpose::ChannelSecret, b"row", b"secret");
        let both = ring(&[2, 1], None);
        assert_eq!(
            both.open(clinic(7), KeyPurpose::ChannelSecret, b"row", &old),
            Ok(b"secret".to_vec())
        );
        let new = both.seal(clinic(7), KeyPurpose::ChannelSecret, b"row", b"secret");
        assert_eq!(new[..3], header(2), "the newest key seals");
        assert!(both.is_current(&new) && !both.is_current(&old) && !both.is_current(b""));
        let only_new = ring(&[2], None);
        assert!(
            only_new
                .open(clinic(7), KeyPurpose::ChannelSecret, b"row", &old)
                .is_err()
        );
        assert!(
            only_new
                .open(clinic(7), KeyPurpose::ChannelSecret, b"row", &new)
                .is_ok()
        );
    }

    #[test]
    fn adding_a_master_key_blinds_no_look_up() {
        let mac = |ring: &KeyRing| ring.mac(clinic(7), KeyPurpose::DocumentLookup, b"52998224725");
        let before = mac(&ring(&[1], None));
        assert_eq!(before, mac(&ring(&[1, 2], None)));
        assert_ne!(before, mac(&ring(&[1, 2], Some(2))), "until it is told to");
    }

    #[test]
    fn a_ring_without_keys_or_with_a_version_twice_is_refused() {
        let key = |version| MasterKey::new(version, &[0; 32]).unwrap();
        assert_eq!(
            KeyRing::new(vec![], None).unwrap_err(),
            InvalidKeyRing::Empty
        );
        assert_eq!(
            KeyRing::new(vec![key(3), key(3)], None).unwrap_err(),
            InvalidKeyRing::Twice(3)
        );
        assert_eq!(
            KeyRing::new(vec![key(3)], Some(1)).unwrap_err(),
            InvalidKeyRing::LookupMissing(1)
        );
    }

    #[test]
    fn a_generated_master_key_is_parsed_and_shows_nothing() {
        let text = MasterKey::generate(5, &crate::SystemRandom);
        let key = MasterKey::parse(&text).unwrap();
        assert_eq!(format!("{key:?}"), "MasterKey(5, ***)");
        for wrong in ["", "1", "1:", "0:AAAA", "x:AAAA", "1:AAAA", "70000:AAAA"] {
            assert!(MasterKey::parse(wrong).is_err(), "{wrong}");
        }
    }
}
