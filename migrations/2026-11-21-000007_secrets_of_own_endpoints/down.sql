ALTER POLICY tenant ON app.webhook_endpoint_secrets
    WITH CHECK (clinic_id = (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid));
ALTER TABLE app.webhook_endpoint_secrets DROP CONSTRAINT webhook_endpoint_secrets_own_endpoint_fk;
