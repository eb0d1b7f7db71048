-- Clinics write diagnoses into tags.
CALL app.classify('app.contacts', 'medical: tags');
CALL app.classify('app.contact_tags', 'medical: tag');
