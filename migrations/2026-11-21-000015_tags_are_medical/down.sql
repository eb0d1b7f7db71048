CALL app.classify('app.contact_tags', 'none: tag');
CALL app.classify('app.contacts', 'none: tags');
