-- name: span_last
SELECT span, first_index, last_index, last_term
FROM archive_spans
WHERE cluster_id = $1 AND incarnation = $2
ORDER BY span DESC
LIMIT 1

-- name: span_insert
INSERT INTO archive_spans (cluster_id, incarnation, span, first_index, last_index, last_term)
VALUES ($1, $2, $3, $4::bigint, $4::bigint - 1, 0)

-- name: span_grow
UPDATE archive_spans SET last_index = $4, last_term = $5 WHERE cluster_id = $1 AND incarnation = $2 AND span = $3

-- name: span_list
SELECT first_index, last_index, last_term
FROM archive_spans
WHERE cluster_id = $1 AND incarnation = $2
ORDER BY span

-- name: span_list_all
SELECT incarnation, first_index, last_index, last_term
FROM archive_spans
WHERE cluster_id = $1
ORDER BY incarnation, span

-- name: span_trim
UPDATE archive_spans
SET first_index = least($3::bigint, last_index + 1)
WHERE cluster_id = $1 AND incarnation = $2 AND first_index < $3

-- name: span_delete_empty
-- All that are empty, but the last one when $3.
DELETE FROM archive_spans AS s
WHERE s.cluster_id = $1 AND s.incarnation = $2 AND s.first_index > s.last_index
    AND NOT ($3::boolean AND s.span = (
        SELECT max(span) FROM archive_spans WHERE cluster_id = $1 AND incarnation = $2
    ))

-- name: entry_first
SELECT min(index) FROM archive_entries WHERE cluster_id = $1 AND incarnation = $2

-- name: entry_delete_below
DELETE FROM archive_entries WHERE cluster_id = $1 AND incarnation = $2 AND index < $3

-- name: entry_page
-- As many as make $6 bytes, at least one.
SELECT index, term, archived_at_ms, checksum, payload
FROM (
    SELECT
        index, term, archived_at_ms, checksum, payload,
        sum(octet_length(payload)) OVER (ORDER BY index) - octet_length(payload) AS bytes_before
    FROM archive_entries
    WHERE cluster_id = $1 AND incarnation = $2 AND index >= $3::bigint AND index <= $4 AND index < $3::bigint + $5::bigint
) AS page
WHERE bytes_before < $6::bigint
ORDER BY index
