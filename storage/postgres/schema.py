"""The schema and its versions.

Duty: before anything else is asked of a server, see to it that the schema has this program's version: bring an older
one up to date if we may, refuse a newer one.

Invariants: all migrations that are missing run in one transaction, under a lock that whoever else migrates waits for: so
either all have run, once, or none has. A migration that was released is never edited: the next one corrects it.
"""

import zlib

from garbagetruck.storage.errors import SchemaTooNew, SchemaTooOld
from garbagetruck.storage.postgres.connections import Session
from garbagetruck.storage.postgres.queries import migrations
from garbagetruck.storage.postgres.settings import PostgresSettings

KNOWN_VERSION = len(migrations())
LOCK_KEY_HIGH = 0x6774_7363
"""The upper half of the advisory lock's key, so that other programs in the database have other ones."""


class Schema:
    """The schema that the settings name."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings

    async def prepare(self, session: Session) -> None:
        """Raises SchemaTooNew and SchemaTooOld."""
        found = await self._version(session)
        if found < KNOWN_VERSION and self._settings.migrate:
            await session.value("schema_lock", self._lock_key)
            found = await self._version(session)  # another may have migrated while we waited
            if found < KNOWN_VERSION:
                await self._migrate(session, found)
                return
        if found > KNOWN_VERSION:
            raise SchemaTooNew(found, KNOWN_VERSION)
        if found < KNOWN_VERSION:
            raise SchemaTooOld(found, KNOWN_VERSION)

    @property
    def _lock_key(self) -> int:
        return LOCK_KEY_HIGH << 32 | zlib.crc32(self._settings.schema.encode())

    async def _version(self, session: Session) -> int:
        """0 without a schema."""
        if not await session.value("schema_exists", self._settings.schema):
            return 0
        version: int = await session.value("schema_version")
        return version

    async def _migrate(self, session: Session, found: int) -> None:
        if found == 0:
            name = self._settings.schema
            # Whoever may not create schemas can be given one.
            await session.script(
                f"""
                DO $$ BEGIN
                    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '{name}') THEN
                        CREATE SCHEMA {name};
                    END IF;
                END $$;
                CREATE TABLE schema_migrations (
                    version     bigint      PRIMARY KEY,
                    name        text        NOT NULL,
                    migrated_at timestamptz NOT NULL DEFAULT clock_timestamp()
                )
                """
            )
        for version, name, text in migrations()[found:]:
            await session.script(text)
            await session.change("schema_migrated", version, name)
