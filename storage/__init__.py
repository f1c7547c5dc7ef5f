"""Storage of snapshots and the log archive: one protocol, several backends."""
