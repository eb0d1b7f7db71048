//! The outbox of mails, members and their seal, on a real database.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clinics::invitation::{InvitationStore as _, WriteInvitationError};
use clinics::mail::{MailKind, MailQueue as _, NewMail, Settled};
use clinics::members::{MemberFilter, MemberQuery, MemberStore as _, WriteMembershipError};
use clinics::{Invitation, InvitationStatus, MembershipStatus, Role};
use diesel_postgres::clinics::{PgInvitations, PgMails, PgMembers};
use kernel::email::Email;
use kernel::text::PersonName;
use kernel::{
    AuditEntry, Clock as _, Event, Origin, RequestId, Resource, SystemContext, SystemPurpose,
    TenantContext, Toolkit,
};
use security::SystemClock;
use test_support::{FixedClock, TestDatabase, TwoClinics, toolkit, two_clinics};
use uuid::Uuid;

const TTL: Duration = Duration::from_mins(5);

struct World {
    clinics: TwoClinics,
    tools: Toolkit,
    mails: PgMails,
    invitations: PgInvitations,
    members: PgMembers,
    base: TestDatabase,
}

async fn world() -> World {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let db = base.database();
    World {
        clinics,
        tools: toolkit(std::sync::Arc::new(FixedClock::at(SystemClock.now()))),
        mails: PgMails::new(db.clone()),
        invitations: PgInvitations::new(db.clone()),
        members: PgMembers::new(db),
        base,
    }
}

fn sys() -> SystemContext {
    let origin = Origin::internal(RequestId::from(Uuid::nil()));
    SystemContext::new(SystemPurpose::Mail, origin)
}

