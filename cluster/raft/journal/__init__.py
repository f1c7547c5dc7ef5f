"""The log on disk."""

from garbagetruck.cluster.raft.journal.stock import Journal as Journal
