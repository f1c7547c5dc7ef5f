-- name: cluster_ids
SELECT DISTINCT cluster_id FROM incarnations ORDER BY cluster_id

-- name: cluster_add
INSERT INTO clusters (cluster_id) VALUES ($1) ON CONFLICT DO NOTHING

-- name: cluster_lock
SELECT FROM clusters WHERE cluster_id = $1 FOR UPDATE

-- name: incarnation_lock_highest
-- Waits for whatever the highest incarnation has under way, and lets it begin nothing more.
SELECT incarnation FROM incarnations WHERE cluster_id = $1 ORDER BY incarnation DESC LIMIT 1 FOR UPDATE

-- name: incarnation_lock_for_archive
-- One writer of the archive at a time; those who write snapshots are not in the way.
SELECT term FROM incarnations WHERE cluster_id = $1 AND incarnation = $2 FOR NO KEY UPDATE

-- name: incarnation_lock_for_snapshot
-- Any number of those, and a writer of the archive; only `incarnation_lock_highest` waits for them, and they for it.
SELECT FROM incarnations WHERE cluster_id = $1 AND incarnation = $2 FOR KEY SHARE

-- name: incarnation_fence
-- To be asked after the lock: as a statement of its own it sees what was committed while the lock was waited for.
SELECT
    (SELECT incarnation_id FROM incarnations WHERE cluster_id = $1 AND incarnation = $2) AS reserved_id,
    (SELECT coalesce(max(incarnation), 0) FROM incarnations WHERE cluster_id = $1) AS highest

-- name: incarnation_insert
INSERT INTO incarnations (cluster_id, incarnation, incarnation_id, reserved_by) VALUES ($1, $2, $3, $4)

-- name: incarnation_list
SELECT incarnation, incarnation_id, reserved_by FROM incarnations WHERE cluster_id = $1 ORDER BY incarnation

-- name: incarnation_written
UPDATE incarnations
SET term = $3, writes = writes + 1, written_at_ms = coalesce($4::bigint, written_at_ms)
WHERE cluster_id = $1 AND incarnation = $2

-- name: activity
SELECT
    format(
        '%s:%s:%s:%s',
        coalesce(max(incarnation), 0),
        coalesce(sum(writes), 0),
        (SELECT count(*) FROM snapshots WHERE cluster_id = $1),
        (SELECT coalesce(sum(chunks) + count(content_digest), 0) FROM snapshots WHERE cluster_id = $1)
    ) AS mark,
    max(written_at_ms) AS written_at_ms
FROM incarnations
WHERE cluster_id = $1
