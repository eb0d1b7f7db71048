//! The mailbox of a test: what was sent lies in it, and it refuses when it is told to.

use std::sync::Mutex;

use async_trait::async_trait;
use clinics::mail::Settled;
use kernel::mail::{Mail, MailError, Mailer};

use super::Stage;

/// Keeps what it is sent.
#[derive(Default)]
pub(crate) struct Mailbox {
    sent: Mutex<Vec<Mail>>,
    refusal: Mutex<Option<MailError>>,
}

#[async_trait]
impl Mailer for Mailbox {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let refusal = *self.refusal.lock().unwrap();
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        self.sent.lock().unwrap().push(mail.clone());
        Ok(())
    }
}

impl Mailbox {
    /// From now on it answers so.
    pub(crate) fn answers(&self, refusal: Option<MailError>) {
        *self.refusal.lock().unwrap() = refusal;
    }

    /// What was sent, in order.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.sent.lock().unwrap().clone()
    }
}

/// The token of the one link in a mail.
pub(crate) fn token(mail: &Mail) -> String {
    let mut links = mail
        .text
        .lines()
        .filter(|line| line.starts_with("https://"));
    let link = links.next().unwrap();
    assert!(links.next().is_none(), "one link");
    assert!(mail.html.contains(link), "the same in HTML");
    link.split_once("#token=").unwrap().1.to_owned()
}

impl Stage {
    /// Sends every mail that is due, once; what became of each.
    pub(crate) async fn deliver(&self) -> Vec<Settled> {
        let post = server::mail::post(&self.foundation).unwrap();
        let mut settled = Vec::new();
        for mail in post.lease(50).await.unwrap() {
            settled.push(post.deliver(mail).await.unwrap().unwrap());
        }
        settled
    }

    /// The mails that are due, sent.
    pub(crate) async fn delivered(&self) -> Vec<Mail> {
        let before = self.mailbox.mails().len();
        self.deliver().await;
        self.mailbox.mails().split_off(before)
    }
}
