DROP INDEX CONCURRENTLY IF EXISTS app.webhook_endpoints_own_unique;
