//! [`PgMails`]: the outbox of mails, and requests for new passwords. Both are nobody's clinic's:
//! they are reached through definer functions. What an invitation says is read under the row
//! security of its clinic.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use clinics::PasswordHash;
use clinics::mail::{LeasedMail, Letter, MailKind, MailQueue, Matter, Settled};
use clinics::password_reset::{ResetRequest, ResetStore};
use clinics::values::Locale;
use diesel::sql_types::{
    BigInt, Binary, Bool, Integer, Interval, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid,
};
use kernel::email::Email;
use kernel::text::PersonName;
use kernel::{StoreError, SystemContext, TypedId as _, UserId};
use uuid::Uuid;

use super::rows::{corrupt, name, role};
use crate::{Database, QueryName, query_name, statement, tenant_select};

const LEASE: QueryName = query_name!("mail.lease", "SELECT", "mail_outbox");
const READ_INVITATION: QueryName = query_name!("mail.read_invitation", "SELECT", "invitations");
const READ_RESET: QueryName = query_name!("mail.read_reset", "SELECT", "password_resets");
const ISSUE: QueryName = query_name!("mail.issue_token", "INSERT", "one_time_tokens");
const SETTLE: QueryName = query_name!("mail.settle", "UPDATE", "mail_outbox");
const PRUNE: QueryName = query_name!("mail.prune", "DELETE", "mail_outbox");
const REQUEST: QueryName = query_name!("password_reset.request", "INSERT", "password_resets");
const FIND: QueryName = query_name!("password_reset.find", "SELECT", "password_resets");
const CONFIRM: QueryName = query_name!("password_reset.confirm", "UPDATE", "password_resets");

/// Rows of each kind that one pruning drops at most.
const PRUNED_AT_ONCE: i32 = 1000;

statement! {
    struct LeaseMails { most: i32 => Integer, ttl: TimeDelta => Interval, max: i16 => SmallInt }
        -> (SqlUuid, Text, Nullable<SqlUuid>, SqlUuid, SmallInt, Nullable<SqlUuid>) =
        "SELECT f.id, f.kind, f.clinic_id, f.cause_id, f.attempt, f.lease_token
         FROM sec.lease_mails(?, ?, ?) f"
}

tenant_select! {
    /// What an invitation's mail says, while it is pending and has not ended.
    struct ReadInvitation { id: Uuid => SqlUuid, at: DateTime<Utc> => Timestamptz }
        -> (Text, Text, Text, Timestamptz, Text, Text, Nullable<Text>) =
        "SELECT i.email, i.name, i.role, i.expires_at, k.name, k.locale, u.name
         FROM app.invitations i
         JOIN app.clinics k ON k.id = i.clinic_id
         LEFT JOIN app.users u ON u.id = i.invited_by
         WHERE i.clinic_id = s.t AND i.id = ? AND i.status = 'pending' AND i.expires_at > ?
           AND k.status = 'active'"
}

statement! {
    struct FindReset { id: Uuid => SqlUuid, at: DateTime<Utc> => Timestamptz }
        -> (Text, Text, Timestamptz, Nullable<Text>) =
        "SELECT f.email, f.name, f.expires_at, f.locale FROM sec.find_password_reset(?, ?) f"
}

statement! {
    struct IssueToken<'a> {
        mail: Uuid => SqlUuid,
        lease: Uuid => SqlUuid,
        hash: &'a [u8] => Binary,
        expires_at: DateTime<Utc> => Timestamptz,
        at: DateTime<Utc> => Timestamptz,
    } -> Bool = "SELECT sec.issue_one_time_token(?, ?, ?, ?, ?)"
}

statement! {
    struct SettleMail {
        mail: Uuid => SqlUuid,
        lease: Uuid => SqlUuid,
        state: &'static str => Text,
        run_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        failure: Option<&'static str> => Nullable<Text>,
        at: DateTime<Utc> => Timestamptz,
    } -> Bool = "SELECT sec.settle_mail(?, ?, ?, ?, ?, ?)"
}

statement! {
    struct PruneMails { before: DateTime<Utc> => Timestamptz, most: i32 => Integer } -> BigInt =
        "SELECT sec.prune_mails(?, ?)"
}

