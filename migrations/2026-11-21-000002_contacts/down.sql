DROP TABLE app.contact_tokens;
DROP TABLE app.contact_tags;
DROP TABLE app.contact_identities;
DROP TABLE app.contacts;
