//! The statements by which a change takes effect.

use chrono::{DateTime, Utc};
use diesel::sql_types::{
    Array, Binary, Bool, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Untyped,
    Uuid as SqlUuid,
};
use serde_json::Value;
use uuid::Uuid;

use crate::{statement, tenant_select};

tenant_select! {
    /// The change of a leased job.
    pub(super) struct FindChange { job: Uuid => SqlUuid, token: Uuid => SqlUuid }
        -> (SqlUuid, SqlUuid, Text, Timestamptz, Binary) =
        "SELECT w.id, w.channel_id, ch.provider, w.received_at, w.body
        FROM app.jobs j
        JOIN app.webhook_inbox w ON w.clinic_id = s.t AND w.id = (j.payload ->> 'inboxId')::uuid
        JOIN app.channels ch ON ch.clinic_id = s.t AND ch.id = w.channel_id
        WHERE j.clinic_id = s.t AND j.id = ? AND j.lease_token = ? AND j.state = 'leased'"
}

statement! {
    /// Takes locks, in the order of the list, until the transaction ends.
    pub(super) struct Lock { class: i32 => Integer, buckets: Vec<i32> => Array<Integer> } -> Untyped =
        "SELECT pg_advisory_xact_lock(c.class, b.bucket)
        FROM (SELECT (?)::int AS class) c, unnest((?)::int[]) AS b (bucket)"
}

statement! {
    /// The contacts that hold some of these identities, with all of theirs, each with the latest
    /// message that named it.
    pub(super) struct FindHolders { kinds: Vec<&'static str> => Array<Text>, keys: Vec<String> => Array<Text> }
        -> (SqlUuid, Bool, Text, Text, Nullable<Timestamptz>, Nullable<Text>) =
        "SELECT i.contact_id, c.curated, i.kind, i.key, i.proven_at, i.proven_order
        FROM app.contact_identities i
        JOIN app.contacts c ON c.clinic_id = i.clinic_id AND c.id = i.contact_id
        WHERE i.clinic_id = app.current_clinic() AND i.contact_id IN (
            SELECT h.contact_id FROM unnest((?)::text[], (?)::text[]) AS w (kind, key)
            JOIN app.contact_identities h ON h.clinic_id = app.current_clinic()
                AND h.kind = w.kind AND h.key = w.key COLLATE \"C\")"
}

statement! {
    /// The proofs that name one of these identities, or another one of whoever holds it.
    pub(super) struct FindProofs { kinds: Vec<&'static str> => Array<Text>, keys: Vec<String> => Array<Text> }
        -> (Text, Text, Text, Text, Timestamptz, Text) =
        "WITH w AS MATERIALIZED (
            SELECT u.kind, u.key COLLATE \"C\" AS key
            FROM unnest((?)::text[], (?)::text[]) AS u (kind, key)
        ), k AS MATERIALIZED (
            SELECT w.kind, w.key FROM w
            UNION
            SELECT i.kind, i.key FROM app.contact_identities i
            WHERE i.clinic_id = app.current_clinic() AND i.contact_id IN (
                SELECT h.contact_id FROM w JOIN app.contact_identities h
                    ON h.clinic_id = app.current_clinic() AND h.kind = w.kind AND h.key = w.key)
        )
        SELECT p.weak_kind, p.weak_key, p.strong_kind, p.strong_key, p.proven_at, p.proven_order
        FROM k JOIN app.identity_proofs p ON p.clinic_id = app.current_clinic()
            AND p.weak_kind = k.kind AND p.weak_key = k.key
        UNION
        SELECT p.weak_kind, p.weak_key, p.strong_kind, p.strong_key, p.proven_at, p.proven_order
        FROM k JOIN app.identity_proofs p ON p.clinic_id = app.current_clinic()
            AND p.strong_kind = k.kind AND p.strong_key = k.key"
}

statement! {
    /// The messages of these ids on a channel, with whose they are.
    pub(super) struct FindMessages<'a> { ids: Vec<&'a str> => Array<Text>, channel: Uuid => SqlUuid }
        -> super::rows::KnownMessageColumns =
        "SELECT k.provider_id, k.from_me, k.remote_jid, m.id, m.conversation_id, v.contact_id,
            m.person_kind, m.person_key, m.status, m.status_times, m.error, m.edited_at,
            m.edited_body, m.revoked_at, m.reactions
        FROM unnest((?)::text[]) AS w (id)
        JOIN app.message_keys k ON k.clinic_id = app.current_clinic() AND k.channel_id = ?
            AND k.provider_id = w.id COLLATE \"C\"
        JOIN app.messages m ON m.clinic_id = app.current_clinic() AND m.id = k.message_id
        JOIN app.conversations v ON v.clinic_id = app.current_clinic() AND v.id = m.conversation_id"
}

statement! {
    pub(super) struct FindReceipts<'a> { ids: Vec<&'a str> => Array<Text>, channel: Uuid => SqlUuid }
        -> (Text, Text, Timestamptz, Nullable<Jsonb>, Nullable<Jsonb>) =
        "SELECT r.provider_id, r.status, r.at, r.error, r.pricing
        FROM unnest((?)::text[]) AS w (id)
        JOIN app.message_receipts r ON r.clinic_id = app.current_clinic() AND r.channel_id = ?
            AND r.provider_id = w.id COLLATE \"C\""
}

