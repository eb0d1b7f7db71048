//! The rules, each a query that answers what breaks it.

/// One rule.
pub(crate) struct Rule {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it demands, for whoever broke it.
    pub(crate) says: &'static str,
    /// Answers one text a finding.
    pub(crate) sql: &'static str,
}

/// All of them.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "row-security",
        says: "row security must be enabled and forced, on partitions too: CALL app.seal_by_clinic",
        sql: "SELECT c.oid::regclass::text FROM pg_class c
              WHERE c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
                AND c.relnamespace IN ('app'::regnamespace, 'part'::regnamespace)",
    },
    Rule {
        name: "policy",
        says: "a policy of anybody but acolhe_definer admits the present clinic's rows and no others",
        sql: "SELECT p.polrelid::regclass || ' ' || p.polname FROM pg_policy p,
                  LATERAL (VALUES
                      (pg_get_expr(p.polqual, p.polrelid), p.polcmd <> 'a'),
                      (pg_get_expr(p.polwithcheck, p.polrelid), p.polcmd = 'a')
                  ) AS e (expression, needed)
              WHERE p.polroles <> ARRAY['acolhe_definer'::regrole::oid]
                AND (p.polroles @> ARRAY[0::oid] OR NOT p.polpermissive
                     OR (e.needed OR e.expression IS NOT NULL)
                        AND (e.expression IS NULL
                             OR e.expression NOT LIKE '(clinic_id = ( SELECT (NULLIF(current_setting(''app.clinic_id''::text, true), ''''::text))::uuid%'
                                AND e.expression NOT LIKE '((clinic_id = ( SELECT (NULLIF(current_setting(''app.clinic_id''::text, true), ''''::text))::uuid AS \"nullif\")) AND (%'
                             OR e.expression ~* '\\mOR\\M'))
              GROUP BY 1",
    },
    Rule {
        name: "tenant-column",
        says: "every table has clinic_id uuid NOT NULL",
        sql: "SELECT c.oid::regclass::text FROM pg_class c
              WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'app'::regnamespace
                AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
                    AND a.attname = 'clinic_id' AND a.atttypid = 'uuid'::regtype AND a.attnotnull)",
    },
    Rule {
        name: "primary-key",
        says: "every table has a primary key",
        sql: "SELECT c.oid::regclass::text FROM pg_class c
              WHERE c.relkind IN ('r', 'p')
                AND c.relnamespace IN ('app'::regnamespace, 'part'::regnamespace)
                AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)",
    },
    Rule {
        name: "index",
        says: "primary keys, unique and other indexes lead with clinic_id: a global unique tells of \
               other clinics' rows, an index without it is of no use under row security",
        sql: "SELECT x.relname::text FROM pg_index i
              JOIN pg_class x ON x.oid = i.indexrelid
              LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
              WHERE x.relnamespace IN ('app'::regnamespace, 'part'::regnamespace)
                AND a.attname IS DISTINCT FROM 'clinic_id'",
    },
    Rule {
        name: "valid-index",
        says: "an index whose concurrent build failed is dropped and built again",
        sql: "SELECT i.indexrelid::regclass::text FROM pg_index i
              JOIN pg_class x ON x.oid = i.indexrelid
              WHERE x.relnamespace IN ('app'::regnamespace, 'part'::regnamespace)
                AND NOT (i.indisvalid AND i.indisready)",
    },
    Rule {
        name: "foreign-key",
        says: "foreign keys ignore row security: both sides lead with clinic_id",
        sql: "SELECT k.conname::text FROM pg_constraint k
              JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
              JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[1]
              WHERE k.contype = 'f' AND k.conparentid = 0
                AND k.connamespace IN ('app'::regnamespace, 'part'::regnamespace)
                AND NOT (a.attname = 'clinic_id' AND (
                    (f.attname = 'clinic_id' AND cardinality(k.conkey) > 1)
                    OR (k.confrelid = 'app.clinics'::regclass AND cardinality(k.conkey) = 1)))",
    },
    Rule {
        name: "reference",
        says: "where a foreign key does not carry the clinic and acolhe_app may write it, every \
               policy by which it may demands that what is referred to is the same clinic's: \
               AND EXISTS (SELECT FROM referred r WHERE r.clinic_id = …)",
        sql: r"SELECT k.conname || ' by ' || w.command || coalesce(' under ' || p.polname, '')
              FROM pg_constraint k
              JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
              CROSS JOIN (VALUES ('INSERT', 'a'), ('UPDATE', 'w')) AS w (command, letter)
              LEFT JOIN pg_policy p ON p.polrelid = k.conrelid AND p.polcmd::text IN (w.letter, '*')
                  AND (p.polroles @> ARRAY[0::oid]
                       OR p.polroles @> ARRAY['acolhe_app'::regrole::oid])
              WHERE k.contype = 'f' AND k.conparentid = 0
                AND k.connamespace IN ('app'::regnamespace, 'part'::regnamespace)
                AND a.attname <> 'clinic_id'
                AND EXISTS (SELECT FROM unnest(k.conkey) AS c (attnum)
                            WHERE has_column_privilege('acolhe_app', k.conrelid, c.attnum,
                                                       w.command))
                AND coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') !~ (
                    '\) AND \(EXISTS \( SELECT\s+FROM '
                    || replace(k.confrelid::regclass::text, '.', '\.')
                    || ' (\w+)\s+WHERE \(\(\1\.clinic_id = \w+\.clinic_id\) AND \(\1\.'
                    || (SELECT f.attname FROM pg_attribute f
                        WHERE f.attrelid = k.confrelid AND f.attnum = k.confkey[1])
                    || ' = \w+\.' || a.attname || '\)\)\)\)\)$')",
    },
    Rule {
        name: "constraint-name",
        says: "errors become answers by the constraint's name: name it, do not let PostgreSQL",
        sql: "SELECT k.conname::text FROM pg_constraint k
              WHERE k.connamespace = 'app'::regnamespace AND k.contype IN ('p', 'u', 'f', 'c', 'x')
                AND k.conname ~ '_(pkey|key|fkey|check|excl)[0-9]*$'",
    },
    Rule {
        name: "classification",
        says: "every column is classified as none, personal, medical or secret: CALL app.classify",
        sql: "SELECT c.oid::regclass || '.' || a.attname FROM pg_class c
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'app'::regnamespace
                AND coalesce(col_description(c.oid, a.attnum), '')
                    NOT IN ('none', 'personal', 'medical', 'secret')",
    },
    Rule {
        name: "partition",
        says: "partitions lie in the schema part, and nothing else does",
        sql: "SELECT c.oid::regclass::text FROM pg_class c
              WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
                AND c.relispartition <> (c.relnamespace = 'part'::regnamespace)",
    },
    Rule {
        name: "partition-grant",
        says: "partitions are reached through their parents alone: nobody has a right on one, \
               or on their schema",
        sql: "SELECT c.oid::regclass::text FROM pg_class c, LATERAL aclexplode(c.relacl) g
              WHERE c.relnamespace = 'part'::regnamespace AND g.grantee <> c.relowner
              UNION
              SELECT c.oid::regclass::text FROM pg_class c
              JOIN pg_attribute a ON a.attrelid = c.oid, LATERAL aclexplode(a.attacl) g
              WHERE c.relnamespace = 'part'::regnamespace AND g.grantee <> c.relowner
              UNION
              SELECT 'schema part' FROM pg_namespace n, LATERAL aclexplode(n.nspacl) g
              WHERE n.nspname = 'part' AND g.grantee <> n.nspowner",
    },
    Rule {
        name: "stray-relation",
        says: "tables lie in app, and are tables: row security protects no foreign table and no \
               materialized view",
        sql: "SELECT c.oid::regclass::text FROM pg_class c
              JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                                AND d.objid = c.oid AND d.deptype = 'e')
                AND (c.relkind IN ('m', 'f')
                     OR c.relkind IN ('r', 'p') AND n.nspname NOT IN ('app', 'part'))",
    },
    Rule {
        name: "view",
        says: "a view reads with its owner's eyes unless it is WITH (security_invoker = true)",
        sql: "SELECT c.oid::regclass::text FROM pg_class c
              JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
                AND c.relkind = 'v'
                AND NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions) o
                                WHERE o.option_name = 'security_invoker'
                                  AND o.option_value::boolean)",
    },
    Rule {
        name: "definer-function",
        says: "a SECURITY DEFINER function lies in sec, is acolhe_definer's, and has search_path = \
               pg_catalog, pg_temp; and sec holds nothing else",
        sql: "SELECT p.oid::regprocedure::text FROM pg_proc p
              JOIN pg_namespace n ON n.oid = p.pronamespace
              WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
                AND (p.prosecdef OR n.nspname = 'sec')
                AND NOT (p.prosecdef AND n.nspname = 'sec'
                         AND p.proowner = 'acolhe_definer'::regrole
                         AND coalesce(p.proconfig, '{}')
                             @> ARRAY['search_path=pg_catalog, pg_temp'])",
    },
    Rule {
        name: "public-execute",
        says: "PUBLIC executes nothing of ours",
        sql: "SELECT p.oid::regprocedure::text FROM pg_proc p
              JOIN pg_namespace n ON n.oid = p.pronamespace
              WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                                AND d.objid = p.oid AND d.deptype = 'e')
                AND EXISTS (SELECT FROM
                    aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g
                    WHERE g.grantee = 0)",
    },
    Rule {
        name: "public-right",
        says: "PUBLIC has no right on the database, its schemas, tables or columns",
        sql: "SELECT 'database' FROM pg_database d,
                  LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) g
              WHERE d.datname = current_database() AND g.grantee = 0
              UNION
              SELECT 'schema ' || n.nspname FROM pg_namespace n, LATERAL aclexplode(n.nspacl) g
              WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
                AND g.grantee = 0
              UNION
              SELECT c.oid::regclass::text FROM pg_class c
              JOIN pg_namespace n ON n.oid = c.relnamespace
              LEFT JOIN pg_attribute a ON a.attrelid = c.oid,
                  LATERAL (SELECT * FROM aclexplode(c.relacl)
                           UNION ALL SELECT * FROM aclexplode(a.attacl)) g
              WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
                AND g.grantee = 0",
    },
    Rule {
        name: "default-privileges",
        says: "what acolhe_owner and acolhe_definer create is nobody else's until it is granted, \
               not even PUBLIC's to execute",
        sql: "SELECT r.rolname || ' still lets PUBLIC execute' FROM pg_roles r
              WHERE r.rolname IN ('acolhe_owner', 'acolhe_definer')
                AND NOT EXISTS (SELECT FROM pg_default_acl d WHERE d.defaclrole = r.oid
                                AND d.defaclobjtype = 'f' AND d.defaclnamespace = 0)
              UNION
              SELECT d.defaclrole::regrole || ' grants by default' FROM pg_default_acl d,
                  LATERAL aclexplode(d.defaclacl) g WHERE g.grantee <> d.defaclrole",
    },
    Rule {
        name: "sequence",
        says: "acolhe_app has no right on any sequence: the highest id tells how much others write",
        sql: "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'S'
                AND CASE WHEN c.relkind = 'S' THEN
                    has_sequence_privilege('acolhe_app', c.oid, 'USAGE, SELECT, UPDATE') END",
    },
    Rule {
        name: "append-only",
        says: "acolhe_app changes and deletes nothing there",
        sql: "SELECT t.name FROM (VALUES ('app.audit_entries'), ('app.events'),
                  ('app.event_heads'), ('app.outbox'), ('app.security_log'),
                  ('app.sequencer_heartbeat'), ('app.webhook_inbox')) AS t (name)
              WHERE coalesce(has_table_privilege('acolhe_app', to_regclass(t.name),
                                                 'UPDATE, DELETE, TRUNCATE')
                             OR has_any_column_privilege('acolhe_app', to_regclass(t.name),
                                                         'UPDATE'), true)
              UNION
              SELECT t.name || ' (acolhe_definer)'
              FROM (VALUES ('app.audit_entries'), ('app.security_log')) AS t (name)
              WHERE coalesce(has_table_privilege('acolhe_definer', to_regclass(t.name),
                                                 'UPDATE, DELETE, TRUNCATE')
                             OR has_any_column_privilege('acolhe_definer', to_regclass(t.name),
                                                         'UPDATE'), true)",
    },
    Rule {
        name: "beyond-row-security",
        says: "TRUNCATE, REFERENCES and TRIGGER pass row security by",
        sql: "SELECT c.oid::regclass::text FROM pg_class c, pg_roles r
              WHERE c.relnamespace IN ('app'::regnamespace, 'part'::regnamespace)
                AND c.relkind IN ('r', 'p')
                AND r.rolname IN ('acolhe_app', 'acolhe_definer')
                AND has_table_privilege(r.oid, c.oid, 'TRUNCATE, REFERENCES, TRIGGER')
              GROUP BY 1",
    },
    Rule {
        name: "secret-column",
        says: "acolhe_app reads no secret",
        sql: "SELECT c.oid::regclass || '.' || a.attname FROM pg_class c
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p')
                AND col_description(c.oid, a.attnum) = 'secret'
                AND has_column_privilege('acolhe_app', c.oid, a.attnum, 'SELECT')",
    },
    Rule {
        name: "definer-column",
        says: "what sees across clinics reads nothing personal, medical or secret, and no job's \
               payload",
        sql: "SELECT c.oid::regclass || '.' || a.attname FROM pg_class c
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p')
                AND (col_description(c.oid, a.attnum) <> 'none'
                     OR (c.relname, a.attname) = ('jobs', 'payload'))
                AND has_column_privilege('acolhe_definer', c.oid, a.attnum, 'SELECT')",
    },
    Rule {
        name: "password-function",
        says: "password hashes pass through the functions of login alone",
        sql: "SELECT p.proname::text FROM pg_proc p
              WHERE p.pronamespace IN ('app'::regnamespace, 'sec'::regnamespace)
                AND coalesce(p.prosrc, '') || coalesce(pg_get_function_sqlbody(p.oid), '')
                    ~ 'password_hash'",
    },
    Rule {
        name: "owner",
        says: "acolhe_owner owns every table; acolhe_definer owns functions alone, acolhe_app nothing",
        sql: "SELECT c.oid::regclass::text FROM pg_class c
              WHERE c.relnamespace IN ('app'::regnamespace, 'part'::regnamespace)
                AND c.relowner <> 'acolhe_owner'::regrole
              UNION
              SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_shdepend d
              WHERE d.deptype = 'o' AND d.refclassid = 'pg_authid'::regclass
                AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND (d.refobjid = 'acolhe_app'::regrole
                     OR d.refobjid = 'acolhe_definer'::regrole
                        AND d.classid NOT IN ('pg_proc'::regclass, 'pg_default_acl'::regclass))",
    },
    Rule {
        name: "create",
        says: "acolhe_app creates nothing: no schema, table, function or temporary table",
        sql: "SELECT 'schema ' || n.nspname FROM pg_namespace n
              WHERE has_schema_privilege('acolhe_app', n.oid, 'CREATE')
                AND n.nspname NOT LIKE 'pg\\_temp%'
              UNION
              SELECT 'database' WHERE
                  has_database_privilege('acolhe_app', current_database(), 'CREATE, TEMPORARY')",
    },
    Rule {
        name: "role",
        says: "no role of ours is more than it must be: none is a superuser or passes row security \
               by, acolhe_app is nobody's member, acolhe_owner inherits nothing, nobody logs in as \
               or inherits acolhe_definer",
        sql: "SELECT r.rolname || ' is privileged' FROM pg_roles r
              WHERE r.rolname IN ('acolhe_app', 'acolhe_owner', 'acolhe_definer')
                AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb
                     OR r.rolreplication)
              UNION
              SELECT 'acolhe_owner inherits' FROM pg_roles r
              WHERE r.rolname = 'acolhe_owner' AND r.rolinherit
              UNION
              SELECT 'acolhe_definer logs in' FROM pg_roles r
              WHERE r.rolname = 'acolhe_definer' AND r.rolcanlogin
              UNION
              SELECT m.member::regrole || ' is a member of ' || m.roleid::regrole
              FROM pg_auth_members m
              WHERE m.member IN ('acolhe_app'::regrole, 'acolhe_definer'::regrole)
                 OR m.member = 'acolhe_owner'::regrole AND m.roleid <> 'acolhe_definer'::regrole
              UNION
              SELECT r.rolname || ' inherits acolhe_definer' FROM pg_roles r
              WHERE r.rolname LIKE 'acolhe\\_%' AND r.rolname <> 'acolhe_definer'
                AND NOT r.rolsuper AND pg_has_role(r.oid, 'acolhe_definer', 'USAGE')",
    },
];
