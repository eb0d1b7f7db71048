-- Dead letters, counted across clinics.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_dead ON app.jobs (queue, run_at)
    WHERE state = 'dead';
