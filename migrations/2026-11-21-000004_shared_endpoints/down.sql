DROP FUNCTION sec.rotate_shared_endpoint(uuid, uuid, bytea, bytea, timestamptz, timestamptz, uuid,
    uuid);
DROP FUNCTION sec.list_shared_endpoints();
REVOKE UPDATE (not_after), DELETE ON app.webhook_endpoint_secrets FROM acolhe_definer;
REVOKE UPDATE (verify_token_sealed) ON app.webhook_endpoints FROM acolhe_definer;
