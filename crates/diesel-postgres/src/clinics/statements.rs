//! SQL of clinics, branches, users and memberships.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Integer, Interval, Jsonb, Nullable, Text, Timestamptz, Untyped,
    Uuid as SqlUuid,
};
use serde_json::Value;
use uuid::Uuid;

use crate::{statement, tenant_select};

/// A clinic's columns, in the order of `ClinicRow`.
pub(super) type ClinicColumns = (
    SqlUuid,
    Text,
    Text,
    Text,
    Jsonb,
    Text,
    BigInt,
    Timestamptz,
    Timestamptz,
);

tenant_select! {
    /// The clinic itself.
    pub(super) struct ReadClinic {} -> ClinicColumns =
        "SELECT k.id, k.name, k.time_zone, k.locale, k.settings, k.status, k.row_version,
                k.created_at, k.updated_at
         FROM app.clinics k WHERE k.id = s.t"
}

statement! {
    /// Stores a clinic that still has the version before.
    pub(super) struct UpdateClinic<'a> {
        name: &'a str => Text,
        time_zone: &'a str => Text,
        locale: &'a str => Text,
        settings: Value => Jsonb,
        version: i64 => BigInt,
        updated_at: DateTime<Utc> => Timestamptz,
        id: Uuid => SqlUuid,
        version_before: i64 => BigInt,
    } -> Untyped = "UPDATE app.clinics SET name = ?, time_zone = ?, locale = ?, settings = ?,
            row_version = ?, updated_at = ?
        WHERE id = ? AND row_version = ?"
}

/// A branch's columns, in the order of `BranchRow`.
pub(super) type BranchColumns = (
    SqlUuid,
    Text,
    Text,
    Nullable<Jsonb>,
    Nullable<Jsonb>,
    Text,
    BigInt,
    Timestamptz,
    Timestamptz,
);

macro_rules! select_branch {
    ($rest:literal) => {
        concat!(
            "SELECT b.id, b.name, b.time_zone, b.address, b.opening_hours, b.status,
                    b.row_version, b.created_at, b.updated_at
             FROM app.branches b WHERE b.clinic_id = s.t ",
            $rest
        )
    };
}

tenant_select! {
    /// One branch.
    pub(super) struct FindBranch { id: Uuid => SqlUuid } -> BranchColumns =
        select_branch!("AND b.id = ?")
}