statement! {
    /// The amendments of these messages, with who holds the identity they came from.
    pub(super) struct FindAmendments<'a> { ids: Vec<&'a str> => Array<Text>, channel: Uuid => SqlUuid }
        -> super::rows::KnownAmendmentColumns =
        "SELECT a.target_provider_id, a.kind, a.provider_id, a.from_me, a.at, a.value,
            a.person_kind, a.person_key, i.contact_id
        FROM unnest((?)::text[]) AS w (id)
        JOIN app.message_amendments a ON a.clinic_id = app.current_clinic() AND a.channel_id = ?
            AND a.target_provider_id = w.id COLLATE \"C\"
        LEFT JOIN app.contact_identities i ON i.clinic_id = app.current_clinic()
            AND i.kind = a.person_kind AND i.key = a.person_key"
}

statement! {
    /// Which messages of a channel were amended from an identity of one of these contacts.
    pub(super) struct FindAmendedBy { contacts: Vec<Uuid> => Array<SqlUuid>, channel: Uuid => SqlUuid }
        -> Text = "SELECT DISTINCT a.target_provider_id
        FROM app.contact_identities i
        JOIN app.message_amendments a ON a.clinic_id = app.current_clinic()
            AND a.person_kind = i.kind AND a.person_key = i.key
        WHERE i.clinic_id = app.current_clinic() AND i.contact_id = ANY (?) AND a.channel_id = ?"
}

statement! {
    /// Locks contacts, in the order of their ids.
    pub(super) struct LockContacts { ids: Vec<Uuid> => Array<SqlUuid> } -> super::rows::ContactStateColumns =
        "SELECT c.id, c.merged_into, c.curated, c.name, c.name_source, c.primary_phone
        FROM app.contacts c WHERE c.clinic_id = app.current_clinic() AND c.id = ANY (?)
        ORDER BY c.id FOR NO KEY UPDATE"
}

statement! {
    /// The identities of contacts, each with the name that came with it.
    pub(super) struct FindIdentitiesOf { ids: Vec<Uuid> => Array<SqlUuid> } -> super::rows::IdentityStateColumns =
        "SELECT i.contact_id, i.kind, i.key, i.value, i.rank, i.proven_at, i.proven_order,
            n.name, n.proven_at, n.proven_order
        FROM app.contact_identities i
        LEFT JOIN app.identity_names n ON n.clinic_id = app.current_clinic()
            AND n.kind = i.kind AND n.key = i.key
        WHERE i.clinic_id = app.current_clinic() AND i.contact_id = ANY (?)"
}