impl World {
    fn invitation(&self, email: &str) -> Invitation {
        let now = self.tools.now();
        Invitation {
            id: self.tools.id(),
            email: Email::parse(email).unwrap(),
            name: PersonName::parse("Bia Prado").unwrap(),
            role: Role::Finance,
            branches: None,
            own_agenda_only: false,
            status: InvitationStatus::Pending,
            invited_by: Some(self.clinics.a.owner),
            sent_at: now,
            expires_at: now + TimeDelta::days(7),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    async fn invite(
        &self,
        cx: &TenantContext,
        email: &str,
    ) -> Result<Invitation, WriteInvitationError> {
        let invitation = self.invitation(email);
        let mail = NewMail {
            id: self.tools.id(),
            kind: MailKind::Invitation,
            cause: invitation.id.into(),
            at: self.tools.now(),
        };
        let (entry, event) = self.traces();
        let created = self
            .invitations
            .create(cx, &invitation, mail, entry, event, None);
        created.await.map(|()| invitation)
    }

    fn traces(&self) -> (AuditEntry, Event) {
        let entry = AuditEntry::done(&self.tools, "test.act", Resource::any("test"));
        let event = Event::new(
            &self.tools,
            "test.acted",
            Uuid::nil(),
            serde_json::json!({}),
        );
        (entry, event)
    }

    async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        let behind = self.base.superuser().await;
        behind.query_one(&sql, &[]).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn a_mail_is_enqueued_with_its_cause_or_not_at_all() {
    let world = world().await;
    let cx = &world.clinics.a.cx;
    world.invite(cx, "bia@example.com").await.unwrap();
    let twice = world.invite(cx, "bia@example.com").await.unwrap_err();
    assert!(
        matches!(twice, WriteInvitationError::AlreadyInvited),
        "{twice:?}"
    );
    let member = world.invite(cx, &world.clinics.a.email).await.unwrap_err();
    assert!(
        matches!(member, WriteInvitationError::AlreadyMember),
        "{member:?}"
    );
    assert_eq!(world.count("app.mail_outbox").await, 1);
    assert_eq!(world.count("app.invitations").await, 1);
    assert_eq!(world.count("app.outbox WHERE name = 'test.acted'").await, 1);
    // The same address, and the other clinic's owner, are strangers to the other clinic.
    world
        .invite(&world.clinics.b.cx, "bia@example.com")
        .await
        .unwrap();
    world.invite(cx, &world.clinics.b.email).await.unwrap();
}

#[tokio::test]
async fn a_mail_is_sent_by_one_process_at_a_time() {
    let world = world().await;
    for number in 0..20 {
        let email = format!("bia{number}@example.com");
        world.invite(&world.clinics.a.cx, &email).await.unwrap();
    }
    let sys = sys();
    let lease = || world.mails.lease(&sys, 7, TTL, 10);
    let (one, two, three) = futures_util::join!(lease(), lease(), lease());
    let all: Vec<_> = [one, two, three]
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    let ids: HashSet<_> = all.iter().map(|mail| mail.id).collect();
    assert_eq!((all.len(), ids.len()), (20, 20), "each once");
    assert!(lease().await.unwrap().is_empty());
    assert!(
        all.iter()
            .all(|mail| mail.attempt == 1 && mail.clinic == Some(world.clinics.a.id))
    );
}

#[tokio::test]
async fn whoever_lost_the_lease_makes_no_link_and_notes_nothing() {
    let world = world().await;
    world
        .invite(&world.clinics.a.cx, "bia@example.com")
        .await
        .unwrap();
    let sys = sys();
    let lost = world.mails.lease(&sys, 1, TTL, 10).await.unwrap().remove(0);
    let behind = world.base.superuser().await;
    let run_out = "UPDATE app.mail_outbox SET run_at = now() - interval '1 second'";
    behind.batch_execute(run_out).await.unwrap();
    let held = world.mails.lease(&sys, 1, TTL, 10).await.unwrap().remove(0);
    assert_eq!((held.id, held.attempt), (lost.id, 2));
    let now = world.tools.now();
    let issue = async |mail, hash| {
        let made = world
            .mails
            .issue_token(&sys, mail, hash, now + TimeDelta::days(1), now);
        made.await.unwrap()
    };
    assert!(!issue(&lost, [1; 32]).await);
    assert!(issue(&held, [2; 32]).await);
    let settle = async |mail| {
        world
            .mails
            .settle(&sys, mail, Settled::Done(None), now)
            .await
    };
    assert!(!settle(&lost).await.unwrap());
    assert!(settle(&held).await.unwrap());
    assert!(!settle(&held).await.unwrap(), "once");
    let found = world
        .invitations
        .find_by_token(&sys, [2; 32], now)
        .await
        .unwrap();
    assert_eq!(found.map(|(clinic, _)| clinic), Some(world.clinics.a.id));
    let later = now + TimeDelta::days(1);
    assert_eq!(
        world
            .invitations
            .find_by_token(&sys, [2; 32], later)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        world
            .invitations
            .find_by_token(&sys, [1; 32], now)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_mail_that_ends_its_process_each_time_is_dead_and_dead_ones_stay() {
    let world = world().await;
    world
        .invite(&world.clinics.a.cx, "bia@example.com")
        .await
        .unwrap();
    let sys = sys();
    let behind = world.base.superuser().await;
    for attempt in 1..=3 {
        let leased = world.mails.lease(&sys, 1, TTL, 3).await.unwrap();
        assert_eq!(leased[0].attempt, attempt);
        let run_out = "UPDATE app.mail_outbox SET run_at = now() - interval '1 second'";
        behind.batch_execute(run_out).await.unwrap();
    }
    assert!(world.mails.lease(&sys, 1, TTL, 3).await.unwrap().is_empty());
    let dead = "app.mail_outbox WHERE state = 'dead' AND last_failure = 'lease_ran_out'";
    assert_eq!(world.count(dead).await, 1);
    let far: DateTime<Utc> = world.tools.now() + TimeDelta::days(365);
    world.mails.prune(&sys, far).await.unwrap();
    assert_eq!(world.count(dead).await, 1);
}

#[tokio::test]
async fn what_is_over_is_pruned() {
    let world = world().await;
    world
        .invite(&world.clinics.a.cx, "bia@example.com")
        .await
        .unwrap();
    let sys = sys();
    let now = world.tools.now();
    let mail = world.mails.lease(&sys, 1, TTL, 3).await.unwrap().remove(0);
    let end = now + TimeDelta::days(1);
    assert!(
        world
            .mails
            .issue_token(&sys, &mail, [1; 32], end, now)
            .await
            .unwrap()
    );
    assert!(
        world
            .mails
            .settle(&sys, &mail, Settled::Done(None), now)
            .await
            .unwrap()
    );
    assert_eq!(world.mails.prune(&sys, now).await.unwrap(), 0, "not yet");
    assert_eq!(
        world
            .mails
            .prune(&sys, end + TimeDelta::days(1))
            .await
            .unwrap(),
        2
    );
    assert_eq!(world.count("app.mail_outbox").await, 0);
    assert_eq!(world.count("app.one_time_tokens").await, 0);
}

#[tokio::test]
async fn a_letter_is_read_in_its_own_clinic_while_its_cause_stands() {
    let world = world().await;
    let cx = &world.clinics.a.cx;
    let mut invitation = world.invite(cx, "bia@example.com").await.unwrap();
    let sys = sys();
    let mail = world.mails.lease(&sys, 1, TTL, 3).await.unwrap().remove(0);
    let now = world.tools.now();
    let letter = world
        .mails
        .read_letter(&sys, &mail, now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(letter.to.as_str(), "bia@example.com");
    let mut strange = mail;
    strange.clinic = Some(world.clinics.b.id);
    assert_eq!(
        world.mails.read_letter(&sys, &strange, now).await.unwrap(),
        None
    );
    let ended = now + TimeDelta::days(7);
    assert_eq!(
        world.mails.read_letter(&sys, &mail, ended).await.unwrap(),
        None
    );
    invitation.status = InvitationStatus::Revoked;
    invitation.version = 2;
    let (entry, event) = world.traces();
    let revoked = world
        .invitations
        .update(cx, &invitation, None, entry, event);
    revoked.await.unwrap();
    assert_eq!(
        world.mails.read_letter(&sys, &mail, now).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn the_servers_role_sees_the_users_of_the_present_clinic_alone_and_changes_none() {
    let world = world().await;
    let app = world.base.app().await;
    let seen = async |clinic: Option<Uuid>| {
        let clinic = clinic.map_or(String::new(), |id| id.to_string());
        let set = "SELECT set_config('app.clinic_id', $1, false)";
        app.query(set, &[&clinic]).await.unwrap();
        let rows = app.query("SELECT email FROM app.users", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    };
    assert_eq!(
        seen(Some(world.clinics.a.id.into())).await,
        ["owner@a.example"]
    );
    assert_eq!(
        seen(Some(world.clinics.b.id.into())).await,
        ["owner@b.example"]
    );
    assert_eq!(seen(None).await, [""; 0]);
    for refused in [
        "SELECT password_hash FROM app.users",
        "UPDATE app.users SET name = 'x'",
        "UPDATE app.memberships SET user_id = gen_random_uuid()",
        "INSERT INTO app.memberships SELECT * FROM app.memberships",
        "DELETE FROM app.memberships",
        "DELETE FROM app.invitations",
        "SELECT * FROM app.mail_outbox",
        "SELECT * FROM app.one_time_tokens",
        "SELECT * FROM app.password_resets",
    ] {
        let error = app.batch_execute(refused).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{refused}");
    }
}

#[tokio::test]
async fn two_owners_who_unmake_each_other_at_once_leave_one() {
    let world = world().await;
    let cx = &world.clinics.a.cx;
    let behind = world.base.superuser().await;
    let second = "INSERT INTO app.users (id, email, name, status, created_at, updated_at)
            VALUES ('01a23456-7000-7000-8000-0000000000ee', 'two@a.example', 'Two', 'active', now(),
                    now());
         INSERT INTO app.memberships (clinic_id, user_id, role, own_agenda_only, status,
                                      row_version, created_at, updated_at)
            SELECT clinic_id, '01a23456-7000-7000-8000-0000000000ee', 'owner', false, 'active', 1,
                   now(), now() FROM app.memberships WHERE user_id = '01a23456-7000-7000-8000-000000010a00'";
    behind.batch_execute(second).await.unwrap();
    for round in 0..20 {
        let query = MemberQuery {
            filter: MemberFilter {
                role: Some(Role::Owner),
                ..MemberFilter::default()
            },
            after: None,
            most: 10,
        };
        let owners = world.members.list(cx, query).await.unwrap();
        assert_eq!(owners.len(), 2, "{round}");
        let unmake = |member: &clinics::Member| {
            let mut member = member.clone();
            member.status = MembershipStatus::Disabled;
            member.version += 1;
            let (entry, event) = world.traces();
            let members = &world.members;
            async move { members.update(cx, &member, true, entry, event).await }
        };
        let (one, other) = futures_util::join!(unmake(&owners[0]), unmake(&owners[1]));
        let refused = [one, other].into_iter().filter_map(Result::err);
        let refused: Vec<_> = refused.collect();
        assert!(
            matches!(refused.as_slice(), [WriteMembershipError::LastOwner]),
            "{round}: {refused:?}"
        );
        behind
            .batch_execute("UPDATE app.memberships SET status = 'active'")
            .await
            .unwrap();
    }
}
