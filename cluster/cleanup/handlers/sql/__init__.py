"""The `sql` handler: runs statements that the operator registered, in one transaction of a PostgreSQL database."""

from garbagetruck.cluster.cleanup.handlers.sql.handler import SqlHandler, sql_handlers

__all__ = ["SqlHandler", "sql_handlers"]
