DROP TABLE app.contact_consents;
DROP TABLE app.consent_texts;
