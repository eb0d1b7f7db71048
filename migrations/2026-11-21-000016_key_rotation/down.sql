DROP FUNCTION sec.reseal_secrets(uuid[], uuid[], bytea[], bytea[], timestamptz, uuid, uuid);
DROP FUNCTION sec.list_sealed_secrets();
REVOKE UPDATE (sealed) ON app.webhook_endpoint_secrets FROM acolhe_definer;
