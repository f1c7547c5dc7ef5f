-- Everything is keyed by the cluster first: several clusters share a schema, and none sees another's rows.
-- No statement compares a time of the server's with anything: times that matter are numbers, given by whoever writes.

CREATE TABLE clusters (
    cluster_id text PRIMARY KEY
);

CREATE TABLE incarnations (
    cluster_id      text        NOT NULL REFERENCES clusters,
    incarnation     bigint      NOT NULL CHECK (incarnation >= 1),
    incarnation_id  text        NOT NULL,
    reserved_by     text        NOT NULL,
    reserved_at     timestamptz NOT NULL DEFAULT clock_timestamp(), -- for people
    term            bigint      NOT NULL DEFAULT 0,                 -- the latest that wrote to the archive
    writes          bigint      NOT NULL DEFAULT 0,                 -- rises with every write to the archive
    written_at_ms   bigint,                                         -- the last writer's wall clock, for people
    PRIMARY KEY (cluster_id, incarnation)
) WITH (fillfactor = 50); -- a row changes with every append: there is room for the next version beside it

CREATE TABLE snapshots (
    cluster_id     text   NOT NULL,
    snapshot_id    text   NOT NULL,
    incarnation    bigint NOT NULL,
    node_id        text   NOT NULL,
    index          bigint NOT NULL,
    term           bigint NOT NULL,
    clock_ms       bigint NOT NULL,
    format         bigint NOT NULL,
    digest         text   NOT NULL,
    taken_at_ms    bigint NOT NULL,
    chunks         bigint NOT NULL DEFAULT 0,
    size_bytes     bigint NOT NULL DEFAULT 0,
    content_digest bytea,                                           -- none until the snapshot is whole
    PRIMARY KEY (cluster_id, snapshot_id),
    FOREIGN KEY (cluster_id, incarnation) REFERENCES incarnations
);

CREATE TABLE snapshot_chunks (
    cluster_id  text   NOT NULL,
    snapshot_id text   NOT NULL,
    number      bigint NOT NULL,                                    -- from 0
    checksum    bytea  NOT NULL,
    chunk       bytea  NOT NULL,
    PRIMARY KEY (cluster_id, snapshot_id, number),
    FOREIGN KEY (cluster_id, snapshot_id) REFERENCES snapshots ON DELETE CASCADE
);

CREATE TABLE archive_spans (
    cluster_id  text   NOT NULL,
    incarnation bigint NOT NULL,
    span        bigint NOT NULL,                                    -- ascends; only the last one of an incarnation grows
    first_index bigint NOT NULL CHECK (first_index >= 1),
    last_index  bigint NOT NULL CHECK (last_index >= first_index - 1),
    last_term   bigint NOT NULL,
    PRIMARY KEY (cluster_id, incarnation, span),
    FOREIGN KEY (cluster_id, incarnation) REFERENCES incarnations
) WITH (fillfactor = 50);

-- Without a foreign key: whoever inserts here holds the row of the incarnation, and a check for each entry would only
-- lock it once more.
CREATE TABLE archive_entries (
    cluster_id     text   NOT NULL,
    incarnation    bigint NOT NULL,
    index          bigint NOT NULL,
    term           bigint NOT NULL,
    archived_at_ms bigint NOT NULL,
    checksum       bytea  NOT NULL,
    payload        bytea  NOT NULL,
    PRIMARY KEY (cluster_id, incarnation, index)
);

-- Chunks are compressed before they come here, and payloads are small: the server need not try.
ALTER TABLE snapshot_chunks ALTER COLUMN chunk SET STORAGE EXTERNAL;
ALTER TABLE archive_entries ALTER COLUMN payload SET STORAGE EXTERNAL;
