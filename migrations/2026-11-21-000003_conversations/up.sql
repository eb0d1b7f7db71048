-- Channels and the endpoints that authenticate them, the ingress, conversations and messages.

-- What a provider's signature authenticates. An operator's endpoint (no clinic) may carry channels
-- of several clinics: one Meta app has one callback.
CREATE TABLE app.webhook_endpoints (
    id uuid CONSTRAINT webhook_endpoints_pk PRIMARY KEY,
    clinic_id uuid CONSTRAINT webhook_endpoints_clinic_fk REFERENCES app.clinics,
    provider text NOT NULL CONSTRAINT webhook_endpoints_provider_known
        CHECK (provider IN ('whatsapp-cloud', 'evolution')),
    -- 128 random bits, so that a path cannot be guessed.
    path_key text COLLATE "C" NOT NULL CONSTRAINT webhook_endpoints_path_key_unique UNIQUE,
    verify_token_sealed bytea NOT NULL,
    created_at timestamptz NOT NULL
);
CALL app.seal_by_clinic('app.webhook_endpoints');
CALL app.open_to_definer('app.webhook_endpoints');
-- The server's role writes those of the present clinic only: row security sees to it.
GRANT SELECT, INSERT, UPDATE (verify_token_sealed) ON app.webhook_endpoints TO acolhe_app;
GRANT SELECT, INSERT ON app.webhook_endpoints TO acolhe_definer;
CALL app.classify('app.webhook_endpoints',
    'none: id clinic_id provider created_at; secret: path_key verify_token_sealed');

-- Secrets overlap while they are rotated: the older one is good until not_after.
CREATE TABLE app.webhook_endpoint_secrets (
    endpoint_id uuid NOT NULL
        CONSTRAINT webhook_endpoint_secrets_endpoint_fk REFERENCES app.webhook_endpoints,
    id uuid NOT NULL,
    clinic_id uuid,
    sealed bytea NOT NULL,
    not_after timestamptz,
    created_at timestamptz NOT NULL,
    CONSTRAINT webhook_endpoint_secrets_pk PRIMARY KEY (endpoint_id, id)
);
CALL app.seal_by_clinic('app.webhook_endpoint_secrets');
CALL app.open_to_definer('app.webhook_endpoint_secrets');
GRANT SELECT, INSERT, UPDATE (not_after), DELETE ON app.webhook_endpoint_secrets TO acolhe_app;
GRANT SELECT, INSERT ON app.webhook_endpoint_secrets TO acolhe_definer;
CALL app.classify('app.webhook_endpoint_secrets',
    'none: endpoint_id id clinic_id not_after created_at; secret: sealed');

