-- The limit of row 2: one clinic's newest contacts, as the list asks for them, in a pipeline.
-- Clinics are those of the crowd; :clinics is how many there are.
\set n random(0, :clinics - 1)
\startpipeline
BEGIN;
SELECT set_config('app.clinic_id', '01a23456-7000-7000-8000-c200' || lpad(to_hex((:n * 256)::int), 8, '0'), true);
SELECT c.id, c.name, c.name_key, c.social_name, c.birth_date, c.status, c.source, c.owner_id, c.tags, c.primary_phone, c.primary_email, NULL::text AS notes, c.row_version, c.created_at, c.updated_at, true, false FROM app.contacts c WHERE c.clinic_id = ('01a23456-7000-7000-8000-c200' || lpad(to_hex((:n * 256)::int), 8, '0'))::uuid AND c.merged_into IS NULL AND c.status <> 'archived' ORDER BY c.created_at DESC, c.id DESC LIMIT 21;
COMMIT;
\endpipeline
