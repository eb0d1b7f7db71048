-- Consents of contacts (Lei 13.709/2018, articles 7 and 8), and the texts that they were asked with.
-- Both are only added to: what is in force follows from what was given and what was revoked.

CREATE TABLE app.consent_texts (
    clinic_id uuid NOT NULL CONSTRAINT consent_texts_clinic_fk REFERENCES app.clinics,
    id uuid NOT NULL,
    purpose text NOT NULL,
    version int NOT NULL CONSTRAINT consent_texts_version_positive CHECK (version > 0),
    body text NOT NULL
        CONSTRAINT consent_texts_body_length CHECK (char_length(body) BETWEEN 1 AND 20000),
    created_at timestamptz NOT NULL,
    CONSTRAINT consent_texts_pk PRIMARY KEY (clinic_id, id),
    CONSTRAINT consent_texts_version_unique UNIQUE (clinic_id, purpose, version)
);
CALL app.seal_by_clinic('app.consent_texts');
GRANT SELECT, INSERT ON app.consent_texts TO acolhe_app;
CALL app.classify('app.consent_texts', 'none: clinic_id id purpose version body created_at');

-- One row for each consent that was given, and one for each that was revoked.
CREATE TABLE app.contact_consents (
    clinic_id uuid NOT NULL,
    id uuid NOT NULL,
    contact_id uuid NOT NULL,
    purpose text NOT NULL,
    channel text NOT NULL,
    -- The consent that this revokes; NULL where this is one.
    revokes uuid,
    -- What the person was asked with.
    text_id uuid,
    -- When the person gave or revoked it, and when the clinic wrote that down.
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    recorded_by_kind text NOT NULL,
    recorded_by uuid,
    -- How it can be shown: where the signed sheet lies, which message said so.
    proof text CONSTRAINT contact_consents_proof_length
        CHECK (char_length(proof) BETWEEN 1 AND 2000),
    CONSTRAINT contact_consents_pk PRIMARY KEY (clinic_id, id),
    CONSTRAINT contact_consents_contact_fk FOREIGN KEY (clinic_id, contact_id)
        REFERENCES app.contacts (clinic_id, id),
    CONSTRAINT contact_consents_text_fk FOREIGN KEY (clinic_id, text_id)
        REFERENCES app.consent_texts (clinic_id, id),
    CONSTRAINT contact_consents_revokes_fk FOREIGN KEY (clinic_id, revokes)
        REFERENCES app.contact_consents (clinic_id, id)
);
-- A consent is revoked once.
CREATE UNIQUE INDEX contact_consents_revoked_unique ON app.contact_consents (clinic_id, revokes)
    WHERE revokes IS NOT NULL;
CREATE INDEX contact_consents_by_contact
    ON app.contact_consents (clinic_id, contact_id, recorded_at DESC, id DESC);
CALL app.seal_by_clinic('app.contact_consents');
GRANT SELECT, INSERT ON app.contact_consents TO acolhe_app;
CALL app.classify('app.contact_consents', 'none: clinic_id id contact_id revokes text_id at
    recorded_at recorded_by_kind recorded_by; personal: purpose channel proof');
