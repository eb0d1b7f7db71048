//! What keeps two changes about the same person or message from working at the same time.
//!
//! Advisory locks, taken all at once and in order, so that none waits in a circle. Keys fall into
//! buckets: a change may speak of thousands of messages, and the server's lock table is bounded.
//! Two strangers in one bucket wait for each other and are otherwise unharmed.

use std::collections::BTreeSet;

use kernel::identity::IdentityKey;
use uuid::Uuid;

use super::statements::Lock;

/// Buckets of each sort.
const BUCKETS: u64 = 1024;
/// Held by whoever changes which contact somebody is: one at a time in a clinic.
const STRUCTURE: i32 = 0;

/// FNV-1a: the same on every node and in every release.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in *part {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash = (hash ^ 0xFF).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // The low bits of FNV alone are weak.
    hash ^ (hash >> 32)
}

fn bucket(sort: u64, parts: &[&[u8]]) -> i32 {
    i32::try_from(1 + sort * BUCKETS + hash(parts) % BUCKETS).unwrap_or(1)
}

fn class(clinic: Uuid) -> i32 {
    let [.., a, b, c, d] = hash(&[clinic.as_bytes()]).to_be_bytes();
    i32::from_be_bytes([a, b, c, d])
}

/// The locks of a change: one for each identity and one for each message it names.
pub(super) fn of_change<'a>(
    clinic: Uuid,
    channel: Uuid,
    identities: impl Iterator<Item = &'a IdentityKey>,
    messages: impl Iterator<Item = &'a str>,
) -> Lock {
    let identities =
        identities.map(|key| bucket(0, &[key.kind.as_str().as_bytes(), key.key.as_bytes()]));
    let messages = messages.map(|id| bucket(1, &[channel.as_bytes(), id.as_bytes()]));
    let buckets: BTreeSet<i32> = identities.chain(messages).collect();
    Lock {
        class: class(clinic),
        buckets: buckets.into_iter().collect(),
    }
}

/// The lock of whoever changes which contact somebody is. Taken after those of the change.
pub(super) fn of_structure(clinic: Uuid) -> Lock {
    Lock {
        class: class(clinic),
        buckets: vec![STRUCTURE],
    }
}

#[cfg(test)]
mod tests {
    use kernel::identity::IdentityKind;

    use super::*;

    #[test]
    fn locks_are_sorted_each_once_and_never_the_structures() {
        let key = IdentityKey {
            kind: IdentityKind::Phone,
            key: "+5511987650001".to_owned(),
        };
        let ids = ["wamid.2", "wamid.1", "wamid.2"];
        let lock = of_change(
            Uuid::from_u128(1),
            Uuid::from_u128(2),
            [&key, &key].into_iter(),
            ids.into_iter(),
        );
        assert!(lock.buckets.is_sorted());
        assert_eq!(lock.buckets.len(), 3);
        assert!(!lock.buckets.contains(&STRUCTURE));
    }
}
