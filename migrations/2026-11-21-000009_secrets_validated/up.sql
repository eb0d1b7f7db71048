-- What was planted before it could not be. Validating alone would not see it: the owner looks
-- through row security, which shows it no clinic.
SET LOCAL ROLE acolhe_definer;
DELETE FROM app.webhook_endpoint_secrets s USING app.webhook_endpoints e
WHERE e.id = s.endpoint_id AND s.clinic_id IS DISTINCT FROM e.clinic_id;
RESET ROLE;
ALTER TABLE app.webhook_endpoint_secrets
    VALIDATE CONSTRAINT webhook_endpoint_secrets_own_endpoint_fk;
