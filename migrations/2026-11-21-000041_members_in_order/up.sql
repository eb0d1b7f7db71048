-- A clinic's members are listed newest first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS memberships_by_creation
    ON app.memberships (clinic_id, created_at DESC, user_id DESC);
