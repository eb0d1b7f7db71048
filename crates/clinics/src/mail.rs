//! [`Post`]: mails from the outbox to whoever delivers them.
//!
//! A mail is a row that names its cause by id, written in the cause's transaction. When it is
//! sent, its link is drawn, the link's hash is kept, and the text is written; none of that is
//! there before, and neither text nor link is kept after.
//!
//! A crash between sending and noting it sends the mail again, with another link. Both links are
//! good: each is known by a hash of its own, both stand for the same cause, and it is the cause
//! that can be used once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use kernel::email::Email;
use kernel::mail::{Mail, MailError, Mailer};
use kernel::text::PersonName;
use kernel::{ClinicId, MailId, Origin, StoreError, SystemContext, SystemPurpose, Toolkit};
use uuid::Uuid;

use crate::mail_text;
use crate::one_time::OneTimeToken;
use crate::role::Role;
use crate::values::{Locale, Name};

/// What a mail is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MailKind {
    /// Invites somebody into a clinic.
    Invitation,
    /// Lets somebody set a new password.
    PasswordReset,
}

impl MailKind {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::PasswordReset => "password_reset",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Invitation, Self::PasswordReset]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// A mail to enqueue with its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMail {
    /// Its id.
    pub id: MailId,
    /// What for.
    pub kind: MailKind,
    /// The invitation, or the request for a new password.
    pub cause: Uuid,
    /// When.
    pub at: DateTime<Utc>,
}

/// A mail that this process sends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasedMail {
    /// Which.
    pub id: MailId,
    /// What for.
    pub kind: MailKind,
    /// Whose, where it is a clinic's.
    pub clinic: Option<ClinicId>,
    /// The invitation, or the request for a new password.
    pub cause: Uuid,
    /// Which attempt this is, from 1.
    pub attempt: i16,
    /// Proof of the lease.
    pub lease: Uuid,
}

/// All that a mail says. Read when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// To whom.
    pub to: Email,
    /// Their name.
    pub name: PersonName,
    /// In which language; none is known of a user without a clinic.
    pub locale: Option<Locale>,
    /// Until when its link is good.
    pub expires_at: DateTime<Utc>,
    /// What it is about.
    pub matter: Matter,
}

/// What a letter is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matter {
    /// An invitation.
    Invitation {
        /// Into this clinic.
        clinic: Name,
        /// By this member, where it was one.
        inviter: Option<PersonName>,
        /// To become this.
        role: Role,
    },
    /// A new password.
    PasswordReset,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was sent, or there was nothing to send any more, for which there is a code.
    Done(Option<&'static str>),
    /// It is tried again at this instant.
    RetryAt(DateTime<Utc>, &'static str),
    /// It stays unsent until a person decides.
    Dead(&'static str),
}

/// The outbox of mails. Tenantless, with the purpose [`SystemPurpose::Mail`]; a clinic's own
/// rows are read under its row security.
#[async_trait]
pub trait MailQueue: Send + Sync {
    /// Leases up to `most` due mails for `ttl`. One that was leased `max_attempts` times and
    /// never settled is dead.
    async fn lease(
        &self,
        sys: &SystemContext,
        most: u16,
        ttl: Duration,
        max_attempts: i16,
    ) -> Result<Vec<LeasedMail>, StoreError>;

    /// What the mail says; `None` when its cause is used, ended, withdrawn or has no reader.
    async fn read_letter(
        &self,
        sys: &SystemContext,
        mail: &LeasedMail,
        at: DateTime<Utc>,
    ) -> Result<Option<Letter>, StoreError>;

    /// Keeps the hash of a link for the mail's cause; `false` when the lease was lost.
    async fn issue_token(
        &self,
        sys: &SystemContext,
        mail: &LeasedMail,
        hash: [u8; 32],
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Ends an attempt; `false` when the lease was lost.
    async fn settle(
        &self,
        sys: &SystemContext,
        mail: &LeasedMail,
        settled: Settled,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Drops what is over and older than `before`, dead mails apart. Answers how many rows.
    async fn prune(&self, sys: &SystemContext, before: DateTime<Utc>) -> Result<u64, StoreError>;
}

/// Where links lead: the address of the front end, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkBase(String);

/// Not an address for links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be https://… without a query (http:// for localhost and 127.0.0.1 alone), such as \
     https://app.example.com"
)]
pub struct InvalidLinkBase;

impl LinkBase {
    /// Checks it; slashes at its end are dropped.
    pub fn parse(text: &str) -> Result<Self, InvalidLinkBase> {
        let base = text.trim_end_matches('/');
        let local = ["http://localhost", "http://127.0.0.1"]
            .iter()
            .any(|start| {
                let rest = base.strip_prefix(start);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
            });
        let secure = base
            .strip_prefix("https://")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
        let plain = base
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._~:/%[]".contains(c));
        if (local || secure) && plain {
            Ok(Self(base.to_owned()))
        } else {
            Err(InvalidLinkBase)
        }
    }

    /// The link of a mail. The token stands behind `#`: browsers keep that to themselves, so that
    /// it is in no server's log and in no `Referer`.
    pub fn link(&self, kind: MailKind, token: &OneTimeToken) -> String {
        let page = match kind {
            MailKind::Invitation => "accept-invitation",
            MailKind::PasswordReset => "reset-password",
        };
        format!("{}/{page}#token={}", self.0, token.to_text())
    }
}

/// How the post works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostSettings {
    /// How long a lease holds: longer than any attempt.
    pub lease_ttl: Duration,
    /// Dead after so many attempts.
    pub max_attempts: i16,
    /// The wait after the first failure; doubled each time.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// How long what is over is kept.
    pub keep: Duration,
}

impl Default for PostSettings {
    /// Leases of five minutes; ten attempts, from half a minute to an hour apart, which is about
    /// five hours in all; what is over is kept for thirty days.
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_mins(5),
            max_attempts: 10,
            first_wait: Duration::from_secs(30),
            longest_wait: Duration::from_hours(1),
            keep: Duration::from_hours(30 * 24),
        }
    }
}