tenant_select! {
    /// The newest branches, of `only` where that is given.
    pub(super) struct NewestBranches {
        only: Option<Vec<Uuid>> => Nullable<Array<SqlUuid>>,
        most: i64 => BigInt,
    } -> BranchColumns = select_branch!("AND b.id = ANY (coalesce(?, ARRAY[b.id]))
         ORDER BY b.created_at DESC, b.id DESC LIMIT ?")
}

tenant_select! {
    /// The newest branches behind a position, of `only` where that is given.
    pub(super) struct BranchesBehind {
        created_at: DateTime<Utc> => Timestamptz,
        id: Uuid => SqlUuid,
        only: Option<Vec<Uuid>> => Nullable<Array<SqlUuid>>,
        most: i64 => BigInt,
    } -> BranchColumns = select_branch!("AND (b.created_at, b.id) < (?, ?)
         AND b.id = ANY (coalesce(?, ARRAY[b.id]))
         ORDER BY b.created_at DESC, b.id DESC LIMIT ?")
}

statement! {
    /// A new branch.
    pub(super) struct InsertBranch<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        name: &'a str => Text,
        time_zone: &'a str => Text,
        address: Option<Value> => Nullable<Jsonb>,
        opening_hours: Option<Value> => Nullable<Jsonb>,
        status: &'a str => Text,
        version: i64 => BigInt,
        created_at: DateTime<Utc> => Timestamptz,
        updated_at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.branches (clinic_id, id, name, time_zone, address,
            opening_hours, status, row_version, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
}

statement! {
    /// Stores a branch that still has the version before.
    pub(super) struct UpdateBranch<'a> {
        name: &'a str => Text,
        time_zone: &'a str => Text,
        address: Option<Value> => Nullable<Jsonb>,
        opening_hours: Option<Value> => Nullable<Jsonb>,
        status: &'a str => Text,
        version: i64 => BigInt,
        updated_at: DateTime<Utc> => Timestamptz,
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        version_before: i64 => BigInt,
    } -> Untyped = "UPDATE app.branches SET name = ?, time_zone = ?, address = ?,
            opening_hours = ?, status = ?, row_version = ?, updated_at = ?
        WHERE clinic_id = ? AND id = ? AND row_version = ?"
}

tenant_select! {
    /// A user's membership in the clinic, and what may stand in its way.
    pub(super) struct FindStanding { user: Uuid => SqlUuid }
        -> (Text, Nullable<Array<SqlUuid>>, Bool, Text, Text, Text) =
        "SELECT m.role, m.branches, m.own_agenda_only, m.status, u.status, k.status
         FROM app.memberships m
         JOIN app.clinics k ON k.id = m.clinic_id
         JOIN app.users u ON u.id = m.user_id
         WHERE m.clinic_id = s.t AND m.user_id = ?"
}

statement! {
    /// The user of an address.
    pub(super) struct FindCredentials<'a> { email: &'a str => Text }
        -> (SqlUuid, Text, Nullable<Text>, Text) =
        "SELECT f.user_id, f.name, f.password_hash, f.status FROM sec.find_credentials(?) f"
}

statement! {
    /// A user.
    pub(super) struct FindUser { user: Uuid => SqlUuid } -> (Text, Text, Text) =
        "SELECT f.email, f.name, f.status FROM sec.find_user(?) f"
}

statement! {
    /// A user's clinics.
    pub(super) struct FindMemberships { user: Uuid => SqlUuid } -> (SqlUuid, Text, Text) =
        "SELECT f.clinic_id, f.clinic_name, f.role FROM sec.find_memberships(?) f"
}

statement! {
    /// Appends to the security log.
    pub(super) struct RecordSecurityEvent<'a> {
        id: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
        kind: &'a str => Text,
        user: Option<Uuid> => Nullable<SqlUuid>,
        clinic: Option<Uuid> => Nullable<SqlUuid>,
        subject_hash: Option<&'a [u8]> => Nullable<Binary>,
        address: Option<String> => Nullable<Text>,
        user_agent: Option<&'a str> => Nullable<Text>,
        request: Uuid => SqlUuid,
    } -> Untyped = "SELECT sec.record_security_event(?, ?, ?, ?, ?, ?, ?, ?, ?)"
}

statement! {
    /// A new clinic.
    pub(super) struct CreateClinic<'a> {
        id: Uuid => SqlUuid,
        name: &'a str => Text,
        time_zone: &'a str => Text,
        locale: &'a str => Text,
        settings: Value => Jsonb,
        at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "SELECT sec.create_clinic(?, ?, ?, ?, ?, ?)"
}

statement! {
    /// A new membership, and its user where there is none of that address.
    pub(super) struct CreateMember<'a> {
        user: Uuid => SqlUuid,
        email: &'a str => Text,
        name: &'a str => Text,
        password_hash: Option<&'a str> => Nullable<Text>,
        clinic: Uuid => SqlUuid,
        role: &'a str => Text,
        at: DateTime<Utc> => Timestamptz,
    } -> (SqlUuid, Bool) =
        "SELECT f.user_id, f.user_created FROM sec.create_member(?, ?, ?, ?, ?, ?, ?) f"
}

statement! {
    /// Every clinic.
    pub(super) struct ListClinics {} -> (SqlUuid, Text, Text, Timestamptz) =
        "SELECT f.clinic_id, f.name, f.status, f.created_at FROM sec.list_clinics() f"
}

statement! {
    /// Begins a session, where the proof still holds.
    pub(super) struct OpenSession<'a> {
        id: Uuid => SqlUuid,
        user: Uuid => SqlUuid,
        password_hash: &'a str => Text,
        token_hash: &'a [u8] => Binary,
        user_agent: Option<&'a str> => Nullable<Text>,
        address: Option<String> => Nullable<Text>,
        at: DateTime<Utc> => Timestamptz,
        idle_until: DateTime<Utc> => Timestamptz,
        expires_at: DateTime<Utc> => Timestamptz,
    } -> Bool = "SELECT sec.open_session(?, ?, ?, ?, ?, ?, ?, ?, ?)"
}

