-- Fields of a clinic's own, and contacts' values of them.

CREATE TABLE app.contact_fields (
    clinic_id uuid NOT NULL CONSTRAINT contact_fields_clinic_fk REFERENCES app.clinics,
    id uuid NOT NULL,
    -- Never changed: values are kept under it.
    key text COLLATE "C" NOT NULL
        CONSTRAINT contact_fields_key_form CHECK (key ~ '^[a-z][a-z0-9-]{0,39}$'),
    label text NOT NULL
        CONSTRAINT contact_fields_label_length CHECK (char_length(label) BETWEEN 1 AND 80),
    kind text NOT NULL CONSTRAINT contact_fields_kind_known CHECK (kind IN ('text', 'integer',
        'decimal', 'boolean', 'date', 'single-choice', 'multi-choice')),
    -- Of a choice: [{"key": …, "label": …, "removed": …}], in the clinic's order.
    options jsonb NOT NULL,
    required boolean NOT NULL,
    place smallint NOT NULL,
    row_version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived_at timestamptz,
    CONSTRAINT contact_fields_pk PRIMARY KEY (clinic_id, id),
    CONSTRAINT contact_fields_key_unique UNIQUE (clinic_id, key)
);
-- What a new contact is held against.
CREATE INDEX contact_fields_required ON app.contact_fields (clinic_id, key)
    WHERE required AND archived_at IS NULL;
CALL app.seal_by_clinic('app.contact_fields');
GRANT SELECT, INSERT ON app.contact_fields TO acolhe_app;
GRANT UPDATE (label, options, required, place, row_version, updated_at, archived_at)
    ON app.contact_fields TO acolhe_app;
CALL app.classify('app.contact_fields', 'none: clinic_id id key label kind options required place
    row_version created_at updated_at archived_at');

-- By the keys of the fields. A clinic may ask anything of its patients, so all of it is medical.
ALTER TABLE app.contacts ADD COLUMN custom_fields jsonb NOT NULL DEFAULT '{}';
CALL app.classify('app.contacts', 'medical: custom_fields');

-- Fails with the constraint contact_fields_given where the present clinic demands a field that is
-- not among these.
CREATE FUNCTION app.require_contact_fields(p_keys text[]) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM 1 FROM app.contact_fields f
    WHERE f.clinic_id = app.current_clinic() AND f.required AND f.archived_at IS NULL
      AND f.key <> ALL (p_keys);
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = 'contact_fields_given',
            MESSAGE = 'a required field is missing';
    END IF;
END
$$;
GRANT EXECUTE ON FUNCTION app.require_contact_fields(text[]) TO acolhe_app;
