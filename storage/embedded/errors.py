"""What can go wrong with a server of our own."""


class EmbeddedPostgresError(Exception):
    """Root of those below. The message says what to do."""


class PostgresNotFound(EmbeddedPostgresError):
    """No server is installed that could be used."""


class PostgresNotStarted(EmbeddedPostgresError):
    """It could not be made, or did not come up."""
