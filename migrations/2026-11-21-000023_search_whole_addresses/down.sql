-- Words have no @, and no token of a number but these is its digits without the ninth.
DO $$
DECLARE
    clinics uuid[];
    of_clinic uuid;
BEGIN
    SET LOCAL ROLE acolhe_definer;
    SELECT coalesce(array_agg(c.id), '{}') INTO clinics FROM app.clinics c;
    RESET ROLE;
    FOREACH of_clinic IN ARRAY clinics LOOP
        PERFORM set_config('app.clinic_id', of_clinic::text, true);
        DELETE FROM app.contact_tokens t WHERE t.clinic_id = of_clinic AND strpos(t.token, '@') > 0;
        DELETE FROM app.contact_tokens t
        USING app.contact_identities i, (VALUES (2, 4), (4, 2)) AS form (start, codes)
        WHERE i.clinic_id = of_clinic AND i.kind = 'phone'
            AND i.key ~ '^\+55[1-9][1-9]9[0-9]{8}$'
            AND t.clinic_id = of_clinic AND t.contact_id = i.contact_id
            AND t.token = substr(i.key, form.start, form.codes) || right(i.key, 8);
        COMMIT;
    END LOOP;
END
$$;
