-- Contacts, the identities by which they are known, their tags and their search tokens.

CREATE TABLE app.contacts (
    clinic_id uuid NOT NULL CONSTRAINT contacts_clinic_fk REFERENCES app.clinics,
    id uuid NOT NULL,
    name text NOT NULL CONSTRAINT contacts_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    -- Folded (no accents, lower case), for ordering by bytes.
    name_key text COLLATE "C" NOT NULL,
    -- 'person' when somebody of the clinic gave the name, 'provider' when it is the profile's.
    name_source text NOT NULL
        CONSTRAINT contacts_name_source_known CHECK (name_source IN ('person', 'provider')),
    social_name text CONSTRAINT contacts_social_name_length
        CHECK (char_length(social_name) BETWEEN 1 AND 200),
    birth_date date,
    document_kind text CONSTRAINT contacts_document_kind_known
        CHECK (document_kind IN ('cpf', 'cnpj')),
    document_sealed bytea,
    document_mac bytea,
    status text NOT NULL CONSTRAINT contacts_status_known
        CHECK (status IN ('lead', 'active', 'inactive', 'archived')),
    -- What to return to when restored.
    status_before_archive text CONSTRAINT contacts_status_before_archive_known
        CHECK (status_before_archive IN ('lead', 'active', 'inactive')),
    source text NOT NULL
        CONSTRAINT contacts_source_length CHECK (char_length(source) BETWEEN 1 AND 60),
    owner_id uuid,
    notes text CONSTRAINT contacts_notes_length CHECK (char_length(notes) <= 10000),
    tags text[] NOT NULL,
    -- Copies of the primary identities, so that a list row needs no second table.
    primary_phone text,
    primary_email text,
    -- True once a person of the clinic created or changed it.
    curated boolean NOT NULL,
    merged_into uuid,
    row_version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived_at timestamptz,
    CONSTRAINT contacts_pk PRIMARY KEY (clinic_id, id),
    CONSTRAINT contacts_owner_fk FOREIGN KEY (clinic_id, owner_id)
        REFERENCES app.memberships (clinic_id, user_id),
    CONSTRAINT contacts_merged_into_fk FOREIGN KEY (clinic_id, merged_into)
        REFERENCES app.contacts (clinic_id, id),
    CONSTRAINT contacts_document_whole CHECK ((document_kind IS NULL) = (document_sealed IS NULL)
        AND (document_kind IS NULL) = (document_mac IS NULL)),
    CONSTRAINT contacts_archive_whole CHECK ((status = 'archived') = (archived_at IS NOT NULL)
        AND (status = 'archived') = (status_before_archive IS NOT NULL))
);
-- A document belongs to one living contact; whoever was merged away keeps none.
CREATE UNIQUE INDEX contacts_document_unique ON app.contacts (clinic_id, document_mac)
    WHERE document_mac IS NOT NULL AND merged_into IS NULL;
CREATE INDEX contacts_by_creation ON app.contacts (clinic_id, created_at DESC, id DESC)
    WHERE merged_into IS NULL;
CREATE INDEX contacts_by_name ON app.contacts (clinic_id, name_key, id) WHERE merged_into IS NULL;
CREATE INDEX contacts_by_update ON app.contacts (clinic_id, updated_at DESC, id DESC)
    WHERE merged_into IS NULL;
CREATE INDEX contacts_by_status ON app.contacts (clinic_id, status, created_at DESC, id DESC)
    WHERE merged_into IS NULL;
CREATE INDEX contacts_by_owner ON app.contacts (clinic_id, owner_id, created_at DESC, id DESC)
    WHERE owner_id IS NOT NULL AND merged_into IS NULL;
CREATE INDEX contacts_by_source ON app.contacts (clinic_id, source, created_at DESC, id DESC)
    WHERE merged_into IS NULL;
CALL app.seal_by_clinic('app.contacts');
GRANT SELECT, INSERT, UPDATE ON app.contacts TO acolhe_app;
CALL app.classify('app.contacts', 'none: clinic_id id name_source document_kind status status_before_archive source owner_id tags curated merged_into row_version
    created_at updated_at archived_at;
    personal: name name_key social_name birth_date document_sealed document_mac notes
    primary_phone primary_email');

-- Phones, e-mails and WhatsApp ids, each known once in a clinic.
CREATE TABLE app.contact_identities (
    clinic_id uuid NOT NULL,
    kind text NOT NULL CONSTRAINT contact_identities_kind_known
        CHECK (kind IN ('phone', 'email', 'whatsapp-user', 'whatsapp-lid')),
    -- What is matched: for a Brazilian mobile always with its ninth digit.
    key text COLLATE "C" NOT NULL,
    contact_id uuid NOT NULL,
    -- What was received: a phone in E.164.
    value text NOT NULL,
    label text CONSTRAINT contact_identities_label_length
        CHECK (char_length(label) BETWEEN 1 AND 40),
    -- Order among the contact's identities of this kind; 0 is the primary one.
    rank smallint NOT NULL,
    -- The latest message that proved it, if one did.
    proven_at timestamptz,
    proven_order text COLLATE "C",
    created_at timestamptz NOT NULL,
    CONSTRAINT contact_identities_pk PRIMARY KEY (clinic_id, kind, key),
    CONSTRAINT contact_identities_contact_fk FOREIGN KEY (clinic_id, contact_id)
        REFERENCES app.contacts (clinic_id, id)
);
CREATE INDEX contact_identities_by_contact
    ON app.contact_identities (clinic_id, contact_id, kind, rank);
CALL app.seal_by_clinic('app.contact_identities');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.contact_identities TO acolhe_app;
CALL app.classify('app.contact_identities', 'none: clinic_id kind contact_id label rank proven_at
    proven_order created_at; personal: key value');

-- One row for each tag of a contact, for filtering; the contact's own array is what is read.
CREATE TABLE app.contact_tags (
    clinic_id uuid NOT NULL,
    tag text COLLATE "C" NOT NULL
        CONSTRAINT contact_tags_length CHECK (char_length(tag) BETWEEN 1 AND 60),
    contact_id uuid NOT NULL,
    CONSTRAINT contact_tags_pk PRIMARY KEY (clinic_id, tag, contact_id),
    CONSTRAINT contact_tags_contact_fk FOREIGN KEY (clinic_id, contact_id)
        REFERENCES app.contacts (clinic_id, id)
);
CREATE INDEX contact_tags_by_contact ON app.contact_tags (clinic_id, contact_id);
CALL app.seal_by_clinic('app.contact_tags');
GRANT SELECT, INSERT, DELETE ON app.contact_tags TO acolhe_app;
CALL app.classify('app.contact_tags', 'none: clinic_id tag contact_id');

-- Words of names and e-mails and endings of phones, folded. Compared by bytes, so that a prefix
-- is a range and row security keeps the index: LIKE is not leakproof and would lose it.
CREATE TABLE app.contact_tokens (
    clinic_id uuid NOT NULL,
    token text COLLATE "C" NOT NULL,
    contact_id uuid NOT NULL,
    CONSTRAINT contact_tokens_pk PRIMARY KEY (clinic_id, token, contact_id),
    CONSTRAINT contact_tokens_contact_fk FOREIGN KEY (clinic_id, contact_id)
        REFERENCES app.contacts (clinic_id, id)
);
CREATE INDEX contact_tokens_by_contact ON app.contact_tokens (clinic_id, contact_id);
CALL app.seal_by_clinic('app.contact_tokens');
GRANT SELECT, INSERT, DELETE ON app.contact_tokens TO acolhe_app;
CALL app.classify('app.contact_tokens', 'none: clinic_id contact_id; personal: token');