/// The columns of a conversation's state.
macro_rules! conversation_state {
    ($rest:literal) => {
        concat!(
            "SELECT v.id, v.channel_id, v.contact_id, v.remote_jid, v.remote_proven_at,
                v.remote_proven_order, v.status, v.assignee_id, v.is_paused, v.unread_count,
                v.read_through_at, v.read_through_order, v.last_inbound_at, v.last_message_at,
                v.last_message_order, v.last_message_id, v.created_at
            FROM app.conversations v WHERE v.clinic_id = app.current_clinic()",
            $rest
        )
    };
}

statement! {
    /// Locks the conversations of contacts on a channel.
    pub(super) struct LockConversationsOn { channel: Uuid => SqlUuid, contacts: Vec<Uuid> => Array<SqlUuid> }
        -> super::rows::ConversationStateColumns = conversation_state!(
            " AND v.channel_id = ? AND v.contact_id = ANY (?) ORDER BY v.id FOR UPDATE"
        )
}

statement! {
    /// Locks all conversations of contacts.
    pub(super) struct LockConversationsOf { contacts: Vec<Uuid> => Array<SqlUuid> }
        -> super::rows::ConversationStateColumns =
        conversation_state!(" AND v.contact_id = ANY (?) ORDER BY v.id FOR UPDATE")
}

statement! {
    pub(super) struct InsertContact<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        name: &'a str => Text,
        name_key: String => Text,
        at: DateTime<Utc> => Timestamptz,
        updated_at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.contacts (clinic_id, id, name, name_key, name_source, status,
            source, tags, curated, row_version, created_at, updated_at)
        VALUES (?, ?, ?, ?, 'provider', 'lead', 'whatsapp', '{}', false, 1, ?, ?)"
}

statement! {
    /// What a contact shows of its identities. Says nothing of the name that somebody gave it.
    pub(super) struct UpdateContact<'a> {
        name: &'a str => Text,
        name_key: String => Text,
        primary_phone: Option<&'a str> => Nullable<Text>,
        at: DateTime<Utc> => Timestamptz,
        raise: i16 => SmallInt,
        id: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.contacts SET name = ?, name_key = ?, primary_phone = ?,
            updated_at = ?, row_version = row_version + ?
        WHERE clinic_id = app.current_clinic() AND id = ?"
}

statement! {
    pub(super) struct MergeContact {
        into: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
        id: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.contacts SET merged_into = ?, primary_phone = NULL, updated_at = ?,
            row_version = row_version + 1
        WHERE clinic_id = app.current_clinic() AND id = ?"
}

statement! {
    /// Identities nobody had.
    pub(super) struct InsertIdentities<'a> {
        clinic: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
        rank: i16 => SmallInt,
        contacts: Vec<Uuid> => Array<SqlUuid>,
        kinds: Vec<&'static str> => Array<Text>,
        keys: Vec<&'a str> => Array<Text>,
        values: Vec<&'a str> => Array<Text>,
    } -> Untyped = "INSERT INTO app.contact_identities
            (clinic_id, kind, key, contact_id, value, rank, created_at)
        SELECT v.clinic, n.kind, n.key, n.contact, n.value, v.rank, v.at
        FROM (SELECT (?)::uuid AS clinic, (?)::timestamptz AS at, (?)::smallint AS rank) v,
             unnest((?)::uuid[], (?)::text[], (?)::text[], (?)::text[])
                 AS n (contact, kind, key, value)"
}

statement! {
    /// Gives an identity to another contact.
    pub(super) struct MoveIdentity<'a> {
        to: Uuid => SqlUuid,
        rank: i16 => SmallInt,
        kind: &'static str => Text,
        key: &'a str => Text,
        from: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.contact_identities SET contact_id = ?, rank = ?
        WHERE clinic_id = app.current_clinic() AND kind = ? AND key = ? COLLATE \"C\"
          AND contact_id = ?"
}

