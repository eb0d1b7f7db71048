REVOKE UPDATE (status, row_version, updated_at) ON app.channels FROM acolhe_app;
GRANT UPDATE ON app.channels TO acolhe_app;
DROP POLICY tenant_make ON app.channels;
DROP POLICY tenant_change ON app.channels;
DROP POLICY tenant ON app.channels;
CREATE POLICY tenant ON app.channels TO acolhe_app, acolhe_owner
    USING (clinic_id = (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid))
    WITH CHECK (clinic_id = (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid));