/// Sends what waits.
#[derive(Clone)]
pub struct Post {
    queue: Arc<dyn MailQueue>,
    mailer: Arc<dyn Mailer>,
    links: LinkBase,
    settings: PostSettings,
    tools: Toolkit,
}

impl Post {
    /// Wires the service.
    pub fn new(
        queue: Arc<dyn MailQueue>,
        mailer: Arc<dyn Mailer>,
        links: LinkBase,
        settings: PostSettings,
        tools: Toolkit,
    ) -> Self {
        Self {
            queue,
            mailer,
            links,
            settings,
            tools,
        }
    }

    /// Mails that are due, leased to the caller.
    pub async fn lease(&self, most: u16) -> Result<Vec<LeasedMail>, StoreError> {
        let PostSettings {
            lease_ttl,
            max_attempts,
            ..
        } = self.settings;
        let sys = self.system();
        self.queue.lease(&sys, most, lease_ttl, max_attempts).await
    }

    /// Sends one leased mail and notes what became of it. `None` when the lease was lost
    /// meanwhile, or nothing could be noted: then it is sent again.
    pub async fn deliver(&self, mail: LeasedMail) -> Result<Option<Settled>, StoreError> {
        let sys = self.system();
        let now = self.tools.now();
        let Some(letter) = self.queue.read_letter(&sys, &mail, now).await? else {
            return self.settle(&sys, &mail, Settled::Done(Some("moot"))).await;
        };
        let token = OneTimeToken::draw(&self.tools);
        let hash = token.hash(&self.tools);
        let kept = self
            .queue
            .issue_token(&sys, &mail, hash, letter.expires_at, now)
            .await?;
        if !kept {
            return Ok(None);
        }
        let link = self.links.link(mail.kind, &token);
        let written = mail_text::write(&letter, &link, now);
        let message = Mail {
            id: mail.id.into(),
            to: letter.to,
            subject: written.subject,
            text: written.text,
            html: written.html,
        };
        let settled = match self.mailer.send(&message).await {
            Ok(()) => Settled::Done(None),
            Err(MailError::Refused(code)) => Settled::Dead(code),
            Err(MailError::Later(code)) if mail.attempt >= self.settings.max_attempts => {
                Settled::Dead(code)
            }
            Err(MailError::Later(code)) => {
                Settled::RetryAt(self.tools.now() + self.wait(mail.attempt), code)
            }
        };
        self.settle(&sys, &mail, settled).await
    }

    /// Drops what is over.
    pub async fn prune(&self) -> Result<u64, StoreError> {
        let keep = TimeDelta::from_std(self.settings.keep).unwrap_or(TimeDelta::days(30));
        let sys = self.system();
        self.queue.prune(&sys, self.tools.now() - keep).await
    }

    async fn settle(
        &self,
        sys: &SystemContext,
        mail: &LeasedMail,
        settled: Settled,
    ) -> Result<Option<Settled>, StoreError> {
        let at = self.tools.now();
        let held = self.queue.settle(sys, mail, settled, at).await?;
        Ok(held.then_some(settled))
    }

    /// Doubled each time, and up to a quarter more by chance, so that what failed together is
    /// not tried again together.
    fn wait(&self, attempt: i16) -> TimeDelta {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0);
        let wait = 2_u32
            .checked_pow(doublings)
            .and_then(|factor| self.settings.first_wait.checked_mul(factor))
            .unwrap_or(self.settings.longest_wait)
            .min(self.settings.longest_wait);
        let [die] = self.tools.random_bytes();
        let wait = wait + wait / 4 * u32::from(die) / 255;
        TimeDelta::from_std(wait).unwrap_or(TimeDelta::hours(1))
    }

    fn system(&self) -> SystemContext {
        SystemContext::new(SystemPurpose::Mail, Origin::internal(self.tools.id()))
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    #[test]
    fn links_lead_to_a_front_end_over_tls_or_on_this_machine() {
        for good in [
            "https://app.example.com",
            "https://app.example.com/",
            "https://example.com/clinic/app",
            "http://localhost:5173",
            "http://127.0.0.1:8080/",
            "http://localhost",
        ] {
            let base = LinkBase::parse(good).unwrap();
            assert!(!base.0.ends_with('/'), "{good}");
        }
        for bad in [
            "",
            "app.example.com",
            "http://app.example.com",
            "http://localhost.evil.example",
            "https://",
            "https:///x",
            "https://app.example.com/?x=1",
            "https://app.example.com/#x",
            "https://app.example.com/\r\nBcc: x",
            "https://app.example.com/\"><script>",
            "javascript:alert(1)",
        ] {
            assert_eq!(LinkBase::parse(bad), Err(InvalidLinkBase), "{bad}");
        }
    }
}
