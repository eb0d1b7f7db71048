//! A mail as the message that travels (RFC 5322), and who it is from: [`Sender`].

use std::fmt;
use std::str::FromStr;

use kernel::mail::{Mail, MailError};
use lettre::Message;
use lettre::address::Address;
use lettre::message::{Mailbox, MultiPart};

/// Who mails are from: `Acolhe <no-reply@example.com>`, or the address alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender(Mailbox);

/// Not an address to send from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an address such as no-reply@example.com or Acolhe <no-reply@example.com>")]
pub struct InvalidSender;

impl FromStr for Sender {
    type Err = InvalidSender;

    fn from_str(text: &str) -> Result<Self, InvalidSender> {
        text.parse().map(Self).map_err(|_| InvalidSender)
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The message of a mail: plain text and HTML beside each other, written so that any server takes
/// it, dated now.
pub(crate) fn message(sender: &Sender, mail: &Mail) -> Result<Message, MailError> {
    const UNWRITABLE: MailError = MailError::Refused("unwritable");
    let to: Address = mail.to.as_str().parse().map_err(|_| UNWRITABLE)?;
    Message::builder()
        .from(sender.0.clone())
        .to(Mailbox::new(None, to))
        .subject(one_line(&mail.subject))
        .message_id(Some(format!("<{}@{}>", mail.id, sender.0.email.domain())))
        // No holiday notice is wanted in answer (RFC 3834 section 5).
        .header(AutoSubmitted)
        .multipart(MultiPart::alternative_plain_html(
            mail.text.clone(),
            mail.html.clone(),
        ))
        .map_err(|_| UNWRITABLE)
}

/// A subject cannot end its header, whatever it holds.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[derive(Debug, Clone)]
struct AutoSubmitted;

impl lettre::message::header::Header for AutoSubmitted {
    fn name() -> lettre::message::header::HeaderName {
        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> lettre::message::header::HeaderValue {
        lettre::message::header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use kernel::email::Email;
    use uuid::Uuid;

    use super::*;

    fn mail(to: &str, subject: &str) -> Mail {
        Mail {
            id: Uuid::from_u128(7),
            to: Email::parse(to).unwrap(),
            subject: subject.to_owned(),
            text: "Olá, Inês".to_owned(),
            html: "<p>Olá, Inês</p>".to_owned(),
        }
    }

    fn written(mail: &Mail) -> String {
        let sender = "Acolhe <no-reply@clinic.example>".parse().unwrap();
        String::from_utf8(message(&sender, mail).unwrap().formatted()).unwrap()
    }

    #[test]
    fn a_sender_is_an_address_with_or_without_a_name() {
        assert!(Sender::from_str("no-reply@clinic.example").is_ok());
        assert!(Sender::from_str("Acolhe <no-reply@clinic.example>").is_ok());
        for wrong in ["", "Acolhe", "a b@c", "Acolhe <>"] {
            assert_eq!(Sender::from_str(wrong), Err(InvalidSender), "{wrong}");
        }
    }

    #[test]
    fn a_message_has_both_texts_and_the_id_of_its_mail() {
        let text = written(&mail("ana@example.com", "Convite da Clínica Ipê"));
        assert!(text.contains("Message-ID: <00000000-0000-0000-0000-000000000007@clinic.example>"));
        assert!(text.contains("To: ana@example.com"));
        assert!(text.contains("Auto-Submitted: auto-generated"));
        assert!(text.contains("text/plain; charset=utf-8"));
        assert!(text.contains("text/html; charset=utf-8"));
        assert!(text.is_ascii(), "any server takes it");
    }

    #[test]
    fn no_subject_makes_a_header_of_its_own() {
        let text = written(&mail("ana@example.com", "Convite\r\nBcc: eve@example.com"));
        assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
    }
}
