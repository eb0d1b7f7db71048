//! What a node learns of the stream of all clinics' events: which clinic, which topic, up to which
//! position. Never what happened.
//!
//! An adapter follows the stream ([`StreamSink`] is where it tells), caches listen.

use std::fmt;

use crate::ClinicId;

macro_rules! topics {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What an event is about: its name up to the first full stop.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Topic { $($(#[$doc])* $variant,)+ }

        impl Topic {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The topic of an event of this name, or of this part of a name.
            pub fn of(name: &str) -> Self {
                match name.split('.').next().unwrap_or_default() {
                    $($name => Self::$variant,)+
                    _ => Self::Other,
                }
            }
        }
    };
}

topics! {
    /// Contacts.
    Contact = "contact",
    /// Conversations.
    Conversation = "conversation",
    /// Their messages.
    Message = "message",
    /// Channels.
    Channel = "channel",
    /// The clinic itself.
    Clinic = "clinic",
    /// Its branches.
    Branch = "branch",
    /// Who may do what in it.
    Membership = "membership",
    /// Users, as far as a clinic's stream tells of them.
    User = "user",
    /// All that this list does not know: everything cached depends on it.
    Other = "",
}

/// A set of [`Topic`]s.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Topics(u16);

impl Topics {
    /// None.
    pub const NONE: Self = Self(0);

    /// The set of these.
    pub const fn of(topics: &[Topic]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < topics.len() {
            bits |= 1 << topics[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, topic: Topic) -> Self {
        Self(self.0 | 1 << topic as u16)
    }

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `topic` is among them.
    pub const fn has(self, topic: Topic) -> bool {
        self.0 & (1 << topic as u16) != 0
    }

    /// The bare bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// From bare bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Topic> {
        Topic::ALL
            .iter()
            .copied()
            .filter(move |topic| self.has(*topic))
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What to ask the stream, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollStart {
    /// Its number; each is higher than the one before.
    pub number: u64,
    /// Clinics of which nothing is known yet: all their topics are asked for.
    pub wanted: Vec<ClinicId>,
}

/// What the stream answered: one snapshot, taken after the poll began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollAnswer {
    /// The number of its [`PollStart`].
    pub number: u64,
    /// What was wanted.
    pub wanted: Vec<ClinicId>,
    /// Where topics stand: those that moved since the poll before, and all of the wanted clinics'.
    pub moved: Vec<(ClinicId, Topic, i64)>,
    /// Topics with events that are committed and have no position yet.
    pub pending: Vec<(ClinicId, Topic)>,
    /// Whether the stream lives (its heartbeat is young) and the answer is whole.
    pub live: bool,
}

/// Where a follower of the stream tells what it sees.
pub trait StreamSink: Send + Sync + fmt::Debug {
    /// This process committed events of these topics. Told before the writer has its answer.
    fn committed(&self, clinic: ClinicId, topics: Topics);

    /// The follower begins, or begins anew after a gap: what was known of positions is void.
    fn reset(&self);

    /// It is about to ask.
    fn poll_begins(&self) -> PollStart;

    /// It was answered. A poll without an answer is never told of.
    fn poll_ended(&self, answer: PollAnswer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_of_the_topic_that_its_name_begins_with() {
        assert_eq!(Topic::of("contact.created"), Topic::Contact);
        assert_eq!(Topic::of("message"), Topic::Message);
        assert_eq!(Topic::of("contact-field.created"), Topic::Other);
        assert_eq!(Topic::of(""), Topic::Other);
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = Topics::of(&[Topic::Contact, Topic::Other]).with(Topic::User);
        for topic in Topic::ALL {
            let expected = matches!(topic, Topic::Contact | Topic::Other | Topic::User);
            assert_eq!(set.has(*topic), expected);
        }
        assert_eq!(Topics::from_bits(set.bits()), set);
        assert_eq!(set.iter().count(), 3);
    }
}
