-- name: schema_lock
SELECT pg_advisory_xact_lock($1)

-- name: schema_exists
SELECT to_regclass(format('%I.schema_migrations', $1::text)) IS NOT NULL

-- name: schema_version
SELECT coalesce(max(version), 0) FROM schema_migrations

-- name: schema_migrated
INSERT INTO schema_migrations (version, name) VALUES ($1, $2)
