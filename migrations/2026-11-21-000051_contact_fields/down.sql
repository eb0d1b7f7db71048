DROP FUNCTION app.require_contact_fields(text[]);
ALTER TABLE app.contacts DROP COLUMN custom_fields;
DROP TABLE app.contact_fields;