statement! {
    /// Replaces a token by its successor, or says why not.
    pub(super) struct RotateSession<'a> {
        id: Uuid => SqlUuid,
        presented: &'a [u8] => Binary,
        next: &'a [u8] => Binary,
        nonce: &'a [u8] => Binary,
        user_agent: Option<&'a str> => Nullable<Text>,
        address: Option<String> => Nullable<Text>,
        at: DateTime<Utc> => Timestamptz,
        grace: TimeDelta => Interval,
        idle_until: DateTime<Utc> => Timestamptz,
    } -> (Text, SqlUuid, Nullable<Binary>, Timestamptz) =
        "SELECT f.outcome, f.user_id, f.nonce, f.idle_until
         FROM sec.rotate_session(?, ?, ?, ?, ?, ?, ?, ?, ?) f"
}

statement! {
    /// A user's sessions in force.
    pub(super) struct ListSessions { user: Uuid => SqlUuid, at: DateTime<Utc> => Timestamptz }
        -> (SqlUuid, Nullable<Text>, Nullable<Text>, Timestamptz, Timestamptz, Timestamptz) =
        "SELECT f.id, f.user_agent, f.address, f.created_at, f.last_used_at, f.idle_until
         FROM sec.list_sessions(?, ?) f"
}

statement! {
    /// Ends one session of a user.
    pub(super) struct EndSession<'a> {
        id: Uuid => SqlUuid,
        user: Uuid => SqlUuid,
        reason: &'a str => Text,
        at: DateTime<Utc> => Timestamptz,
    } -> Bool = "SELECT sec.end_session(?, ?, ?, ?)"
}

statement! {
    /// Ends every session of a user but one.
    pub(super) struct RevokeSessions<'a> {
        user: Uuid => SqlUuid,
        except: Option<Uuid> => Nullable<SqlUuid>,
        reason: &'a str => Text,
        at: DateTime<Utc> => Timestamptz,
    } -> SqlUuid = "SELECT f.session_id FROM sec.revoke_sessions(?, ?, ?, ?) f"
}

statement! {
    /// Whether a session of this user is in force.
    pub(super) struct IsSessionLive {
        id: Uuid => SqlUuid,
        user: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
    } -> Bool = "SELECT sec.is_session_live(?, ?, ?)"
}

statement! {
    /// Replaces a password's hash and ends every other session.
    pub(super) struct ChangePassword<'a> {
        user: Uuid => SqlUuid,
        before: &'a str => Text,
        after: &'a str => Text,
        keep: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
    } -> Array<SqlUuid> = "SELECT f.ended FROM sec.change_password(?, ?, ?, ?, ?) f"
}

statement! {
    /// What was revoked since the last question.
    pub(super) struct ListRevocations {
        since: i64 => BigInt,
        after: DateTime<Utc> => Timestamptz,
    } -> (Array<SqlUuid>, BigInt) = "SELECT f.ids, f.next FROM sec.list_revocations(?, ?) f"
}

statement! {
    /// Drops sessions that are over.
    pub(super) struct PruneSessions {
        before: DateTime<Utc> => Timestamptz,
        most: i32 => Integer,
    } -> BigInt = "SELECT sec.prune_sessions(?, ?)"
}

statement! {
    /// Drops counted attempts that say nothing any more.
    pub(super) struct PruneAttempts {
        before: DateTime<Utc> => Timestamptz,
        most: i32 => Integer,
    } -> BigInt = "SELECT sec.prune_login_attempts(?, ?)"
}

statement! {
    /// Counts an attempt and lets it in, or says how long it must wait.
    pub(super) struct AdmitLogin<'a> {
        account: &'a [u8] => Binary,
        pair: Option<&'a [u8]> => Nullable<Binary>,
        address: Option<&'a [u8]> => Nullable<Binary>,
        at: DateTime<Utc> => Timestamptz,
        account_free: i32 => Integer,
        address_free: i32 => Integer,
        base: TimeDelta => Interval,
        cap: TimeDelta => Interval,
        forget: TimeDelta => Interval,
    } -> (Binary, Nullable<Interval>, Bool) =
        "SELECT f.own, f.wait, f.begun FROM sec.admit_login(?, ?, ?, ?, ?, ?, ?, ?, ?) f"
}

statement! {
    /// Takes an attempt back.
    pub(super) struct SettleLogin<'a> {
        own: &'a [u8] => Binary,
        address: Option<&'a [u8]> => Nullable<Binary>,
        pair: Option<&'a [u8]> => Nullable<Binary>,
        proven: bool => Bool,
        known_until: DateTime<Utc> => Timestamptz,
    } -> Untyped = "SELECT sec.settle_login(?, ?, ?, ?, ?)"
}
