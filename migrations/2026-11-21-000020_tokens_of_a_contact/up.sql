-- Whether a contact has a word is read from the index alone: a search asks it of each candidate.
CREATE INDEX CONCURRENTLY IF NOT EXISTS contact_tokens_of_contact
    ON app.contact_tokens (clinic_id, contact_id, token);
