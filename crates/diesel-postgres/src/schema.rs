//! The tables of the schema `app`, as Diesel sees them.
//!
//! Written by `cargo xtask db schema` from the migrations, and checked by `cargo xtask check`:
//! changes by hand are lost.
#![allow(missing_docs, reason = "the migrations describe tables and columns")]

diesel::table! {
    app.audit_entries (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        at -> Timestamptz,
        actor_kind -> Text,
        actor_id -> Nullable<Uuid>,
        actor_role -> Text,
        action -> Text,
        resource_kind -> Text,
        resource_id -> Nullable<Uuid>,
        subject_contact_id -> Nullable<Uuid>,
        outcome -> Text,
        purpose -> Nullable<Text>,
        changes -> Jsonb,
        /// personal
        address -> Nullable<Text>,
        /// personal
        user_agent -> Nullable<Text>,
        request_id -> Uuid,
        trace_id -> Nullable<Text>,
    }
}

diesel::table! {
    app.branches (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        name -> Text,
        time_zone -> Text,
        address -> Nullable<Jsonb>,
        opening_hours -> Nullable<Jsonb>,
        status -> Text,
        row_version -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    app.channels (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        endpoint_id -> Uuid,
        provider -> Text,
        name -> Text,
        external_id -> Text,
        display_phone -> Nullable<Text>,
        status -> Text,
        row_version -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    app.clinic_plans (clinic_id) {
        clinic_id -> Uuid,
        requests_per_minute -> Int4,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    app.clinics (id) {
        id -> Uuid,
        name -> Text,
        time_zone -> Text,
        locale -> Text,
        settings -> Jsonb,
        status -> Text,
        row_version -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    app.consent_texts (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        purpose -> Text,
        version -> Int4,
        body -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    app.contact_consents (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        contact_id -> Uuid,
        /// personal
        purpose -> Text,
        /// personal
        channel -> Text,
        revokes -> Nullable<Uuid>,
        text_id -> Nullable<Uuid>,
        at -> Timestamptz,
        recorded_at -> Timestamptz,
        recorded_by_kind -> Text,
        recorded_by -> Nullable<Uuid>,
        /// personal
        proof -> Nullable<Text>,
    }
}

diesel::table! {
    app.contact_fields (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        key -> Text,
        label -> Text,
        kind -> Text,
        options -> Jsonb,
        required -> Bool,
        place -> Int2,
        row_version -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        archived_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    app.contact_identities (clinic_id, kind, key) {
        clinic_id -> Uuid,
        kind -> Text,
        /// personal
        key -> Text,
        contact_id -> Uuid,
        /// personal
        value -> Text,
        label -> Nullable<Text>,
        rank -> Int2,
        proven_at -> Nullable<Timestamptz>,
        proven_order -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    app.contact_tags (clinic_id, tag, contact_id) {
        clinic_id -> Uuid,
        /// medical
        tag -> Text,
        contact_id -> Uuid,
    }
}

diesel::table! {
    app.contact_tokens (clinic_id, token, contact_id) {
        clinic_id -> Uuid,
        /// personal
        token -> Text,
        contact_id -> Uuid,
    }
}

diesel::table! {
    app.contacts (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        /// personal
        name -> Text,
        /// personal
        name_key -> Text,
        name_source -> Text,
        /// personal
        social_name -> Nullable<Text>,
        /// personal
        birth_date -> Nullable<Date>,
        document_kind -> Nullable<Text>,
        /// personal
        document_sealed -> Nullable<Bytea>,
        /// personal
        document_mac -> Nullable<Bytea>,
        status -> Text,
        status_before_archive -> Nullable<Text>,
        source -> Text,
        owner_id -> Nullable<Uuid>,
        /// personal
        notes -> Nullable<Text>,
        /// medical
        tags -> Array<Text>,
        /// personal
        primary_phone -> Nullable<Text>,
        /// personal
        primary_email -> Nullable<Text>,
        curated -> Bool,
        merged_into -> Nullable<Uuid>,
        row_version -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        archived_at -> Nullable<Timestamptz>,
        /// medical
        custom_fields -> Jsonb,
    }
}

diesel::table! {
    app.conversations (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        channel_id -> Uuid,
        contact_id -> Uuid,
        /// personal
        remote_jid -> Text,
        remote_proven_at -> Nullable<Timestamptz>,
        remote_proven_order -> Nullable<Text>,
        status -> Text,
        assignee_id -> Nullable<Uuid>,
        is_paused -> Bool,
        unread_count -> Int4,
        read_through_at -> Nullable<Timestamptz>,
        read_through_order -> Nullable<Text>,
        last_inbound_at -> Nullable<Timestamptz>,
        last_message_at -> Timestamptz,
        last_message_order -> Text,
        last_message_id -> Nullable<Uuid>,
        row_version -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    app.event_heads (clinic_id) {
        clinic_id -> Uuid,
        head -> Int8,
    }
}

diesel::table! {
    app.events (clinic_id, position) {
        clinic_id -> Uuid,
        position -> Int8,
        outbox_id -> Int8,
        event_id -> Uuid,
        name -> Text,
        version -> Int2,
        entity_id -> Uuid,
        at -> Timestamptz,
        payload -> Jsonb,
    }
}

diesel::table! {
    app.flag_clinics (clinic_id, flag) {
        clinic_id -> Uuid,
        flag -> Text,
        is_on -> Bool,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    app.flag_rules (flag) {
        flag -> Text,
        percentage -> Int2,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    app.idempotency_keys (clinic_id, key) {
        clinic_id -> Uuid,
        key -> Bytea,
        request -> Bytea,
        /// secret
        answer -> Bytea,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    app.identity_names (clinic_id, kind, key) {
        clinic_id -> Uuid,
        kind -> Text,
        /// personal
        key -> Text,
        /// personal
        name -> Text,
        proven_at -> Timestamptz,
        proven_order -> Text,
    }
}

diesel::table! {
    app.identity_proofs (clinic_id, weak_kind, weak_key, strong_kind, strong_key) {
        clinic_id -> Uuid,
        weak_kind -> Text,
        /// personal
        weak_key -> Text,
        strong_kind -> Text,
        /// personal
        strong_key -> Text,
        proven_at -> Timestamptz,
        proven_order -> Text,
    }
}

diesel::table! {
    app.invitations (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        /// personal
        email -> Text,
        /// personal
        name -> Text,
        role -> Text,
        branches -> Nullable<Array<Uuid>>,
        own_agenda_only -> Bool,
        status -> Text,
        invited_by -> Nullable<Uuid>,
        sent_at -> Timestamptz,
        expires_at -> Timestamptz,
        row_version -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    app.jobs (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        queue -> Text,
        kind -> Text,
        version -> Int2,
        payload -> Jsonb,
        priority -> Int2,
        state -> Text,
        run_at -> Timestamptz,
        attempts -> Int2,
        max_attempts -> Int2,
        lease_token -> Nullable<Uuid>,
        leased_until -> Nullable<Timestamptz>,
        unique_key -> Nullable<Text>,
        last_failure -> Nullable<Text>,
        created_at -> Timestamptz,
        finished_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    app.login_attempts (subject) {
        /// personal
        subject -> Bytea,
        failures -> Int4,
        blocked_until -> Nullable<Timestamptz>,
        known_until -> Nullable<Timestamptz>,
        forget_at -> Timestamptz,
    }
}

diesel::table! {
    app.mail_outbox (id) {
        id -> Uuid,
        kind -> Text,
        clinic_id -> Nullable<Uuid>,
        cause_id -> Uuid,
        state -> Text,
        run_at -> Timestamptz,
        attempts -> Int2,
        lease_token -> Nullable<Uuid>,
        last_failure -> Nullable<Text>,
        created_at -> Timestamptz,
        finished_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    app.memberships (clinic_id, user_id) {
        clinic_id -> Uuid,
        user_id -> Uuid,
        role -> Text,
        branches -> Nullable<Array<Uuid>>,
        own_agenda_only -> Bool,
        status -> Text,
        row_version -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    app.message_amendments (clinic_id, channel_id, target_provider_id, kind, provider_id, from_me) {
        clinic_id -> Uuid,
        channel_id -> Uuid,
        target_provider_id -> Text,
        kind -> Text,
        provider_id -> Text,
        from_me -> Bool,
        /// personal
        remote_jid -> Text,
        person_kind -> Text,
        /// personal
        person_key -> Text,
        at -> Timestamptz,
        /// medical
        value -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    app.message_keys (clinic_id, channel_id, provider_id, from_me, remote_jid) {
        clinic_id -> Uuid,
        channel_id -> Uuid,
        provider_id -> Text,
        from_me -> Bool,
        /// personal
        remote_jid -> Text,
        message_id -> Uuid,
        conversation_id -> Uuid,
    }
}

diesel::table! {
    app.message_receipts (clinic_id, channel_id, provider_id, status) {
        clinic_id -> Uuid,
        channel_id -> Uuid,
        provider_id -> Text,
        status -> Text,
        at -> Timestamptz,
        error -> Nullable<Jsonb>,
        pricing -> Nullable<Jsonb>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    app.messages (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        conversation_id -> Uuid,
        channel_id -> Uuid,
        /// personal
        remote_jid -> Text,
        person_kind -> Text,
        /// personal
        person_key -> Text,
        provider_id -> Nullable<Text>,
        from_me -> Bool,
        kind -> Text,
        /// medical
        body -> Nullable<Text>,
        /// medical
        content -> Nullable<Jsonb>,
        reply_to -> Nullable<Text>,
        forwarded -> Bool,
        sent_at -> Timestamptz,
        order_key -> Text,
        status -> Text,
        status_times -> Jsonb,
        error -> Nullable<Jsonb>,
        edited_at -> Nullable<Timestamptz>,
        /// medical
        edited_body -> Nullable<Text>,
        revoked_at -> Nullable<Timestamptz>,
        /// medical
        reactions -> Jsonb,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    app.one_time_tokens (hash) {
        /// secret
        hash -> Bytea,
        kind -> Text,
        clinic_id -> Nullable<Uuid>,
        cause_id -> Uuid,
        expires_at -> Timestamptz,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    app.operators (id) {
        id -> Uuid,
        /// personal
        name -> Text,
        /// secret
        token_hash -> Bytea,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
        last_used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    app.outbox (id) {
        id -> Int8,
        clinic_id -> Uuid,
        event_id -> Uuid,
        name -> Text,
        version -> Int2,
        entity_id -> Uuid,
        at -> Timestamptz,
        payload -> Jsonb,
    }
}

diesel::table! {
    app.password_resets (id) {
        id -> Uuid,
        user_id -> Nullable<Uuid>,
        /// personal
        subject_hash -> Bytea,
        /// personal
        origin_hash -> Nullable<Bytea>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    app.rollout_revision (id) {
        id -> Bool,
        revision -> Int8,
    }
}

diesel::table! {
    app.security_log (id) {
        id -> Uuid,
        at -> Timestamptz,
        kind -> Text,
        user_id -> Nullable<Uuid>,
        clinic_id -> Nullable<Uuid>,
        /// personal
        subject_hash -> Nullable<Bytea>,
        /// personal
        address -> Nullable<Text>,
        /// personal
        user_agent -> Nullable<Text>,
        request_id -> Uuid,
        reason -> Nullable<Text>,
    }
}

diesel::table! {
    app.sequencer_heartbeat (singleton) {
        singleton -> Bool,
        beat_at -> Timestamptz,
    }
}

diesel::table! {
    app.sessions (id) {
        id -> Uuid,
        user_id -> Uuid,
        /// secret
        token_hash -> Bytea,
        /// secret
        previous_hash -> Nullable<Bytea>,
        /// secret
        successor_nonce -> Nullable<Bytea>,
        rotated_at -> Nullable<Timestamptz>,
        /// personal
        user_agent -> Nullable<Text>,
        /// personal
        address -> Nullable<Text>,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
        idle_until -> Timestamptz,
        expires_at -> Timestamptz,
        ended_at -> Nullable<Timestamptz>,
        end_reason -> Nullable<Text>,
        ended_xid -> Nullable<Int8>,
    }
}

diesel::table! {
    app.stream_topics (clinic_id, topic) {
        clinic_id -> Uuid,
        topic -> Text,
        position -> Int8,
        stamped -> Int8,
    }
}

diesel::table! {
    app.users (id) {
        id -> Uuid,
        /// personal
        email -> Text,
        /// personal
        name -> Text,
        /// secret
        password_hash -> Nullable<Text>,
        status -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    app.webhook_endpoint_secrets (endpoint_id, id) {
        endpoint_id -> Uuid,
        id -> Uuid,
        clinic_id -> Nullable<Uuid>,
        /// secret
        sealed -> Bytea,
        not_after -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    app.webhook_endpoints (id) {
        id -> Uuid,
        clinic_id -> Nullable<Uuid>,
        provider -> Text,
        /// secret
        path_key -> Text,
        /// secret
        verify_token_sealed -> Bytea,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    app.webhook_inbox (id) {
        id -> Uuid,
        endpoint_id -> Uuid,
        digest -> Bytea,
        received_at -> Timestamptz,
        route -> Nullable<Text>,
        /// medical
        body -> Bytea,
        clinic_id -> Nullable<Uuid>,
        channel_id -> Nullable<Uuid>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    audit_entries,
    branches,
    channels,
    clinic_plans,
    clinics,
    consent_texts,
    contact_consents,
    contact_fields,
    contact_identities,
    contact_tags,
    contact_tokens,
    contacts,
    conversations,
    event_heads,
    events,
    flag_clinics,
    flag_rules,
    idempotency_keys,
    identity_names,
    identity_proofs,
    invitations,
    jobs,
    login_attempts,
    mail_outbox,
    memberships,
    message_amendments,
    message_keys,
    message_receipts,
    messages,
    one_time_tokens,
    operators,
    outbox,
    password_resets,
    rollout_revision,
    security_log,
    sequencer_heartbeat,
    sessions,
    stream_topics,
    users,
    webhook_endpoint_secrets,
    webhook_endpoints,
    webhook_inbox
);
