-- The roles and rights that migrations presuppose. Run once per database by an account that owns
-- the database and has CREATEROLE, as a managed PostgreSQL gives it; safe to run again.
--
-- acolhe_owner runs migrations and owns the tables. NOINHERIT: were it to inherit acolhe_definer,
-- that role's policies would show it every clinic.
-- acolhe_app is the server's login. It owns nothing and cannot bypass row security.
-- acolhe_definer owns the narrow functions that must see across clinics. Nobody logs in as it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'acolhe_owner') THEN
        CREATE ROLE acolhe_owner LOGIN NOINHERIT;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'acolhe_app') THEN
        CREATE ROLE acolhe_app LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'acolhe_definer') THEN
        CREATE ROLE acolhe_definer NOLOGIN;
    END IF;
    IF NOT pg_has_role('acolhe_owner', 'acolhe_definer', 'MEMBER') THEN
        GRANT acolhe_definer TO acolhe_owner;
    END IF;
    -- Settings travel with the role, not the session: PgBouncer's transaction mode keeps them.
    IF NOT EXISTS (
        SELECT FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
        WHERE r.rolname = 'acolhe_app' AND s.setdatabase = 0
    ) THEN
        ALTER ROLE acolhe_app SET plan_cache_mode = 'force_generic_plan';
        ALTER ROLE acolhe_app SET jit = 'off';
        ALTER ROLE acolhe_app SET statement_timeout = '10s';
        ALTER ROLE acolhe_app SET idle_in_transaction_session_timeout = '30s';
        ALTER ROLE acolhe_app SET lock_timeout = '5s';
        ALTER ROLE acolhe_app SET timezone = 'UTC';
        ALTER ROLE acolhe_owner SET lock_timeout = '5s';
        ALTER ROLE acolhe_owner SET timezone = 'UTC';
    END IF;
    -- By default a server's log shows the bound values (names, documents, texts) beside each statement
    -- that was slow or failed, and the row beside a broken constraint.
    IF NOT EXISTS (
        SELECT FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
        WHERE r.rolname = 'acolhe_app' AND s.setdatabase = 0
          AND 'log_parameter_max_length=0' = ANY (s.setconfig)
    ) THEN
        BEGIN
            ALTER ROLE acolhe_app SET log_parameter_max_length_on_error = 0;
            ALTER ROLE acolhe_owner SET log_parameter_max_length_on_error = 0;
            ALTER ROLE acolhe_app SET log_parameter_max_length = 0;
            ALTER ROLE acolhe_owner SET log_parameter_max_length = 0;
            ALTER ROLE acolhe_app SET log_error_verbosity = 'terse';
            ALTER ROLE acolhe_owner SET log_error_verbosity = 'terse';
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'this account may not set log_parameter_max_length and log_error_verbosity'
                USING HINT = 'Let a superuser set them to 0 and terse for the whole server, or GRANT '
                    'SET ON PARAMETER and run this again: else its log may show patients'' data.';
        END;
    END IF;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO acolhe_app, acolhe_owner', current_database());
    -- Schemas and trusted extensions are the owner's to make.
    EXECUTE format('GRANT CREATE ON DATABASE %I TO acolhe_owner', current_database());
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    -- The list of applied migrations lies in public; the server reads it before it serves.
    GRANT USAGE, CREATE ON SCHEMA public TO acolhe_owner;
    GRANT USAGE ON SCHEMA public TO acolhe_app;
END
$$;
