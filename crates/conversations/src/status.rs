//! How far a message has come: a value that only moves forward.
//!
//! Receipts arrive twice, in any order, and with gaps (Meta sends no `delivered` for a message
//! that is read at once). So a status is never *set*: it is joined with what is known, and the
//! join of any set of receipts is the same in every order. That makes [`MessageStatus`] a
//! join-semilattice, here a chain, whose join is the maximum:
//!
//! `queued < sending < unknown < sent < failed < delivered < read < played`
//!
//! Two places in the chain are choices:
//!
//! * `unknown` (an attempt that a crash or a time-out interrupted) lies between `sending` and
//!   `sent`: it says that the provider may have the message. Any word of the provider settles it,
//!   a later attempt of ours never takes it back.
//! * `failed` lies above `sent`, because the provider accepts a message first and reports that it
//!   cannot be delivered afterwards; and below `delivered`, because a receipt from the
//!   recipient's device is proof that a failure report (of another of their devices, or a late
//!   one) was not the whole truth. "Delivered after failed" is seen in the wild.
//!
//! `received` is what an inbound message is, for ever: no receipt is about it. It is the chain's
//! top, so that a receipt with a mistaken id cannot change it.

use std::fmt;
use std::str::FromStr;

/// The text names no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a status")]
pub struct UnknownStatus;

macro_rules! statuses {
    ($(#[$type_doc:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$type_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[$doc])* $variant),+ }

        impl $type {
            /// Every status, lowest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl FromStr for $type {
            type Err = UnknownStatus;
            fn from_str(text: &str) -> Result<Self, UnknownStatus> {
                match text { $($name => Ok(Self::$variant),)+ _ => Err(UnknownStatus) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

statuses! {
    /// How far a message has come. See the module's text for the order.
    MessageStatus {
        /// Waits to be sent.
        Queued = "queued",
        /// An attempt is being made.
        Sending = "sending",
        /// An attempt was interrupted: the provider may or may not have the message.
        Unknown = "unknown",
        /// The provider has it.
        Sent = "sent",
        /// The provider could not deliver it.
        Failed = "failed",
        /// It reached a device of the recipient.
        Delivered = "delivered",
        /// The recipient opened it.
        Read = "read",
        /// The recipient played it (voice notes).
        Played = "played",
        /// It came from the contact.
        Received = "received",
    }
}

statuses! {
    /// What a provider reports about a message that was sent.
    ReceiptStatus {
        /// Accepted by the provider.
        Sent = "sent",
        /// Cannot be delivered.
        Failed = "failed",
        /// On a device of the recipient.
        Delivered = "delivered",
        /// Opened.
        Read = "read",
        /// Played.
        Played = "played",
    }
}

impl MessageStatus {
    /// The later of the two: what is known once both are.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }

    /// What is known once these receipts have come, in whatever order they did.
    #[must_use]
    pub fn after(self, receipts: impl IntoIterator<Item = ReceiptStatus>) -> Self {
        receipts.into_iter().map(Self::from).fold(self, Self::join)
    }
}

impl From<ReceiptStatus> for MessageStatus {
    fn from(receipt: ReceiptStatus) -> Self {
        match receipt {
            ReceiptStatus::Sent => Self::Sent,
            ReceiptStatus::Failed => Self::Failed,
            ReceiptStatus::Delivered => Self::Delivered,
            ReceiptStatus::Read => Self::Read,
            ReceiptStatus::Played => Self::Played,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_status() -> impl Strategy<Value = MessageStatus> {
        proptest::sample::select(MessageStatus::ALL)
    }

    fn any_receipt() -> impl Strategy<Value = ReceiptStatus> {
        proptest::sample::select(ReceiptStatus::ALL)
    }

    proptest! {
        #[test]
        fn a_join_is_commutative_associative_and_idempotent(
            a in any_status(), b in any_status(), c in any_status()
        ) {
            prop_assert_eq!(a.join(b), b.join(a));
            prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
            prop_assert_eq!(a.join(a), a);
        }

        #[test]
        fn a_join_never_moves_back(a in any_status(), b in any_status()) {
            prop_assert!(a.join(b) >= a);
            prop_assert!(a.join(b) >= b);
        }

        #[test]
        fn receipts_in_any_order_duplicated_or_split_end_in_one_status(
            start in any_status(),
            (receipts, shuffled) in proptest::collection::vec(any_receipt(), 0..8)
                .prop_flat_map(|receipts| {
                    let twice = [receipts.clone(), receipts.clone()].concat();
                    (Just(receipts), Just(twice).prop_shuffle())
                }),
            cut in any::<prop::sample::Index>(),
        ) {
            let (first, second) = shuffled.split_at(cut.index(shuffled.len() + 1));
            let split = start.after(first.to_vec()).after(second.to_vec());
            prop_assert_eq!(start.after(receipts), split);
        }
    }

    #[test]
    fn a_received_message_is_moved_by_no_receipt() {
        for receipt in ReceiptStatus::ALL {
            assert_eq!(
                MessageStatus::Received.after([*receipt]),
                MessageStatus::Received
            );
        }
    }

    #[test]
    fn a_delivery_is_stronger_than_a_failure_and_a_failure_than_an_acceptance() {
        use ReceiptStatus::{Delivered, Failed, Sent};
        assert_eq!(
            MessageStatus::Queued.after([Failed, Sent]),
            MessageStatus::Failed
        );
        assert_eq!(
            MessageStatus::Queued.after([Failed, Delivered]),
            MessageStatus::Delivered
        );
    }

    #[test]
    fn names_are_read_back() {
        for status in MessageStatus::ALL {
            assert_eq!(status.name().parse(), Ok(*status));
        }
        for status in ReceiptStatus::ALL {
            assert_eq!(status.name().parse(), Ok(*status));
            assert_eq!(MessageStatus::from(*status).name(), status.name());
        }
        assert_eq!("SENT".parse::<MessageStatus>(), Err(UnknownStatus));
    }
}
