-- name: snapshot_insert
INSERT INTO snapshots
    (cluster_id, snapshot_id, incarnation, node_id, index, term, clock_ms, format, digest, taken_at_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT DO NOTHING

-- name: snapshot_delete_unfinished_of_node
DELETE FROM snapshots
WHERE cluster_id = $1 AND incarnation = $2 AND node_id = $3 AND content_digest IS NULL AND snapshot_id <> $4

-- name: snapshot_grow
UPDATE snapshots
SET chunks = chunks + $4::bigint, size_bytes = size_bytes + $5::bigint
WHERE cluster_id = $1 AND snapshot_id = $2 AND chunks = $3 AND content_digest IS NULL

-- name: snapshot_finish
UPDATE snapshots
SET content_digest = $4
WHERE cluster_id = $1 AND snapshot_id = $2 AND chunks = $3 AND content_digest IS NULL

-- name: snapshot_list
SELECT s.*, i.incarnation_id
FROM snapshots AS s JOIN incarnations AS i USING (cluster_id, incarnation)
WHERE s.cluster_id = $1 AND s.content_digest IS NOT NULL
ORDER BY s.incarnation DESC, s.index DESC, s.snapshot_id DESC

-- name: snapshot_get
SELECT chunks, size_bytes, content_digest
FROM snapshots
WHERE cluster_id = $1 AND snapshot_id = $2 AND content_digest IS NOT NULL

-- name: snapshot_chunks
-- As many as make $5 bytes, at least one.
SELECT number, checksum, chunk
FROM (
    SELECT
        number, checksum, chunk,
        sum(octet_length(chunk)) OVER (ORDER BY number) - octet_length(chunk) AS bytes_before
    FROM snapshot_chunks
    WHERE cluster_id = $1 AND snapshot_id = $2 AND number >= $3::bigint AND number < $3::bigint + $4::bigint
) AS page
WHERE bytes_before < $5::bigint
ORDER BY number

-- name: snapshot_delete
DELETE FROM snapshots WHERE cluster_id = $1 AND snapshot_id = $2

-- name: snapshot_delete_overtaken
DELETE FROM snapshots
WHERE cluster_id = $1 AND content_digest IS NULL AND (incarnation, index) < ($2::bigint, $3::bigint)
RETURNING snapshot_id

-- name: snapshot_furthest
SELECT max(index) FROM snapshots WHERE cluster_id = $1 AND incarnation = $2 AND content_digest IS NOT NULL
