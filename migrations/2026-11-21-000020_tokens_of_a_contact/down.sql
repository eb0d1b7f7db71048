DROP INDEX CONCURRENTLY IF EXISTS app.contact_tokens_of_contact;