statement! {
    pub(super) struct UpdateIdentity<'a> {
        value: &'a str => Text,
        rank: i16 => SmallInt,
        proven_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        proven_order: Option<&'a str> => Nullable<Text>,
        kind: &'static str => Text,
        key: &'a str => Text,
    } -> Untyped = "UPDATE app.contact_identities
        SET value = ?, rank = ?, proven_at = ?, proven_order = ?
        WHERE clinic_id = app.current_clinic() AND kind = ? AND key = ? COLLATE \"C\""
}

statement! {
    pub(super) struct PutProof<'a> {
        clinic: Uuid => SqlUuid,
        weak_kind: &'static str => Text,
        weak_key: &'a str => Text,
        strong_kind: &'static str => Text,
        strong_key: &'a str => Text,
        at: DateTime<Utc> => Timestamptz,
        order: &'a str => Text,
    } -> Untyped = "INSERT INTO app.identity_proofs AS p (clinic_id, weak_kind, weak_key,
            strong_kind, strong_key, proven_at, proven_order)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT ON CONSTRAINT identity_proofs_pk DO UPDATE
            SET proven_at = EXCLUDED.proven_at, proven_order = EXCLUDED.proven_order
            WHERE (p.proven_at, p.proven_order) < (EXCLUDED.proven_at, EXCLUDED.proven_order)"
}

statement! {
    pub(super) struct PutName<'a> {
        clinic: Uuid => SqlUuid,
        kind: &'static str => Text,
        key: &'a str => Text,
        name: &'a str => Text,
        at: DateTime<Utc> => Timestamptz,
        order: &'a str => Text,
    } -> Untyped = "INSERT INTO app.identity_names AS n (clinic_id, kind, key, name, proven_at,
            proven_order)
        VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT ON CONSTRAINT identity_names_pk DO UPDATE
            SET name = EXCLUDED.name, proven_at = EXCLUDED.proven_at,
                proven_order = EXCLUDED.proven_order
            WHERE (n.proven_at, n.proven_order, n.name COLLATE \"C\")
                < (EXCLUDED.proven_at, EXCLUDED.proven_order, EXCLUDED.name COLLATE \"C\")"
}

statement! {
    pub(super) struct InsertConversation<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        channel: Uuid => SqlUuid,
        contact: Uuid => SqlUuid,
        remote_jid: &'a str => Text,
        remote_proven_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        remote_proven_order: Option<&'a str> => Nullable<Text>,
        status: &'a str => Text,
        unread: i32 => Integer,
        last_inbound_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        last_message_at: DateTime<Utc> => Timestamptz,
        last_message_order: &'a str => Text,
        last_message_id: Option<Uuid> => Nullable<SqlUuid>,
        at: DateTime<Utc> => Timestamptz,
        updated_at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.conversations (clinic_id, id, channel_id, contact_id,
            remote_jid, remote_proven_at, remote_proven_order, status, is_paused, unread_count,
            last_inbound_at, last_message_at, last_message_order, last_message_id, row_version,
            created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, false, ?, ?, ?, ?, ?, 1, ?, ?)"
}

statement! {
    pub(super) struct UpdateConversation<'a> {
        contact: Uuid => SqlUuid,
        remote_jid: &'a str => Text,
        remote_proven_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        remote_proven_order: Option<&'a str> => Nullable<Text>,
        status: &'a str => Text,
        assignee: Option<Uuid> => Nullable<SqlUuid>,
        is_paused: bool => Bool,
        unread: i32 => Integer,
        read_through_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        read_through_order: Option<&'a str> => Nullable<Text>,
        last_inbound_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        last_message_at: DateTime<Utc> => Timestamptz,
        last_message_order: &'a str => Text,
        last_message_id: Option<Uuid> => Nullable<SqlUuid>,
        created_at: DateTime<Utc> => Timestamptz,
        at: DateTime<Utc> => Timestamptz,
        id: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.conversations SET contact_id = ?, remote_jid = ?,
            remote_proven_at = ?, remote_proven_order = ?, status = ?, assignee_id = ?,
            is_paused = ?, unread_count = ?, read_through_at = ?, read_through_order = ?,
            last_inbound_at = ?, last_message_at = ?, last_message_order = ?,
            last_message_id = ?, created_at = ?, updated_at = ?, row_version = row_version + 1
        WHERE clinic_id = app.current_clinic() AND id = ?"
}

statement! {
    pub(super) struct DeleteConversation { id: Uuid => SqlUuid } -> Untyped =
        "DELETE FROM app.conversations WHERE clinic_id = app.current_clinic() AND id = ?"
}

statement! {
    /// All messages of a conversation go to another.
    pub(super) struct MoveMessages { to: Uuid => SqlUuid, from: Uuid => SqlUuid } -> Untyped =
        "UPDATE app.messages SET conversation_id = ?
        WHERE clinic_id = app.current_clinic() AND conversation_id = ?"
}

statement! {
    pub(super) struct MoveMessageKeys { to: Uuid => SqlUuid, from: Uuid => SqlUuid } -> Untyped =
        "UPDATE app.message_keys SET conversation_id = ?
        WHERE clinic_id = app.current_clinic() AND conversation_id = ?"
}

statement! {
    /// The messages of a conversation that name somebody by this identity.
    pub(super) struct FindMessagesOfPerson<'a> {
        conversations: Vec<Uuid> => Array<SqlUuid>,
        kind: &'static str => Text,
        key: &'a str => Text,
    } -> (SqlUuid, SqlUuid, Timestamptz, Text) =
        "SELECT m.conversation_id, m.id, m.sent_at, m.order_key FROM app.messages m
        WHERE m.clinic_id = app.current_clinic() AND m.conversation_id = ANY (?)
          AND m.person_kind = ? AND m.person_key = ? COLLATE \"C\""
}

