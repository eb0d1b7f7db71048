//! What a person allows the clinic to do with their data, beside what needs no consent (Lei
//! 13.709/2018, articles 7, 8 and 11).
//!
//! A consent is for one purpose and one channel, was asked with one version of a text, and can be
//! shown. Nothing of it is ever changed: giving and revoking are rows of their own, and what is in
//! force follows from them. Revoking takes no more than giving (article 8, § 5).

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use kernel::text::is_disruptive;
use kernel::{ConsentId, ConsentTextId, ContactId, Sensitive, UserId};

use crate::contact::InvalidText;

/// Most consents that a contact may have, those that were revoked too.
pub const MAX_CONSENTS: usize = 500;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The one of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.name() == name)
            }
        }
    };
}

named! {
    /// What the data may be used for.
    ConsentPurpose {
        /// To remind of appointments.
        Reminders = "reminders",
        /// To advertise.
        Marketing = "marketing",
        /// To ask how content the person was.
        Surveys = "surveys",
        /// To share data with others, such as a laboratory.
        DataSharing = "data-sharing",
        /// To use pictures of the person.
        ImageUse = "image-use",
        /// For research.
        Research = "research",
    }
}

named! {
    /// By which way the person may be reached for it.
    ConsentChannel {
        /// By any.
        Any = "any",
        /// By WhatsApp.
        Whatsapp = "whatsapp",
        /// By text message.
        Sms = "sms",
        /// By telephone.
        Phone = "phone",
        /// By e-mail.
        Email = "email",
    }
}

fn written(text: &str, most: usize, rule: &'static str) -> Result<String, InvalidText> {
    let text = text.trim();
    let length = text.chars().count();
    let bad = |c: char| is_disruptive(c) && !"\n\r\t".contains(c);
    if !(1..=most).contains(&length) || text.chars().any(bad) {
        return Err(InvalidText(rule));
    }
    Ok(text.to_owned())
}

/// How a consent, or its revocation, can be shown: 1 to 2,000 characters. May name anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof(Sensitive<String>);

impl Proof {
    /// Trims and checks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let rule =
            "must have 1 to 2000 characters and no control characters but line breaks and tabs";
        written(text, 2_000, rule).map(|text| Self(Sensitive::new(text)))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// What a person is asked with: 1 to 20,000 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentBody(String);

impl ConsentBody {
    /// Trims and checks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let rule =
            "must have 1 to 20000 characters and no control characters but line breaks and tabs";
        written(text, 20_000, rule).map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One version of a text. It is never changed: another wording is another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentText {
    /// Its id.
    pub id: ConsentTextId,
    /// What it asks for.
    pub purpose: ConsentPurpose,
    /// Counted from 1 for each purpose.
    pub version: i32,
    /// The wording.
    pub body: ConsentBody,
    /// When it was written down.
    pub created_at: DateTime<Utc>,
}

/// Who wrote an act down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorder {
    /// The kind of actor: `user`, `job`, …
    pub kind: Cow<'static, str>,
    /// The user, where it was one.
    pub user: Option<UserId>,
}

/// What was done at one time: a consent was given, or revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentAct {
    /// When the person did it.
    pub at: DateTime<Utc>,
    /// When it was written down.
    pub recorded_at: DateTime<Utc>,
    /// Who wrote it down.
    pub recorded_by: Recorder,
    /// How it can be shown.
    pub proof: Option<Proof>,
}

/// A consent, in force until it is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Its id.
    pub id: ConsentId,
    /// Whose it is.
    pub contact: ContactId,
    /// What for.
    pub purpose: ConsentPurpose,
    /// By which way.
    pub channel: ConsentChannel,
    /// What the person was asked with, and its version.
    pub text: Option<(ConsentTextId, i32)>,
    /// How it was given.
    pub given: ConsentAct,
    /// How it was revoked, where it was.
    pub revoked: Option<ConsentAct>,
}

impl Consent {
    /// Whether it is in force.
    pub const fn is_in_force(&self) -> bool {
        self.revoked.is_none()
    }

    /// Whether revoking the one revokes the other: they allow the same.
    pub fn allows_as(&self, other: &Self) -> bool {
        self.purpose == other.purpose && self.channel == other.channel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_again_and_is_kebab_case() {
        for purpose in ConsentPurpose::ALL {
            assert_eq!(ConsentPurpose::from_name(purpose.name()), Some(*purpose));
        }
        for channel in ConsentChannel::ALL {
            assert_eq!(ConsentChannel::from_name(channel.name()), Some(*channel));
        }
    }

    #[test]
    fn a_proof_is_some_text() {
        for wrong in ["", "  ", "\u{0}", &"x".repeat(2_001)] {
            assert!(Proof::parse(wrong).is_err());
        }
        assert!(Proof::parse("folha 12,\ngaveta 3").is_ok());
    }
}
