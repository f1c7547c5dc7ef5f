"""One cluster node: the replicated machine and everything that feeds, serves and observes it."""