CREATE TABLE app.channels (
    clinic_id uuid NOT NULL CONSTRAINT channels_clinic_fk REFERENCES app.clinics,
    id uuid NOT NULL,
    endpoint_id uuid NOT NULL CONSTRAINT channels_endpoint_fk REFERENCES app.webhook_endpoints,
    provider text NOT NULL CONSTRAINT channels_provider_known
        CHECK (provider IN ('whatsapp-cloud', 'evolution')),
    name text NOT NULL CONSTRAINT channels_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    -- What routes a change: the provider's phone number id, or the instance's name.
    external_id text COLLATE "C" NOT NULL
        CONSTRAINT channels_external_id_length CHECK (char_length(external_id) BETWEEN 1 AND 120),
    display_phone text,
    status text NOT NULL CONSTRAINT channels_status_known CHECK (status IN ('active', 'disabled')),
    row_version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT channels_pk PRIMARY KEY (clinic_id, id),
    -- A number is one channel of a clinic, or its messages would be told twice.
    CONSTRAINT channels_external_id_unique UNIQUE (clinic_id, provider, external_id),
    -- Within one endpoint a number is one clinic's. Only operators bind channels to an endpoint
    -- that is not their clinic's own, so this answers nobody what they may not know.
    CONSTRAINT channels_route_unique UNIQUE (endpoint_id, external_id)
);
CREATE INDEX channels_by_creation ON app.channels (clinic_id, created_at DESC, id DESC);
CALL app.seal_by_clinic('app.channels');
CALL app.open_to_definer('app.channels');
GRANT SELECT, INSERT, UPDATE ON app.channels TO acolhe_app;
GRANT SELECT, INSERT ON app.channels TO acolhe_definer;
CALL app.classify('app.channels', 'none: clinic_id id endpoint_id provider name external_id
    display_phone status row_version created_at updated_at');

-- The ingress: one row for each change of a delivery, its bytes as they came (jsonb would refuse
-- \u0000), credentials scrubbed. Insert-only but for the route, which a channel that is bound
-- later gives to what had waited for it.
CREATE TABLE app.webhook_inbox (
    id uuid CONSTRAINT webhook_inbox_pk PRIMARY KEY,
    endpoint_id uuid NOT NULL
        CONSTRAINT webhook_inbox_endpoint_fk REFERENCES app.webhook_endpoints,
    digest bytea NOT NULL,
    received_at timestamptz NOT NULL,
    -- The provider's routing key as found in the change; NULL where none was found.
    route text COLLATE "C",
    body bytea NOT NULL,
    clinic_id uuid,
    channel_id uuid,
    CONSTRAINT webhook_inbox_digest_unique UNIQUE (endpoint_id, digest),
    CONSTRAINT webhook_inbox_route_whole CHECK ((clinic_id IS NULL) = (channel_id IS NULL))
);
CREATE INDEX webhook_inbox_unrouted ON app.webhook_inbox (endpoint_id, route)
    WHERE clinic_id IS NULL;
CALL app.seal_by_clinic('app.webhook_inbox');
CALL app.open_to_definer('app.webhook_inbox');
GRANT SELECT ON app.webhook_inbox TO acolhe_app;
GRANT SELECT (id, endpoint_id, digest, received_at, route, clinic_id, channel_id), INSERT,
      UPDATE (clinic_id, channel_id) ON app.webhook_inbox TO acolhe_definer;
CALL app.classify('app.webhook_inbox', 'none: id endpoint_id digest received_at route clinic_id
    channel_id; medical: body');

-- Which identities messages proved to be of one person, each pair with its latest proof. Kept for
-- ever: who somebody is, is worked out from these, in whatever order they came.
CREATE TABLE app.identity_proofs (
    clinic_id uuid NOT NULL,
    weak_kind text NOT NULL,
    weak_key text COLLATE "C" NOT NULL,
    strong_kind text NOT NULL,
    strong_key text COLLATE "C" NOT NULL,
    proven_at timestamptz NOT NULL,
    proven_order text COLLATE "C" NOT NULL,
    CONSTRAINT identity_proofs_pk
        PRIMARY KEY (clinic_id, weak_kind, weak_key, strong_kind, strong_key)
) WITH (fillfactor = 70);
CREATE INDEX identity_proofs_by_strong
    ON app.identity_proofs (clinic_id, strong_kind, strong_key);
CALL app.seal_by_clinic('app.identity_proofs');
GRANT SELECT, INSERT, UPDATE ON app.identity_proofs TO acolhe_app;
CALL app.classify('app.identity_proofs', 'none: clinic_id weak_kind strong_kind proven_at
    proven_order; personal: weak_key strong_key');

-- The latest profile name that came with each identity. A contact that nobody of the clinic named
-- has the latest of its identities' names.
CREATE TABLE app.identity_names (
    clinic_id uuid NOT NULL,
    kind text NOT NULL,
    key text COLLATE "C" NOT NULL,
    name text NOT NULL
        CONSTRAINT identity_names_length CHECK (char_length(name) BETWEEN 1 AND 200),
    proven_at timestamptz NOT NULL,
    proven_order text COLLATE "C" NOT NULL,
    CONSTRAINT identity_names_pk PRIMARY KEY (clinic_id, kind, key)
) WITH (fillfactor = 70);
CALL app.seal_by_clinic('app.identity_names');
GRANT SELECT, INSERT, UPDATE ON app.identity_names TO acolhe_app;
CALL app.classify('app.identity_names',
    'none: clinic_id kind proven_at proven_order; personal: key name');

CREATE TABLE app.conversations (
    clinic_id uuid NOT NULL,
    id uuid NOT NULL,
    channel_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    -- The address the contact wrote from last: where an answer goes.
    remote_jid text NOT NULL,
    remote_proven_at timestamptz,
    remote_proven_order text COLLATE "C",
    status text NOT NULL CONSTRAINT conversations_status_known
        CHECK (status IN ('open', 'pending', 'snoozed', 'resolved')),
    assignee_id uuid,
    is_paused boolean NOT NULL,
    unread_count integer NOT NULL
        CONSTRAINT conversations_unread_positive CHECK (unread_count >= 0),
    -- Messages up to this one were read by the clinic.
    read_through_at timestamptz,
    read_through_order text COLLATE "C",
    last_inbound_at timestamptz,
    last_message_at timestamptz NOT NULL,
    last_message_order text COLLATE "C" NOT NULL,
    last_message_id uuid,
    row_version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT conversations_pk PRIMARY KEY (clinic_id, id),
    -- One person has one thread on a channel, whichever of their addresses they write from.
    CONSTRAINT conversations_contact_unique UNIQUE (clinic_id, channel_id, contact_id),
    CONSTRAINT conversations_channel_fk FOREIGN KEY (clinic_id, channel_id)
        REFERENCES app.channels (clinic_id, id),
    CONSTRAINT conversations_contact_fk FOREIGN KEY (clinic_id, contact_id)
        REFERENCES app.contacts (clinic_id, id),
    CONSTRAINT conversations_assignee_fk FOREIGN KEY (clinic_id, assignee_id)
        REFERENCES app.memberships (clinic_id, user_id)
) WITH (fillfactor = 80);
CREATE INDEX conversations_by_activity
    ON app.conversations (clinic_id, last_message_at DESC, id DESC);
CREATE INDEX conversations_by_status
    ON app.conversations (clinic_id, status, last_message_at DESC, id DESC);
CREATE INDEX conversations_by_channel
    ON app.conversations (clinic_id, channel_id, last_message_at DESC, id DESC);
CREATE INDEX conversations_by_contact
    ON app.conversations (clinic_id, contact_id, last_message_at DESC, id DESC);
CREATE INDEX conversations_unread
    ON app.conversations (clinic_id, last_message_at DESC, id DESC) WHERE unread_count > 0;
CALL app.seal_by_clinic('app.conversations');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.conversations TO acolhe_app;
CALL app.classify('app.conversations', 'none: clinic_id id channel_id contact_id remote_proven_at
    remote_proven_order status assignee_id is_paused unread_count read_through_at
    read_through_order last_inbound_at last_message_at last_message_order last_message_id
    row_version created_at updated_at; personal: remote_jid');

-- Partitioned by id, whose time is when the message was stored.
CREATE TABLE app.messages (
    clinic_id uuid NOT NULL,
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    channel_id uuid NOT NULL,
    remote_jid text NOT NULL,
    -- The strongest identity that the message named of the person at the other end: whoever holds
    -- it has the message.
    person_kind text NOT NULL,
    person_key text COLLATE "C" NOT NULL,
    provider_id text COLLATE "C",
    from_me boolean NOT NULL,
    kind text NOT NULL,
    body text,
    -- What the type brings beside the body: media reference, location, contacts, buttons, …
    content jsonb,
    reply_to text,
    forwarded boolean NOT NULL,
    -- The provider's time, and what breaks ties within its second.
    sent_at timestamptz NOT NULL,
    order_key text COLLATE "C" NOT NULL,
    status text NOT NULL CONSTRAINT messages_status_known CHECK (status IN
        ('received', 'queued', 'sending', 'unknown', 'sent', 'failed', 'delivered', 'read',
         'played')),
    -- {"sent": instant, "delivered": instant, …}: the earliest of each.
    status_times jsonb NOT NULL,
    -- {"code": …, "title": …} as the provider gave it.
    error jsonb,
    edited_at timestamptz,
    edited_body text,
    revoked_at timestamptz,
    -- [{"by": "contact" | "clinic", "emoji": …, "at": instant}]
    reactions jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT messages_pk PRIMARY KEY (clinic_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX messages_by_conversation
    ON app.messages (clinic_id, conversation_id, sent_at DESC, order_key DESC);
CALL app.seal_by_clinic('app.messages');
CALL app.partition_yearly('app.messages', 2026, 2036);
GRANT SELECT, INSERT, UPDATE ON app.messages TO acolhe_app;
CALL app.classify('app.messages', 'none: clinic_id id conversation_id channel_id provider_id from_me
    kind reply_to forwarded sent_at order_key status status_times error edited_at revoked_at
    person_kind created_at; personal: remote_jid person_key;
    medical: body content edited_body reactions');

-- A message is known once, whichever partition it lies in.
CREATE TABLE app.message_keys (
    clinic_id uuid NOT NULL,
    channel_id uuid NOT NULL,
    provider_id text COLLATE "C" NOT NULL,
    from_me boolean NOT NULL,
    remote_jid text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    CONSTRAINT message_keys_pk
        PRIMARY KEY (clinic_id, channel_id, provider_id, from_me, remote_jid)
);
CREATE INDEX message_keys_by_conversation ON app.message_keys (clinic_id, conversation_id);
CALL app.seal_by_clinic('app.message_keys');
GRANT SELECT, INSERT, UPDATE (message_id, conversation_id) ON app.message_keys TO acolhe_app;
CALL app.classify('app.message_keys', 'none: clinic_id channel_id provider_id from_me message_id
    conversation_id; personal: remote_jid');

-- Each kind of receipt of a message, kept whether the message is there yet or not. A message's
-- status is worked out from these rows, so their order of arrival cannot matter.
CREATE TABLE app.message_receipts (
    clinic_id uuid NOT NULL,
    channel_id uuid NOT NULL,
    provider_id text COLLATE "C" NOT NULL,
    status text NOT NULL CONSTRAINT message_receipts_status_known
        CHECK (status IN ('sent', 'delivered', 'read', 'played', 'failed')),
    at timestamptz NOT NULL,
    error jsonb,
    pricing jsonb,
    created_at timestamptz NOT NULL,
    CONSTRAINT message_receipts_pk PRIMARY KEY (clinic_id, channel_id, provider_id, status)
);
CALL app.seal_by_clinic('app.message_receipts');
GRANT SELECT, INSERT, UPDATE ON app.message_receipts TO acolhe_app;
CALL app.classify('app.message_receipts',
    'none: clinic_id channel_id provider_id status at error pricing created_at');

-- Edits, revocations and reactions, kept whether their message is there yet or not.
CREATE TABLE app.message_amendments (
    clinic_id uuid NOT NULL,
    channel_id uuid NOT NULL,
    target_provider_id text COLLATE "C" NOT NULL,
    kind text NOT NULL CONSTRAINT message_amendments_kind_known
        CHECK (kind IN ('edit', 'revoke', 'reaction')),
    provider_id text COLLATE "C" NOT NULL,
    from_me boolean NOT NULL,
    remote_jid text COLLATE "C" NOT NULL,
    -- As in messages: an amendment counts where its person has the message.
    person_kind text NOT NULL,
    person_key text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    -- The new body of an edit, the emoji of a reaction; NULL removes the reaction.
    value text,
    created_at timestamptz NOT NULL,
    CONSTRAINT message_amendments_pk
        PRIMARY KEY (clinic_id, channel_id, target_provider_id, kind, provider_id, from_me)
);
CREATE INDEX message_amendments_by_person
    ON app.message_amendments (clinic_id, person_kind, person_key);
CALL app.seal_by_clinic('app.message_amendments');
GRANT SELECT, INSERT, UPDATE ON app.message_amendments TO acolhe_app;
CALL app.classify('app.message_amendments', 'none: clinic_id channel_id target_provider_id kind
    provider_id from_me at created_at person_kind; personal: remote_jid person_key;
    medical: value');

SET LOCAL ROLE acolhe_definer;

CREATE FUNCTION sec.find_endpoint(p_path_key text)
RETURNS TABLE (endpoint_id uuid, provider text, verify_token_sealed bytea, secret_ids uuid[],
               secrets_sealed bytea[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.id, e.provider, e.verify_token_sealed, good.ids, good.sealed
    FROM app.webhook_endpoints e CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(s.id ORDER BY s.created_at DESC, s.id DESC), '{}') AS ids,
               coalesce(array_agg(s.sealed ORDER BY s.created_at DESC, s.id DESC), '{}') AS sealed
        FROM app.webhook_endpoint_secrets s
        WHERE s.endpoint_id = e.id AND (s.not_after IS NULL OR s.not_after > now())
    ) good
    WHERE e.path_key = p_path_key
$$;

-- Stores the changes of one delivery and enqueues their jobs, in one statement. A change that is
-- there already is skipped; one whose number is bound to no active channel of this endpoint is
-- kept without a route. Answers how many were new.
CREATE FUNCTION sec.ingest(p_endpoint uuid, p_at timestamptz, p_ids uuid[], p_digests bytea[],
    p_routes text[], p_bodies bytea[], p_jobs uuid[])
RETURNS TABLE (stored bigint, routed bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH fresh AS (
        INSERT INTO app.webhook_inbox AS w
            (id, endpoint_id, digest, received_at, route, body, clinic_id, channel_id)
        SELECT c.id, p_endpoint, c.digest, p_at, c.route, c.body, ch.clinic_id, ch.id
        FROM unnest(p_ids, p_digests, p_routes, p_bodies) AS c (id, digest, route, body)
        LEFT JOIN app.channels ch
            ON ch.endpoint_id = p_endpoint AND ch.external_id = c.route AND ch.status = 'active'
        ON CONFLICT ON CONSTRAINT webhook_inbox_digest_unique DO NOTHING
        RETURNING w.id, w.clinic_id
    ), enqueued AS (
        INSERT INTO app.jobs (clinic_id, id, queue, kind, version, payload, priority, state,
                              run_at, max_attempts, created_at)
        SELECT f.clinic_id, j.job, 'message-worker', 'webhook.process', 1,
               jsonb_build_object('inboxId', f.id), 0, 'waiting', p_at, 20, p_at
        FROM fresh f JOIN unnest(p_ids, p_jobs) AS j (id, job) ON j.id = f.id
        WHERE f.clinic_id IS NOT NULL
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM fresh), (SELECT count(*) FROM enqueued)
$$;

-- Gives what had waited for a channel its route, and enqueues it.
CREATE FUNCTION sec.route_waiting(p_clinic uuid, p_channel uuid, p_at timestamptz)
RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH claimed AS (
        UPDATE app.webhook_inbox w SET clinic_id = ch.clinic_id, channel_id = ch.id
        FROM app.channels ch
        WHERE ch.clinic_id = p_clinic AND ch.clinic_id = app.current_clinic()
          AND ch.id = p_channel AND ch.status = 'active'
          AND w.endpoint_id = ch.endpoint_id AND w.route = ch.external_id AND w.clinic_id IS NULL
        RETURNING w.id, w.clinic_id
    ), enqueued AS (
        INSERT INTO app.jobs (clinic_id, id, queue, kind, version, payload, priority, state,
                              run_at, max_attempts, created_at)
        SELECT c.clinic_id, gen_random_uuid(), 'message-worker', 'webhook.process', 1,
               jsonb_build_object('inboxId', c.id), 0, 'waiting', p_at, 20, p_at
        FROM claimed c RETURNING 1
    )
    SELECT count(*) FROM enqueued
$$;

-- An operator's endpoint, with its first secret. It is no clinic's, so that its trace goes to the
-- platform's security log.
CREATE FUNCTION sec.create_shared_endpoint(p_id uuid, p_provider text, p_path_key text,
    p_verify_token_sealed bytea, p_secret_id uuid, p_secret_sealed bytea, p_at timestamptz,
    p_log_id uuid, p_request uuid)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO app.webhook_endpoints (id, clinic_id, provider, path_key, verify_token_sealed,
                                       created_at)
    VALUES (p_id, NULL, p_provider, p_path_key, p_verify_token_sealed, p_at);
    INSERT INTO app.webhook_endpoint_secrets (endpoint_id, id, clinic_id, sealed, not_after,
                                              created_at)
    VALUES (p_id, p_secret_id, NULL, p_secret_sealed, NULL, p_at);
    INSERT INTO app.security_log (id, at, kind, request_id)
    VALUES (p_log_id, p_at, 'endpoint.created', p_request)
$$;

-- Binds a channel of a clinic to an operator's endpoint.
CREATE FUNCTION sec.bind_channel(p_clinic uuid, p_id uuid, p_endpoint uuid, p_name text,
    p_external_id text, p_display_phone text, p_at timestamptz)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO app.channels (clinic_id, id, endpoint_id, provider, name, external_id,
                              display_phone, status, row_version, created_at, updated_at)
    SELECT p_clinic, p_id, e.id, e.provider, p_name, p_external_id, p_display_phone, 'active', 1,
           p_at, p_at
    FROM app.webhook_endpoints e WHERE e.id = p_endpoint AND e.clinic_id IS NULL
$$;

-- How many changes wait for a channel: an operator's count.
CREATE FUNCTION sec.count_unrouted() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(*) FROM app.webhook_inbox w WHERE w.clinic_id IS NULL
$$;

GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sec TO acolhe_app;
RESET ROLE;
