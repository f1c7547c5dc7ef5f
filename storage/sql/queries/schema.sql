-- name: schema_lock
SELECT pg_advisory_xact_lock($1)

-- name: schema_exists
-- Not by to_regclass: in a transaction that has asked before, it does not see what others have made since.
SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'schema_migrations')

-- name: schema_version
SELECT coalesce(max(version), 0) FROM schema_migrations

-- name: schema_migrated
INSERT INTO schema_migrations (version, name) VALUES ($1, $2)
