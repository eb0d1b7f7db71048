//! Mails: what is sent ([`Mail`]) and who sends it ([`Mailer`]).
//!
//! A mail is written the moment it is sent and kept nowhere: what waits in the database names its
//! cause by id, and holds neither text nor link.

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

use crate::email::Email;

/// One mail to one person.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its id, the same each time it is sent: the `Message-ID` is made of it, so that a mailbox
    /// that got it twice may know it again.
    pub id: Uuid,
    /// To whom.
    pub to: Email,
    /// One line.
    pub subject: String,
    /// As plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mail({})", self.id)
    }
}

/// Why a mail was not taken over. A code and nothing else: what a mail server says may repeat the
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// Trying again later may help; the code says what stood in the way.
    #[error("the mail could not be sent now: {0}")]
    Later(&'static str),
    /// It was refused for good.
    #[error("the mail was refused: {0}")]
    Refused(&'static str),
}

impl MailError {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Later(code) | Self::Refused(code) => code,
        }
    }
}

/// Hands mails to whoever delivers them.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// `Ok` once another has taken the mail over for good. After an error it may still arrive.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    #[test]
    fn a_mail_shows_nothing_of_itself() {
        let mail = Mail {
            id: Uuid::nil(),
            to: Email::parse("ana@example.com").unwrap(),
            subject: "Convite".to_owned(),
            text: "https://example.com/#token=secret".to_owned(),
            html: String::new(),
        };
        assert_eq!(format!("{mail:?}"), format!("Mail({})", Uuid::nil()));
    }
}
