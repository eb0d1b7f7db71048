-- What the foreign key of a clinic's secrets refers to.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS webhook_endpoints_own_unique
    ON app.webhook_endpoints (clinic_id, id);