statement! {
    struct RequestReset<'a> {
        id: Uuid => SqlUuid,
        mail: Uuid => SqlUuid,
        email: &'a str => Text,
        subject_hash: &'a [u8] => Binary,
        origin_hash: Option<&'a [u8]> => Nullable<Binary>,
        at: DateTime<Utc> => Timestamptz,
        expires_at: DateTime<Utc> => Timestamptz,
        since: DateTime<Utc> => Timestamptz,
        per_account: i64 => BigInt,
        per_address: i64 => BigInt,
        log: Uuid => SqlUuid,
        address: Option<String> => Nullable<Text>,
        user_agent: Option<&'a str> => Nullable<Text>,
        request: Uuid => SqlUuid,
    } -> Bool =
        "SELECT sec.request_password_reset(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
}

statement! {
    struct FindResetByToken<'a> {
        hash: &'a [u8] => Binary,
        kind: &'static str => Text,
        at: DateTime<Utc> => Timestamptz,
        still: DateTime<Utc> => Timestamptz,
    } -> Text = "SELECT r.email FROM sec.find_one_time_token(?, ?, ?) t,
            LATERAL sec.find_password_reset(t.cause_id, ?) r"
}

statement! {
    struct ConfirmReset<'a> {
        hash: &'a [u8] => Binary,
        password_hash: &'a str => Text,
        at: DateTime<Utc> => Timestamptz,
        log: Uuid => SqlUuid,
        address: Option<String> => Nullable<Text>,
        user_agent: Option<&'a str> => Nullable<Text>,
        request: Uuid => SqlUuid,
    } -> SqlUuid = "SELECT f.user_id FROM sec.reset_password(?, ?, ?, ?, ?, ?, ?) f"
}

/// The outbox of mails in PostgreSQL, with the requests for new passwords.
#[derive(Debug, Clone)]
pub struct PgMails {
    db: Database,
}

impl PgMails {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

type MailRow = (Uuid, String, Option<Uuid>, Uuid, i16, Option<Uuid>);
type InvitationRow = (
    String,
    String,
    String,
    DateTime<Utc>,
    String,
    String,
    Option<String>,
);

#[async_trait]
impl MailQueue for PgMails {
    async fn lease(
        &self,
        sys: &SystemContext,
        most: u16,
        ttl: Duration,
        max_attempts: i16,
    ) -> Result<Vec<LeasedMail>, StoreError> {
        let lease = LeaseMails {
            most: most.into(),
            ttl: TimeDelta::from_std(ttl).unwrap_or(TimeDelta::minutes(5)),
            max: max_attempts,
        };
        let rows: Vec<MailRow> = self.db.system(sys, LEASE, lease).await?;
        let mut leased = Vec::with_capacity(rows.len());
        for (id, kind, clinic, cause, attempt, lease) in rows {
            let Some(lease) = lease else {
                tracing::error!(
                    code = "lease_ran_out",
                    attempt,
                    "a mail's last attempt ended its process: it stays unsent"
                );
                continue;
            };
            leased.push(LeasedMail {
                id: id.into(),
                kind: MailKind::parse(&kind).ok_or(StoreError::Corrupt("mail_outbox.kind"))?,
                clinic: clinic.map(Into::into),
                cause,
                attempt,
                lease,
            });
        }
        Ok(leased)
    }

    async fn read_letter(
        &self,
        sys: &SystemContext,
        mail: &LeasedMail,
        at: DateTime<Utc>,
    ) -> Result<Option<Letter>, StoreError> {
        match (mail.kind, mail.clinic) {
            (MailKind::Invitation, Some(clinic)) => {
                let read = ReadInvitation { id: mail.cause, at };
                let rows: Vec<InvitationRow> = self
                    .db
                    .read_before_context(sys, clinic, READ_INVITATION, read)
                    .await?;
                rows.into_iter().next().map(invitation).transpose()
            }
            (MailKind::Invitation, None) => Err(StoreError::Corrupt("mail_outbox.clinic_id")),
            (MailKind::PasswordReset, _) => {
                let find = FindReset { id: mail.cause, at };
                let rows: Vec<(String, String, DateTime<Utc>, Option<String>)> =
                    self.db.system(sys, READ_RESET, find).await?;
                let Some((email, person, expires_at, locale)) = rows.into_iter().next() else {
                    return Ok(None);
                };
                Ok(Some(Letter {
                    to: Email::parse(&email).or(corrupt("users.email"))?,
                    name: person_name(&person, "users.name")?,
                    locale: locale.as_deref().map(language).transpose()?,
                    expires_at,
                    matter: Matter::PasswordReset,
                }))
            }
        }
    }

