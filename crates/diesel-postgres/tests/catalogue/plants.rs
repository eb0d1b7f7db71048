//! What breaks a rule, planted to see whether the rule finds it.

/// One breach.
pub(crate) struct Plant {
    /// The rule that must find it.
    pub(crate) rule: &'static str,
    /// What it must find.
    pub(crate) object: &'static str,
    /// What to run as a superuser, in a transaction that is undone.
    pub(crate) sql: &'static str,
}

const fn plant(rule: &'static str, object: &'static str, sql: &'static str) -> Plant {
    Plant { rule, object, sql }
}

/// At least one for each rule.
pub(crate) const PLANTS: &[Plant] = &[
    plant(
        "row-security",
        "app.bad",
        "CREATE TABLE app.bad (clinic_id uuid)",
    ),
    plant(
        "row-security",
        "app.bad",
        "CREATE TABLE app.bad (clinic_id uuid); ALTER TABLE app.bad ENABLE ROW LEVEL SECURITY",
    ),
    plant(
        "row-security",
        "part.messages_bad",
        "ALTER TABLE app.messages DETACH PARTITION part.messages_other;
         CREATE TABLE part.messages_bad PARTITION OF app.messages DEFAULT",
    ),
    plant(
        "policy",
        "app.contacts every",
        "CREATE POLICY every ON app.contacts TO acolhe_app USING (true)",
    ),
    plant(
        "policy",
        "app.contacts extra",
        "CREATE POLICY extra ON app.contacts FOR INSERT TO acolhe_app WITH CHECK (true)",
    ),
    plant(
        "policy",
        "app.contacts extra",
        "CREATE POLICY extra ON app.contacts USING (clinic_id = app.current_clinic())",
    ),
    plant(
        "policy",
        "app.contacts tenant",
        "ALTER POLICY tenant ON app.contacts USING (clinic_id =
             (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid) OR curated)",
    ),
    plant(
        "policy",
        "app.contacts tenant",
        "ALTER POLICY tenant ON app.contacts USING ((clinic_id =
             (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid)) IS NOT TRUE)",
    ),
    plant("tenant-column", "app.bad", "CREATE TABLE app.bad (id uuid)"),
    plant(
        "tenant-column",
        "app.contacts",
        "ALTER TABLE app.branches RENAME COLUMN clinic_id TO clinic;
         ALTER TABLE app.contacts RENAME COLUMN clinic_id TO clinic",
    ),
    plant(
        "primary-key",
        "app.bad",
        "CREATE TABLE app.bad (clinic_id uuid NOT NULL)",
    ),
    plant(
        "index",
        "contacts_bad",
        "CREATE UNIQUE INDEX contacts_bad ON app.contacts (document_mac)",
    ),
    plant(
        "index",
        "contacts_bad",
        "CREATE INDEX contacts_bad ON app.contacts (lower(name), clinic_id)",
    ),
    plant(
        "index",
        "messages_bad",
        "CREATE INDEX messages_bad ON part.messages_2026 (provider_id)",
    ),
    plant(
        "valid-index",
        "app.contacts_by_name",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.contacts_by_name'::regclass",
    ),
    plant(
        "foreign-key",
        "bad_fk",
        "CREATE TABLE app.bad (clinic_id uuid, id uuid CONSTRAINT bad_unique UNIQUE);
         ALTER TABLE app.contacts ADD CONSTRAINT bad_fk FOREIGN KEY (owner_id)
             REFERENCES app.bad (id)",
    ),
    plant(
        "foreign-key",
        "bad_fk",
        "ALTER TABLE app.channels ADD CONSTRAINT bad_fk FOREIGN KEY (endpoint_id)
             REFERENCES app.webhook_endpoints (id)",
    ),
    plant(
        "reference",
        "channels_endpoint_fk by UPDATE under tenant_change",
        "GRANT UPDATE (endpoint_id) ON app.channels TO acolhe_app",
    ),
    plant(
        "reference",
        "channels_endpoint_fk by INSERT under extra",
        "CREATE POLICY extra ON app.channels FOR INSERT TO acolhe_app WITH CHECK (clinic_id =
             (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid))",
    ),
    plant(
        "reference",
        "webhook_endpoint_secrets_endpoint_fk by INSERT under tenant",
        "ALTER POLICY tenant ON app.webhook_endpoint_secrets WITH CHECK (clinic_id =
             (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid))",
    ),
    plant(
        "reference",
        "webhook_inbox_endpoint_fk by INSERT under tenant",
        "GRANT INSERT ON app.webhook_inbox TO acolhe_app",
    ),
    plant(
        "reference",
        "bad_fk by INSERT under tenant",
        "ALTER TABLE app.branches ADD COLUMN endpoint uuid CONSTRAINT bad_fk
             REFERENCES app.webhook_endpoints (id)",
    ),
    plant(
        "constraint-name",
        "branches_name_check",
        "ALTER TABLE app.branches ADD CHECK (name <> 'x')",
    ),
    plant(
        "classification",
        "app.contacts.extra",
        "ALTER TABLE app.contacts ADD COLUMN extra text",
    ),
    plant(
        "classification",
        "app.contacts.name",
        "COMMENT ON COLUMN app.contacts.name IS 'private'",
    ),
    plant(
        "partition",
        "part.bad",
        "CREATE TABLE part.bad (clinic_id uuid)",
    ),
    plant(
        "partition",
        "app.messages_bad",
        "ALTER TABLE app.messages DETACH PARTITION part.messages_other;
         CREATE TABLE app.messages_bad PARTITION OF app.messages DEFAULT",
    ),
    plant(
        "partition-grant",
        "part.messages_2026",
        "GRANT SELECT ON part.messages_2026 TO acolhe_app",
    ),
    plant(
        "partition-grant",
        "part.messages_2026",
        "GRANT SELECT (body) ON part.messages_2026 TO acolhe_definer",
    ),
    plant(
        "partition-grant",
        "schema part",
        "GRANT USAGE ON SCHEMA part TO acolhe_app",
    ),
    plant("stray-relation", "bad", "CREATE TABLE public.bad (id int)"),
    plant(
        "stray-relation",
        "app.bad",
        "CREATE MATERIALIZED VIEW app.bad AS SELECT * FROM app.contacts",
    ),
    plant(
        "view",
        "app.bad",
        "CREATE VIEW app.bad AS SELECT * FROM app.contacts",
    ),
    plant(
        "view",
        "sec.bad",
        "CREATE VIEW sec.bad WITH (security_invoker = false) AS SELECT * FROM app.contacts",
    ),
    plant(
        "definer-function",
        "app.bad()",
        "CREATE FUNCTION app.bad() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    ),
    plant(
        "definer-function",
        "sec.bad()",
        "CREATE FUNCTION sec.bad() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
         ALTER FUNCTION sec.bad() OWNER TO acolhe_definer",
    ),
    plant(
        "definer-function",
        "sec.bad()",
        "CREATE FUNCTION sec.bad() RETURNS int LANGUAGE sql SECURITY DEFINER
             SET search_path = pg_catalog, pg_temp AS 'SELECT 1'",
    ),
    plant(
        "definer-function",
        "sec.bad()",
        "CREATE FUNCTION sec.bad() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    plant(
        "public-execute",
        "app.bad()",
        "CREATE FUNCTION app.bad() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    plant(
        "public-execute",
        "sec.find_user(uuid)",
        "GRANT EXECUTE ON FUNCTION sec.find_user(uuid) TO PUBLIC",
    ),
    plant(
        "public-right",
        "database",
        "DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO PUBLIC',
                                    current_database()); END $$",
    ),
    plant(
        "public-right",
        "schema sec",
        "GRANT USAGE ON SCHEMA sec TO PUBLIC",
    ),
    plant(
        "public-right",
        "app.contacts",
        "GRANT SELECT ON app.contacts TO PUBLIC",
    ),
    plant(
        "public-right",
        "app.contacts",
        "GRANT SELECT (id) ON app.contacts TO PUBLIC",
    ),
    plant(
        "default-privileges",
        "acolhe_owner still lets PUBLIC execute",
        "ALTER DEFAULT PRIVILEGES FOR ROLE acolhe_owner GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
    ),
    plant(
        "default-privileges",
        "acolhe_owner grants by default",
        "ALTER DEFAULT PRIVILEGES FOR ROLE acolhe_owner GRANT SELECT ON TABLES TO acolhe_app",
    ),
    plant(
        "sequence",
        "app.outbox_id_seq",
        "GRANT SELECT ON SEQUENCE app.outbox_id_seq TO acolhe_app",
    ),
    plant(
        "append-only",
        "app.events",
        "GRANT DELETE ON app.events TO acolhe_app",
    ),
    plant(
        "append-only",
        "app.audit_entries",
        "GRANT UPDATE (outcome) ON app.audit_entries TO acolhe_app",
    ),
    plant(
        "append-only",
        "app.audit_entries (acolhe_definer)",
        "GRANT DELETE ON app.audit_entries TO acolhe_definer",
    ),
    plant(
        "append-only",
        "app.events",
        "ALTER TABLE app.events RENAME TO stream",
    ),
    plant(
        "beyond-row-security",
        "app.contacts",
        "GRANT TRUNCATE ON app.contacts TO acolhe_app",
    ),
    plant(
        "beyond-row-security",
        "app.contacts",
        "GRANT TRIGGER ON app.contacts TO acolhe_definer",
    ),
    plant(
        "secret-column",
        "app.users.password_hash",
        "GRANT SELECT (password_hash) ON app.users TO acolhe_app",
    ),
    plant(
        "definer-column",
        "app.jobs.payload",
        "GRANT SELECT ON app.jobs TO acolhe_definer",
    ),
    plant(
        "definer-column",
        "app.webhook_inbox.body",
        "GRANT SELECT (body) ON app.webhook_inbox TO acolhe_definer",
    ),
    plant(
        "definer-column",
        "app.messages.body",
        "GRANT SELECT ON app.messages TO acolhe_definer",
    ),
    plant(
        "password-function",
        "bad",
        "CREATE FUNCTION sec.bad() RETURNS text LANGUAGE sql
             AS 'SELECT password_hash FROM app.users LIMIT 1'",
    ),
    plant(
        "password-function",
        "bad",
        "CREATE FUNCTION sec.bad() RETURNS text LANGUAGE sql
             BEGIN ATOMIC SELECT password_hash FROM app.users LIMIT 1; END",
    ),
    plant(
        "owner",
        "app.contacts",
        "ALTER TABLE app.contacts OWNER TO CURRENT_USER",
    ),
    plant(
        "owner",
        "table app.contacts",
        "ALTER TABLE app.contacts OWNER TO acolhe_app",
    ),
    plant(
        "owner",
        "table app.contacts",
        "ALTER TABLE app.contacts OWNER TO acolhe_definer",
    ),
    plant(
        "owner",
        "function sec.find_user(uuid)",
        "ALTER FUNCTION sec.find_user(uuid) OWNER TO acolhe_app",
    ),
    plant(
        "create",
        "schema app",
        "GRANT CREATE ON SCHEMA app TO acolhe_app",
    ),
    plant(
        "create",
        "database",
        "DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO acolhe_app',
                                    current_database()); END $$",
    ),
    plant(
        "role",
        "acolhe_app is privileged",
        "ALTER ROLE acolhe_app BYPASSRLS",
    ),
    plant(
        "role",
        "acolhe_owner is privileged",
        "ALTER ROLE acolhe_owner SUPERUSER",
    ),
    plant(
        "role",
        "acolhe_owner inherits",
        "ALTER ROLE acolhe_owner INHERIT",
    ),
    plant(
        "role",
        "acolhe_definer logs in",
        "ALTER ROLE acolhe_definer LOGIN",
    ),
    plant(
        "role",
        "acolhe_app is a member of acolhe_owner",
        "GRANT acolhe_owner TO acolhe_app",
    ),
    plant(
        "role",
        "acolhe_app inherits acolhe_definer",
        "GRANT acolhe_definer TO acolhe_app",
    ),
    plant(
        "role",
        "acolhe_owner is a member of pg_read_all_data",
        "GRANT pg_read_all_data TO acolhe_owner",
    ),
];
