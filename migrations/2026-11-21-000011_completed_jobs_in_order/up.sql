-- For pruning: of each queue what was completed longest ago.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_completed ON app.jobs (queue, finished_at)
    WHERE state = 'completed';