    async fn issue_token(
        &self,
        sys: &SystemContext,
        mail: &LeasedMail,
        hash: [u8; 32],
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let issue = IssueToken {
            mail: mail.id.as_uuid(),
            lease: mail.lease,
            hash: &hash,
            expires_at,
            at,
        };
        let kept: Vec<bool> = self.db.system(sys, ISSUE, issue).await?;
        Ok(kept == [true])
    }

    async fn settle(
        &self,
        sys: &SystemContext,
        mail: &LeasedMail,
        settled: Settled,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let (state, run_at, failure) = match settled {
            Settled::Done(code) => ("done", None, code),
            Settled::RetryAt(run_at, code) => ("waiting", Some(run_at), Some(code)),
            Settled::Dead(code) => ("dead", None, Some(code)),
        };
        let settle = SettleMail {
            mail: mail.id.as_uuid(),
            lease: mail.lease,
            state,
            run_at,
            failure,
            at,
        };
        let held: Vec<bool> = self.db.system(sys, SETTLE, settle).await?;
        Ok(held == [true])
    }

    async fn prune(&self, sys: &SystemContext, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let prune = PruneMails {
            before,
            most: PRUNED_AT_ONCE,
        };
        let dropped: Vec<i64> = self.db.system(sys, PRUNE, prune).await?;
        let dropped: i64 = dropped.into_iter().sum();
        Ok(u64::try_from(dropped).unwrap_or(0))
    }
}

fn invitation(row: InvitationRow) -> Result<Letter, StoreError> {
    let (email, invited, held, expires_at, clinic, locale, inviter) = row;
    Ok(Letter {
        to: Email::parse(&email).or(corrupt("invitations.email"))?,
        name: person_name(&invited, "invitations.name")?,
        locale: Some(language(&locale)?),
        expires_at,
        matter: Matter::Invitation {
            clinic: name(&clinic, "clinics.name")?,
            inviter: inviter.as_deref().and_then(PersonName::salvage),
            role: role(&held)?,
        },
    })
}

fn person_name(text: &str, column: &'static str) -> Result<PersonName, StoreError> {
    PersonName::salvage(text).ok_or(StoreError::Corrupt(column))
}

fn language(text: &str) -> Result<Locale, StoreError> {
    Locale::from_stored(text).or(corrupt("clinics.locale"))
}

#[async_trait]
impl ResetStore for PgMails {
    async fn request(
        &self,
        sys: &SystemContext,
        request: &ResetRequest,
    ) -> Result<bool, StoreError> {
        let origin = sys.origin();
        let request = RequestReset {
            id: request.id,
            mail: request.mail.as_uuid(),
            email: request.email.as_str(),
            subject_hash: &request.subject_hash,
            origin_hash: request.origin_hash.as_ref().map(<[u8; 32]>::as_slice),
            at: request.at,
            expires_at: request.expires_at,
            since: request.since,
            per_account: request.per_account,
            per_address: request.per_address,
            log: request.log,
            address: origin.address.map(|address| address.to_string()),
            user_agent: origin.user_agent.as_deref(),
            request: origin.request.as_uuid(),
        };
        let taken: Vec<bool> = self.db.system(sys, REQUEST, request).await?;
        Ok(taken == [true])
    }

    async fn find(
        &self,
        sys: &SystemContext,
        token_hash: [u8; 32],
        at: DateTime<Utc>,
    ) -> Result<Option<Email>, StoreError> {
        let find = FindResetByToken {
            hash: &token_hash,
            kind: MailKind::PasswordReset.name(),
            at,
            still: at,
        };
        let rows: Vec<String> = self.db.system(sys, FIND, find).await?;
        let email = rows.first().map(|email| Email::parse(email));
        email.transpose().or(corrupt("users.email"))
    }

    async fn confirm(
        &self,
        sys: &SystemContext,
        token_hash: [u8; 32],
        password: &PasswordHash,
        at: DateTime<Utc>,
        log: Uuid,
    ) -> Result<Option<UserId>, StoreError> {
        let origin = sys.origin();
        let confirm = ConfirmReset {
            hash: &token_hash,
            password_hash: password.as_str(),
            at,
            log,
            address: origin.address.map(|address| address.to_string()),
            user_agent: origin.user_agent.as_deref(),
            request: origin.request.as_uuid(),
        };
        let rows: Vec<Uuid> = self.db.system(sys, CONFIRM, confirm).await?;
        Ok(rows.first().copied().map(UserId::from))
    }
}