statement! {
    pub(super) struct MoveSomeMessages { to: Uuid => SqlUuid, ids: Vec<Uuid> => Array<SqlUuid> } -> Untyped =
        "UPDATE app.messages SET conversation_id = ?
        WHERE clinic_id = app.current_clinic() AND id = ANY (?)"
}

statement! {
    pub(super) struct MoveSomeMessageKeys {
        to: Uuid => SqlUuid,
        from: Uuid => SqlUuid,
        ids: Vec<Uuid> => Array<SqlUuid>,
    } -> Untyped = "UPDATE app.message_keys SET conversation_id = ?
        WHERE clinic_id = app.current_clinic() AND conversation_id = ? AND message_id = ANY (?)"
}

statement! {
    /// Works a conversation out of its messages again, after some of them went elsewhere.
    pub(super) struct RecountConversation {
        at: DateTime<Utc> => Timestamptz,
        id: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.conversations v
        SET last_message_at = l.sent_at, last_message_order = l.order_key, last_message_id = l.id,
            last_inbound_at = (SELECT max(m.sent_at) FROM app.messages m
                WHERE m.clinic_id = app.current_clinic() AND m.conversation_id = v.id
                  AND NOT m.from_me AND m.kind <> 'system'),
            remote_jid = l.remote_jid, remote_proven_at = l.sent_at,
            remote_proven_order = l.order_key,
            unread_count = (SELECT count(*) FROM app.messages m
                WHERE m.clinic_id = app.current_clinic() AND m.conversation_id = v.id
                  AND NOT m.from_me AND m.kind NOT IN ('reaction', 'system')
                  AND (v.read_through_at IS NULL
                       OR (m.sent_at, m.order_key) > (v.read_through_at, v.read_through_order))),
            updated_at = ?, row_version = v.row_version + 1
        FROM app.conversations o
        JOIN LATERAL (SELECT m.sent_at, m.order_key, m.id, m.remote_jid FROM app.messages m
            WHERE m.clinic_id = app.current_clinic() AND m.conversation_id = o.id
            ORDER BY m.sent_at DESC, m.order_key DESC LIMIT 1) l ON true
        WHERE v.clinic_id = app.current_clinic() AND v.id = ?
          AND o.clinic_id = v.clinic_id AND o.id = v.id"
}

statement! {
    /// A conversation that has no message is none.
    pub(super) struct DeleteEmptyConversation { id: Uuid => SqlUuid } -> Untyped =
        "DELETE FROM app.conversations v WHERE v.clinic_id = app.current_clinic() AND v.id = ?
        AND NOT EXISTS (SELECT FROM app.messages m
            WHERE m.clinic_id = app.current_clinic() AND m.conversation_id = v.id)"
}

statement! {
    pub(super) struct InsertMessageKey<'a> {
        clinic: Uuid => SqlUuid,
        channel: Uuid => SqlUuid,
        provider_id: &'a str => Text,
        from_me: bool => Bool,
        remote_jid: &'a str => Text,
        message: Uuid => SqlUuid,
        conversation: Uuid => SqlUuid,
    } -> Untyped = "INSERT INTO app.message_keys (clinic_id, channel_id, provider_id, from_me,
            remote_jid, message_id, conversation_id)
        VALUES (?, ?, ?, ?, ?, ?, ?)"
}

