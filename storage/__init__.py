"""Storage of snapshots and the log archive: one protocol, several backends.

Nothing is stored here yet. Until snapshots exist, a node's history is its journal in `node.data_dir`, whatever
`storage.kind` says: `directory` and `memory` are accepted and behave alike, `postgres` is refused.
"""
