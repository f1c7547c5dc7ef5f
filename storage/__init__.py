"""Storage outside the nodes: snapshots and an archive of the log, for when the cluster has lost its own disks.

`protocol` says what every backend promises; `memory`, `directory` and `postgres` are the backends; `embedded` runs a
PostgreSQL server for a machine that has none. No node uses them yet: a node's history is its journal and its snapshots
in `node.data_dir`, whatever `storage.kind` says.
"""