statement! {
    pub(super) struct InsertMessage<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        conversation: Uuid => SqlUuid,
        channel: Uuid => SqlUuid,
        remote_jid: &'a str => Text,
        person_kind: &'static str => Text,
        person_key: &'a str => Text,
        provider_id: &'a str => Text,
        from_me: bool => Bool,
        kind: &'static str => Text,
        body: Option<&'a str> => Nullable<Text>,
        content: Option<Value> => Nullable<Jsonb>,
        reply_to: Option<&'a str> => Nullable<Text>,
        forwarded: bool => Bool,
        sent_at: DateTime<Utc> => Timestamptz,
        order_key: &'a str => Text,
        status: &'static str => Text,
        status_times: Value => Jsonb,
        error: Option<Value> => Nullable<Jsonb>,
        edited_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        edited_body: Option<&'a str> => Nullable<Text>,
        revoked_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        reactions: Value => Jsonb,
        at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.messages (clinic_id, id, conversation_id, channel_id,
            remote_jid, person_kind, person_key, provider_id, from_me, kind, body, content,
            reply_to, forwarded, sent_at, order_key, status, status_times, error, edited_at,
            edited_body, revoked_at, reactions, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
}

statement! {
    pub(super) struct UpdateMessage<'a> {
        status: &'static str => Text,
        status_times: Value => Jsonb,
        error: Option<Value> => Nullable<Jsonb>,
        edited_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        edited_body: Option<&'a str> => Nullable<Text>,
        revoked_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        reactions: Value => Jsonb,
        id: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.messages SET status = ?, status_times = ?, error = ?,
            edited_at = ?, edited_body = ?, revoked_at = ?, reactions = ?
        WHERE clinic_id = app.current_clinic() AND id = ?"
}

statement! {
    pub(super) struct PutReceipt<'a> {
        clinic: Uuid => SqlUuid,
        channel: Uuid => SqlUuid,
        provider_id: &'a str => Text,
        status: &'static str => Text,
        at: DateTime<Utc> => Timestamptz,
        error: Option<&'a Value> => Nullable<Jsonb>,
        pricing: Option<&'a Value> => Nullable<Jsonb>,
        now: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.message_receipts (clinic_id, channel_id, provider_id, status,
            at, error, pricing, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT ON CONSTRAINT message_receipts_pk DO UPDATE
            SET at = EXCLUDED.at, error = EXCLUDED.error, pricing = EXCLUDED.pricing"
}

statement! {
    pub(super) struct InsertAmendment<'a> {
        clinic: Uuid => SqlUuid,
        channel: Uuid => SqlUuid,
        target: &'a str => Text,
        kind: &'static str => Text,
        provider_id: &'a str => Text,
        from_me: bool => Bool,
        remote_jid: &'a str => Text,
        person_kind: &'static str => Text,
        person_key: &'a str => Text,
        at: DateTime<Utc> => Timestamptz,
        value: Option<&'a str> => Nullable<Text>,
        now: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.message_amendments (clinic_id, channel_id, target_provider_id,
            kind, provider_id, from_me, remote_jid, person_kind, person_key, at, value, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
}
