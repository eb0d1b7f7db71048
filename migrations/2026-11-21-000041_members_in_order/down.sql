DROP INDEX CONCURRENTLY IF EXISTS app.memberships_by_creation;
