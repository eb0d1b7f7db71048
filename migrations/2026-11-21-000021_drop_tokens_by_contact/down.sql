CREATE INDEX CONCURRENTLY IF NOT EXISTS contact_tokens_by_contact
    ON app.contact_tokens (clinic_id, contact_id);
