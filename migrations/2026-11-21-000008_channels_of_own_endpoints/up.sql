-- The server's role makes channels of the clinic's own endpoints alone and moves none to another
-- endpoint or number: else a clinic could have what is delivered to others, or learn from
-- channels_route_unique which numbers they have. Only sec.bind_channel binds a channel to an
-- operator's endpoint; such a channel may still be switched, so that changing one asks less than
-- making one.
DROP POLICY tenant ON app.channels;
CREATE POLICY tenant ON app.channels FOR SELECT TO acolhe_app, acolhe_owner
    USING (clinic_id = (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid));
CREATE POLICY tenant_change ON app.channels FOR UPDATE TO acolhe_app, acolhe_owner
    USING (clinic_id = (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid))
    WITH CHECK (clinic_id = (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid));
CREATE POLICY tenant_make ON app.channels FOR INSERT TO acolhe_app, acolhe_owner
    WITH CHECK (clinic_id = (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid)
        AND EXISTS (SELECT FROM app.webhook_endpoints e
                    WHERE e.clinic_id = channels.clinic_id AND e.id = channels.endpoint_id));

REVOKE UPDATE ON app.channels FROM acolhe_app;
GRANT UPDATE (status, row_version, updated_at) ON app.channels TO acolhe_app;
