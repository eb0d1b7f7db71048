//! Access, clinics and branches on a real database, through the services.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;

use chrono::TimeDelta;
use clinics::{
    Access, Address, Administration, AdministrationError, BranchPatch, Branches, ClinicPatch,
    Clinics, CreateBranchError, Identity, Locale, Lockout, LockoutPolicy, LogInError, MeError,
    Name, NewBranch, NewClinic, NewMember, NewPassword, Role, SessionPolicy, Sessions, TimeZone,
    UpdateBranchError, UpdateClinicError,
};
use diesel_postgres::Database;
use diesel_postgres::audit::PgAuditTrail;
use diesel_postgres::clinics::{
    PgAdministration, PgAttempts, PgBranches, PgClinics, PgLogin, PgSessions,
};
use kernel::email::Email;
use kernel::text::PersonName;
use kernel::{
    Action, BranchId, ClinicId, Gate, Origin, PageLimit, Permissions, RequestId, Sensitive,
    TenantContext, Toolkit, UserId,
};
use security::{Argon2Hasher, Bounds, Cost, JwtTokens, KeyRing, MasterKey, SigningKey};
use test_support::{FixedClock, SeededRandom, TestDatabase, two_clinics};
use tokio_postgres::Client;
use uuid::Uuid;

const PASSWORD: &str = "uma senha bem longa";

struct Setting {
    clock: Arc<FixedClock>,
    access: Access,
    administration: Administration,
    clinics: Clinics,
    branches: Branches,
    behind: Client,
    _base: TestDatabase,
}

async fn setting() -> Setting {
    setting_on(TestDatabase::new().await).await
}

async fn setting_on(base: TestDatabase) -> Setting {
    let db: Database = base.database();
    let clock = Arc::new(FixedClock::default());
    let random = Arc::new(SeededRandom::new(7));
    let keys = KeyRing::new(vec![MasterKey::new(1, &[1; 32]).unwrap()], None).unwrap();
    let tools = Toolkit::new(clock.clone(), random.clone(), Arc::new(keys));
    let bounds = Bounds {
        running: 2,
        waiting: 8,
    };
    let hasher = Arc::new(Argon2Hasher::new(Cost::TRIFLING, bounds, random.clone()).unwrap());
    let key = SigningKey::parse(&SigningKey::generate(random.as_ref())).unwrap();
    let tokens = Arc::new(JwtTokens::new(
        key,
        vec![],
        "acolhe",
        "acolhe-api",
        clock.clone(),
        random,
    ));
    let login = Arc::new(PgLogin::new(db.clone()));
    let gate = Gate::new(Arc::new(PgAuditTrail::new(db.clone())), tools.clone());
    let own = Arc::new(PgClinics::new(db.clone()));
    let sessions = Sessions::new(
        Arc::new(PgSessions::new(db.clone())),
        login.clone(),
        tokens.clone(),
        Arc::new(tokens.revocations().clone()),
        SessionPolicy::default(),
        tools.clone(),
    );
    Setting {
        access: Access::new(
            login.clone(),
            login,
            hasher.clone(),
            sessions,
            tokens,
            Lockout::new(
                Arc::new(PgAttempts::new(db.clone())),
                LockoutPolicy::default(),
                tools.clone(),
            ),
            tools.clone(),
        ),
        administration: Administration::new(
            Arc::new(PgAdministration::new(db.clone())),
            hasher,
            tools.clone(),
        ),
        clinics: Clinics::new(own.clone(), gate.clone(), tools.clone()),
        branches: Branches::new(Arc::new(PgBranches::new(db)), own, gate, tools),
        behind: base.superuser().await,
        clock,
        _base: base,
    }
}

