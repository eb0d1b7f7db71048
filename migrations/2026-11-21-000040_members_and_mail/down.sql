DROP FUNCTION sec.prune_mails(timestamptz, int);
DROP FUNCTION sec.reset_password(bytea, text, timestamptz, uuid, text, text, uuid);
DROP FUNCTION sec.find_password_reset(uuid, timestamptz);
DROP FUNCTION sec.request_password_reset(uuid, uuid, text, bytea, bytea, timestamptz, timestamptz,
    timestamptz, bigint, bigint, uuid, text, text, uuid);
DROP FUNCTION sec.join_clinic(uuid, text, text, text, text, uuid[], boolean, timestamptz);
DROP FUNCTION sec.find_one_time_token(bytea, text, timestamptz);
DROP FUNCTION sec.issue_one_time_token(uuid, uuid, bytea, timestamptz, timestamptz);
DROP FUNCTION sec.settle_mail(uuid, uuid, text, timestamptz, text, timestamptz);
DROP FUNCTION sec.lease_mails(int, interval, smallint);
DROP FUNCTION sec.enqueue_mail(uuid, text, uuid, timestamptz);
DROP TABLE app.password_resets;
DROP TABLE app.one_time_tokens;
DROP TABLE app.mail_outbox;
DROP TABLE app.invitations;
REVOKE UPDATE (role, branches, own_agenda_only, status, row_version, updated_at)
    ON app.memberships FROM acolhe_app;
