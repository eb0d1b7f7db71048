CREATE INDEX CONCURRENTLY contact_tokens_by_contact
    ON app.contact_tokens (clinic_id, contact_id);