fn origin() -> Origin {
    Origin {
        request: RequestId::from(Uuid::from_u128(77)),
        address: Some("203.0.113.9".parse().unwrap()),
        user_agent: Some("tests".into()),
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn member(email: &str, role: Role) -> NewMember {
    NewMember {
        email: Email::parse(email).unwrap(),
        name: PersonName::parse("Ana Lima").unwrap(),
        password: NewPassword::parse(PASSWORD.to_owned()).unwrap(),
        role,
    }
}

fn new_branch(text: &str) -> NewBranch {
    NewBranch {
        name: name(text),
        time_zone: None,
        address: None,
        opening_hours: None,
    }
}

impl Setting {
    async fn clinic(&self, text: &str) -> ClinicId {
        let new = NewClinic {
            name: name(text),
            time_zone: TimeZone::parse("America/Recife").unwrap(),
            locale: Locale::default(),
        };
        let created = self.administration.create_clinic(origin(), new).await;
        created.unwrap().id
    }

    async fn member(&self, clinic: ClinicId, email: &str, role: Role) -> UserId {
        let created = self
            .administration
            .create_member(origin(), clinic, member(email, role))
            .await;
        created.unwrap().user
    }

    async fn log_in(&self, email: &str, password: &str) -> Result<clinics::LoggedIn, LogInError> {
        let email = Email::parse(email).unwrap();
        let password = Sensitive::new(password.to_owned());
        self.access.log_in(origin(), &email, password).await
    }

    async fn identity(&self, email: &str) -> Identity {
        let login = self.log_in(email, PASSWORD).await.unwrap();
        self.access
            .verify(&origin(), login.tokens.access_token.expose())
            .await
            .unwrap()
    }

    /// One text of one row, behind row security.
    async fn one(&self, sql: &str) -> String {
        self.behind.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.behind.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

fn acting(clinic: ClinicId, role: Role) -> TenantContext {
    TenantContext::for_test(clinic, Uuid::from_u128(5).into(), role.permissions())
}

#[tokio::test]
async fn a_member_logs_in_and_sees_their_clinics_by_name() {
    let s = setting().await;
    let north = s.clinic("Norte").await;
    let south = s.clinic("Alto Sul").await;
    let ana = s.member(north, "ana@example.com", Role::Owner).await;
    let again = s
        .administration
        .create_member(origin(), south, member("ana@example.com", Role::Finance))
        .await
        .unwrap();
    assert_eq!((again.user, again.user_created), (ana, false));

    let login = s.log_in(" Ana@Example.com ", PASSWORD).await.unwrap();
    assert_eq!(login.user.id, ana);
    assert_eq!(login.tokens.expires_in.as_secs(), 900);
    let clinics: Vec<_> = login.clinics.iter().map(|c| (c.id, c.role)).collect();
    assert_eq!(clinics, [(south, Role::Finance), (north, Role::Owner)]);

    let identity = s
        .access
        .verify(&origin(), login.tokens.access_token.expose())
        .await
        .unwrap();
    let me = s.access.me(origin(), identity).await.unwrap();
    assert_eq!((me.user, me.clinics), (login.user, login.clinics));
    let grant = s.access.grant(origin(), identity, south).await.unwrap();
    let grant = grant.unwrap();
    assert_eq!(grant.role, "finance");
    assert_eq!(grant.permissions, Role::Finance.permissions());
}

#[tokio::test]
async fn every_failed_login_is_answered_alike_and_leaves_no_e_mail() {
    let s = setting().await;
    let clinic = s.clinic("Norte").await;
    s.member(clinic, "ana@example.com", Role::Owner).await;
    s.member(clinic, "bia@example.com", Role::Admin).await;
    let disable = "UPDATE app.users SET status = 'disabled' WHERE email = 'bia@example.com'";
    s.behind.execute(disable, &[]).await.unwrap();
    let passwordless = "UPDATE app.users SET password_hash = NULL WHERE email = 'caio@example.com'";
    s.member(clinic, "caio@example.com", Role::Admin).await;
    s.behind.execute(passwordless, &[]).await.unwrap();

    let mut told = Vec::new();
    for (email, password) in [
        ("ana@example.com", "outra senha bem longa"),
        ("nobody@example.com", PASSWORD),
        ("bia@example.com", PASSWORD),
        ("caio@example.com", PASSWORD),
        ("ana@example.com", ""),
    ] {
        let error = s.log_in(email, password).await.unwrap_err();
        assert!(matches!(error, LogInError::Rejected), "{error:?}");
        told.push(error.to_string());
    }
    told.dedup();
    assert_eq!(told.len(), 1);

    let log = s
        .texts("SELECT l::text || length(subject_hash) FROM app.security_log l ORDER BY l.id")
        .await;
    assert_eq!(log.len(), 5);
    for line in log {
        assert!(line.contains("login.rejected"), "{line}");
        assert!(line.contains("203.0.113.9"), "{line}");
        assert!(!line.contains("example.com"), "{line}");
        assert!(line.ends_with("32"), "{line}");
    }
    let attempts_on_ana = "SELECT max(n)::text FROM (SELECT count(*) n FROM app.security_log GROUP BY subject_hash) c";
    assert_eq!(s.one(attempts_on_ana).await, "2");
}

#[tokio::test]
async fn whatever_stands_in_a_memberships_way_there_is_no_grant() {
    let s = setting().await;
    let clinic = s.clinic("Norte").await;
    let foreign = s.clinic("Sul").await;
    s.member(clinic, "ana@example.com", Role::Receptionist)
        .await;
    let ana = s.identity("ana@example.com").await;
    let granted = async |id| s.access.grant(origin(), ana, id).await.unwrap().is_some();
    assert!(granted(clinic).await);
    assert!(!granted(foreign).await);
    assert!(!granted(ClinicId::from(Uuid::from_u128(404))).await);
    for (hinder, allow) in [
        (
            "UPDATE app.memberships SET status = 'disabled'",
            "UPDATE app.memberships SET status = 'active'",
        ),
        (
            "UPDATE app.clinics SET status = 'suspended'",
            "UPDATE app.clinics SET status = 'active'",
        ),
        (
            "UPDATE app.users SET status = 'disabled'",
            "UPDATE app.users SET status = 'active'",
        ),
    ] {
        s.behind.execute(hinder, &[]).await.unwrap();
        assert!(!granted(clinic).await, "{hinder}");
        let me = s.access.me(origin(), ana).await;
        let gone = matches!(me, Err(MeError::Gone));
        assert_eq!(gone, hinder.contains("users"), "{hinder}");
        if let Ok(me) = me {
            assert!(me.clinics.is_empty(), "{hinder}");
        }
        s.behind.execute(allow, &[]).await.unwrap();
        assert!(granted(clinic).await, "{allow}");
    }
    let refused = "SELECT count(*)::text FROM app.security_log WHERE kind = 'clinic.refused'
                   AND user_id IS NOT NULL AND clinic_id IS NOT NULL";
    assert_eq!(s.one(refused).await, "5");
}

#[tokio::test]
async fn a_membership_may_be_of_some_branches_alone() {
    let s = setting().await;
    let clinic = s.clinic("Norte").await;
    s.member(clinic, "ana@example.com", Role::Admin).await;
    let owner = acting(clinic, Role::Owner);
    let seen = s
        .branches
        .create(&owner, new_branch("Centro"), None)
        .await
        .unwrap();
    let hidden = s
        .branches
        .create(&owner, new_branch("Praia"), None)
        .await
        .unwrap();
    let limit = "UPDATE app.memberships SET own_agenda_only = true,
                 branches = ARRAY[(SELECT id FROM app.branches WHERE name = 'Centro')]";
    s.behind.execute(limit, &[]).await.unwrap();
    let identity = s.identity("ana@example.com").await;
    let grant = s.access.grant(origin(), identity, clinic).await.unwrap();
    let grant = grant.unwrap();
    assert_eq!(grant.scope.branches, Some(vec![seen.id]));
    assert!(grant.scope.own_agenda_only);

    #[expect(clippy::disallowed_methods, reason = "what the HTTP extractor does")]
    let cx = TenantContext::for_member(grant, origin());
    let page = s
        .branches
        .list(&cx, PageLimit::default(), None)
        .await
        .unwrap();
    assert_eq!(page.items, [seen]);
    assert_eq!(s.branches.read(&cx, hidden.id).await.unwrap(), None);
    let patch = BranchPatch::default();
    let update = s.branches.update(&cx, hidden.id, 1, patch).await;
    assert!(matches!(update, Err(UpdateBranchError::NotFound)));
}

#[tokio::test]
async fn operators_acts_are_audited_in_the_clinic_and_announced() {
    let s = setting().await;
    let clinic = s.clinic("Norte").await;
    s.member(clinic, "ana@example.com", Role::Owner).await;
    let audit = "SELECT concat_ws(' ', action, actor_kind, actor_role, outcome, resource_kind)
                 FROM app.audit_entries ORDER BY action";
    assert_eq!(
        s.texts(audit).await,
        [
            "clinic.create operator operator done clinic",
            "membership.create operator operator done membership"
        ]
    );
    let events = "SELECT name FROM app.outbox ORDER BY id";
    assert_eq!(
        s.texts(events).await,
        ["clinic.created", "membership.created"]
    );

    let twice = s
        .administration
        .create_member(origin(), clinic, member("ana@example.com", Role::Admin))
        .await;
    assert!(matches!(twice, Err(AdministrationError::AlreadyMember)));
    let nowhere = s
        .administration
        .create_member(
            origin(),
            ClinicId::from(Uuid::from_u128(404)),
            member("bia@example.com", Role::Owner),
        )
        .await;
    assert!(matches!(nowhere, Err(AdministrationError::NoSuchClinic)));
    let users = "SELECT count(*)::text FROM app.users";
    assert_eq!(s.one(users).await, "1", "nobody is made for no clinic");
    let list = s.administration.list_clinics(origin()).await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].id, list[0].name.as_str()), (clinic, "Norte"));
}

#[tokio::test]
async fn a_clinic_changes_its_settings_once_for_each_version() {
    let s = setting().await;
    let clinic = s.clinic("Norte").await;
    let cx = acting(clinic, Role::Admin);
    let before = s.clinics.read(&cx).await.unwrap().unwrap();
    assert_eq!(
        (before.version, before.time_zone.name()),
        (1, "America/Recife")
    );
    s.clock.advance(TimeDelta::seconds(5));
    let patch = ClinicPatch {
        name: Some(name("Norte Novo")),
        time_zone: Some(TimeZone::parse("America/Manaus").unwrap()),
        ..ClinicPatch::default()
    };
    let after = s.clinics.update(&cx, 1, patch.clone()).await.unwrap();
    assert_eq!(after.version, 2);
    assert_eq!(
        s.clinics.read(&cx).await.unwrap().unwrap(),
        after,
        "as answered"
    );
    let stale = s.clinics.update(&cx, 1, patch.clone()).await;
    assert!(matches!(stale, Err(UpdateClinicError::VersionConflict)));
    let same = s.clinics.update(&cx, 2, patch).await.unwrap();
    assert_eq!(same.version, 2, "nothing changed, nothing was written");

    let changes = "SELECT (SELECT string_agg(c ->> 'field', ',' ORDER BY c ->> 'field')
                   FROM jsonb_array_elements(changes) c) FROM app.audit_entries
                   WHERE action = 'clinic.update'";
    assert_eq!(s.texts(changes).await, ["name,timeZone"]);
    let events = "SELECT payload::text FROM app.outbox WHERE name = 'clinic.updated'";
    assert_eq!(s.texts(events).await, [r#"{"rowVersion": 2}"#]);
}

#[tokio::test]
async fn two_changes_at_once_cannot_both_win() {
    let s = setting().await;
    let clinic = s.clinic("Norte").await;
    let cx = acting(clinic, Role::Owner);
    let branch = s
        .branches
        .create(&cx, new_branch("Centro"), None)
        .await
        .unwrap();
    let rename = |text: &str| BranchPatch {
        name: Some(name(text)),
        ..BranchPatch::default()
    };
    let (a, b) = tokio::join!(
        s.branches.update(&cx, branch.id, 1, rename("Leste")),
        s.branches.update(&cx, branch.id, 1, rename("Oeste")),
    );
    assert!(a.is_ok() != b.is_ok());
    let lost = if a.is_err() { a } else { b };
    assert!(matches!(lost, Err(UpdateBranchError::VersionConflict)));
    let entries = "SELECT count(*)::text FROM app.audit_entries WHERE action = 'branch.update'";
    assert_eq!(s.one(entries).await, "1");
}

#[tokio::test]
async fn a_branch_is_made_read_changed_and_listed() {
    let s = setting().await;
    let cx = acting(s.clinic("Norte").await, Role::Owner);
    let new = NewBranch {
        address: Some(Address {
            city: Some("Recife".to_owned()),
            ..Address::default()
        }),
        opening_hours: Some(
            serde_json::from_str(r#"[{"weekday":"Mon","opens":"08:00","closes":"18:00"}]"#)
                .unwrap(),
        ),
        ..new_branch("Centro")
    };
    let centre = s.branches.create(&cx, new, None).await.unwrap();
    assert_eq!(centre.time_zone.name(), "America/Recife", "the clinic's");
    assert_eq!(
        s.branches.read(&cx, centre.id).await.unwrap(),
        Some(centre.clone())
    );
    let taken = s.branches.create(&cx, new_branch("CENTRO"), None).await;
    assert!(matches!(taken, Err(CreateBranchError::NameTaken)));

    let beach = s
        .branches
        .create(&cx, new_branch("Praia"), None)
        .await
        .unwrap();
    let patch = BranchPatch {
        name: Some(name("centro")),
        ..BranchPatch::default()
    };
    let taken = s.branches.update(&cx, beach.id, 1, patch).await;
    assert!(matches!(taken, Err(UpdateBranchError::NameTaken)));
    let patch = BranchPatch {
        address: Some(None),
        opening_hours: Some(None),
        ..BranchPatch::default()
    };
    let bare = s.branches.update(&cx, centre.id, 1, patch).await.unwrap();
    assert_eq!((bare.address, bare.opening_hours), (None, None));

    // All of one instant: the id breaks the tie.
    let mut made = vec![centre.id, beach.id];
    for number in 0..5 {
        let branch = new_branch(&format!("Filial {number}"));
        made.push(s.branches.create(&cx, branch, None).await.unwrap().id);
    }
    made.sort();
    made.reverse();
    let mut seen: Vec<BranchId> = Vec::new();
    let mut cursor = None;
    loop {
        let limit = PageLimit::new(3).unwrap();
        let page = s
            .branches
            .list(&cx, limit, cursor.as_deref())
            .await
            .unwrap();
        seen.extend(page.items.iter().map(|branch| branch.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn another_clinics_branch_is_as_a_random_one() {
    let base = TestDatabase::new().await;
    let two = two_clinics(&base).await;
    let s = setting_on(base).await;
    let foreign = s
        .branches
        .create(&two.b.cx, new_branch("Centro"), None)
        .await
        .unwrap();
    let page = s.branches.list(&two.b.cx, PageLimit::default(), None).await;
    assert_eq!(page.unwrap().items.len(), 1);
    for id in [foreign.id, BranchId::from(Uuid::from_u128(404))] {
        assert_eq!(s.branches.read(&two.a.cx, id).await.unwrap(), None);
        let patch = BranchPatch {
            name: Some(name("Meu")),
            ..BranchPatch::default()
        };
        let update = s.branches.update(&two.a.cx, id, 1, patch).await;
        assert!(matches!(update, Err(UpdateBranchError::NotFound)));
    }
    let own = s.branches.list(&two.a.cx, PageLimit::default(), None).await;
    assert!(own.unwrap().items.is_empty());
    // A name is unique in its clinic alone: otherwise it would tell of the other's.
    assert!(
        s.branches
            .create(&two.a.cx, new_branch("Centro"), None)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_denied_attempt_is_audited_and_changes_nothing() {
    let s = setting().await;
    let clinic = s.clinic("Norte").await;
    let branch = s
        .branches
        .create(&acting(clinic, Role::Owner), new_branch("Centro"), None)
        .await;
    let branch = branch.unwrap().id;
    let cx = acting(clinic, Role::Receptionist);
    let patch = BranchPatch::default();
    assert!(matches!(
        s.branches.update(&cx, branch, 1, patch).await,
        Err(UpdateBranchError::Denied(denied)) if denied.action == Action::BranchManage
    ));
    assert!(matches!(
        s.branches.create(&cx, new_branch("Praia"), None).await,
        Err(CreateBranchError::Denied(_))
    ));
    assert!(matches!(
        s.clinics.update(&cx, 1, ClinicPatch::default()).await,
        Err(UpdateClinicError::Denied(_))
    ));
    let nothing = TenantContext::for_test(clinic, Uuid::from_u128(5).into(), Permissions::NONE);
    assert!(s.branches.read(&nothing, branch).await.is_err());
    assert!(
        s.branches
            .list(&nothing, PageLimit::default(), None)
            .await
            .is_err()
    );
    assert!(s.clinics.read(&nothing).await.is_err());
    let denied = "SELECT concat_ws(' ', action, resource_kind, resource_id IS NOT NULL)
                  FROM app.audit_entries WHERE outcome = 'denied' ORDER BY id";
    let mut found = s.texts(denied).await;
    found.sort();
    assert_eq!(
        found,
        [
            "branch.manage branch f",
            "branch.manage branch t",
            "branch.read branch f",
            "branch.read branch t",
            "clinic.read clinic t",
            "clinic.update clinic t",
        ]
    );
    let branches = "SELECT count(*)::text FROM app.branches";
    assert_eq!(s.one(branches).await, "1");
}
