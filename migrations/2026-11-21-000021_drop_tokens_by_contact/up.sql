-- contact_tokens_of_contact begins with the same columns.
DROP INDEX CONCURRENTLY IF EXISTS app.contact_tokens_by_contact;
