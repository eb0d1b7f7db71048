//! [`FolderMailer`]: the mailbox of a developer's machine. Each mail is a file `<id>.eml` that any
//! mail program opens, and whose plain text can be read as it stands.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use kernel::mail::{Mail, MailError, Mailer};

use crate::letter::{Sender, one_line};

/// Writes mails into a folder. They hold links that let people in: not for production.
#[derive(Debug, Clone)]
pub struct FolderMailer {
    folder: PathBuf,
    sender: Sender,
}

impl FolderMailer {
    /// Into that folder, which is made with the first mail.
    pub const fn new(folder: PathBuf, sender: Sender) -> Self {
        Self { folder, sender }
    }
}

#[async_trait]
impl Mailer for FolderMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let (folder, text) = (self.folder.clone(), readable(&self.sender, mail));
        let id = mail.id;
        let written = tokio::task::spawn_blocking(move || {
            // A reader never sees half of one.
            let part = folder.join(format!(".{id}.part"));
            keep(&folder, &part, &text)?;
            std::fs::rename(part, folder.join(format!("{id}.eml")))
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(MailError::Later("folder")),
        }
    }
}

/// Nobody else's to read.
fn keep(folder: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)?.write_all(text.as_bytes())
}

/// The message without any encoding (RFC 6532, `8bit`): plain text first, then HTML.
fn readable(sender: &Sender, mail: &Mail) -> String {
    let boundary = mail.id.simple();
    let part = |kind: &str, text: &str| {
        format!(
            "--{boundary}\nContent-Type: {kind}; charset=utf-8\n\
             Content-Transfer-Encoding: 8bit\n\n{text}\n\n"
        )
    };
    format!(
        "From: {sender}\nTo: {}\nSubject: {}\nMessage-ID: <{}@mailbox>\nMIME-Version: 1.0\n\
         Content-Type: multipart/alternative; boundary=\"{boundary}\"\n\n{}{}--{boundary}--\n",
        mail.to.as_str(),
        one_line(&mail.subject),
        mail.id,
        part("text/plain", &mail.text),
        part("text/html", &mail.html),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use kernel::email::Email;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn each_mail_is_a_file_that_is_read_as_it_stands() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("mail");
        let sender = "no-reply@clinic.example".parse().unwrap();
        let mailer = FolderMailer::new(folder.clone(), sender);
        let mail = Mail {
            id: Uuid::from_u128(7),
            to: Email::parse("inês@example.com").unwrap(),
            subject: "Convite\nX-Evil: 1".to_owned(),
            text: "Olá:\n\nhttps://app.example/x#token=abc".to_owned(),
            html: "<p>Olá</p>".to_owned(),
        };
        mailer.send(&mail).await.unwrap();
        mailer.send(&mail).await.unwrap();
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
        assert_eq!(files.len(), 1, "sent again, it is the same one");
        let path = files[0].as_ref().unwrap().path();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("To: inês@example.com\nSubject: Convite X-Evil: 1\n"));
        let link = text.lines().find(|line| line.starts_with("http")).unwrap();
        assert_eq!(link, "https://app.example/x#token=abc");
        let nowhere = FolderMailer::new("/dev/null/mail".into(), mailer.sender);
        assert_eq!(nowhere.send(&mail).await, Err(MailError::Later("folder")));
    }
}
