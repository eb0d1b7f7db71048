-- The trace in which an act was done, where there was one: from an audit entry to what else
-- happened then.
ALTER TABLE app.audit_entries ADD COLUMN trace_id text COLLATE "C";
CALL app.classify('app.audit_entries', 'none: trace_id');
