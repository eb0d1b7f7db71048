-- A clinic's secret is of an endpoint of the same clinic. An operator's endpoint and its secrets
-- have no clinic: the older key, which stays, is theirs.
ALTER TABLE app.webhook_endpoint_secrets
    ADD CONSTRAINT webhook_endpoint_secrets_own_endpoint_fk FOREIGN KEY (clinic_id, endpoint_id)
        REFERENCES app.webhook_endpoints (clinic_id, id) NOT VALID;

-- Refused before any key is looked at: by which key refuses, a clinic could tell an endpoint of
-- others from one that there is not.
ALTER POLICY tenant ON app.webhook_endpoint_secrets
    WITH CHECK (clinic_id = (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid)
        AND EXISTS (SELECT FROM app.webhook_endpoints e
                    WHERE e.clinic_id = webhook_endpoint_secrets.clinic_id
                      AND e.id = webhook_endpoint_secrets.endpoint_id));
