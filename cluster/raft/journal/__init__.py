"""The log on disk: `log` is what Raft sees of it, `recovery` opens it, `segments` and `writer` write it."""
