//! Mail adapters: [`SmtpMailer`] hands mails to a mail server, [`FolderMailer`] writes each into a
//! folder, for development. Both implement [`kernel::mail::Mailer`].
//!
//! Nothing that a mail server says leaves here but a stable code: its texts repeat addresses.

#![warn(missing_docs)]

mod folder;
mod letter;
mod smtp;

pub use folder::FolderMailer;
pub use letter::{InvalidSender, Sender};
pub use smtp::{Credentials, SmtpError, SmtpMailer, SmtpSettings, Tls};
