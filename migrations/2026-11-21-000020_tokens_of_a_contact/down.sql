DROP INDEX CONCURRENTLY app.contact_tokens_of_contact;
