ALTER TABLE app.audit_entries DROP COLUMN trace_id;
