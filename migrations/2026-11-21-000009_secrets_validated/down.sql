ALTER TABLE app.webhook_endpoint_secrets DROP CONSTRAINT webhook_endpoint_secrets_own_endpoint_fk;
ALTER TABLE app.webhook_endpoint_secrets
    ADD CONSTRAINT webhook_endpoint_secrets_own_endpoint_fk FOREIGN KEY (clinic_id, endpoint_id)
        REFERENCES app.webhook_endpoints (clinic_id, id) NOT VALID;
