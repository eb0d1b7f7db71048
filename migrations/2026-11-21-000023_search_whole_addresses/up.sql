-- E-mail addresses are searched whole, and mobiles also without their ninth digit after the area
-- code: the tokens of what was written before. Clinic by clinic, each committed by itself, so that
-- no transaction is long; a run that was cut is made whole by another. Marks of Latin letters are
-- folded as the server does it; the rest is folded when the contact is changed next.
DO $$
DECLARE
    clinics uuid[];
    of_clinic uuid;
BEGIN
    -- Row security shows the owner one clinic at a time, and no list of them.
    SET LOCAL ROLE acolhe_definer;
    SELECT coalesce(array_agg(c.id), '{}') INTO clinics FROM app.clinics c;
    RESET ROLE;
    FOREACH of_clinic IN ARRAY clinics LOOP
        PERFORM set_config('app.clinic_id', of_clinic::text, true);
        INSERT INTO app.contact_tokens (clinic_id, token, contact_id)
        SELECT i.clinic_id, left(lower(regexp_replace(normalize(i.key, NFKD), '[\u0300-\u036F]',
            '', 'g')), 254), i.contact_id
        FROM app.contact_identities i WHERE i.clinic_id = of_clinic AND i.kind = 'email'
        UNION
        SELECT i.clinic_id, substr(i.key, form.start, form.codes) || right(i.key, 8), i.contact_id
        FROM app.contact_identities i, (VALUES (2, 4), (4, 2)) AS form (start, codes)
        WHERE i.clinic_id = of_clinic AND i.kind = 'phone'
            AND i.key ~ '^\+55[1-9][1-9]9[0-9]{8}$'
        ON CONFLICT DO NOTHING;
        COMMIT;
    END LOOP;
END
$$;
