"""One cluster's storage in PostgreSQL, put together."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from typing_extensions import override

from garbagetruck.storage.postgres.archive import PostgresArchive
from garbagetruck.storage.postgres.connections import Connections
from garbagetruck.storage.postgres.incarnations import PostgresIncarnations
from garbagetruck.storage.postgres.schema import Schema
from garbagetruck.storage.postgres.settings import PostgresSettings
from garbagetruck.storage.postgres.snapshots import PostgresSnapshots
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import is_name


class PostgresStorage(Storage):
    """Entering it connects to nothing; the first call does, and brings the schema up to date if it may."""

    def __init__(self, settings: PostgresSettings, cluster_id: str) -> None:
        assert is_name(cluster_id)
        self._cluster_id = cluster_id
        self._connections = Connections(settings, Schema(settings).prepare)
        self._snapshots = PostgresSnapshots(self._connections, cluster_id)
        self._archive = PostgresArchive(self._connections, cluster_id)
        self._incarnations = PostgresIncarnations(self._connections, cluster_id)

    @property
    @override
    def cluster_id(self) -> str:
        return self._cluster_id

    @property
    @override
    def snapshots(self) -> PostgresSnapshots:
        return self._snapshots

    @property
    @override
    def archive(self) -> PostgresArchive:
        return self._archive

    @property
    @override
    def incarnations(self) -> PostgresIncarnations:
        return self._incarnations

    @override
    async def cluster_ids(self) -> Sequence[str]:
        async with self._connections.transaction("listing clusters") as session:
            return [row["cluster_id"] for row in await session.rows("cluster_ids")]

    @override
    async def __aenter__(self) -> Self:
        await self._connections.open()
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connections.close()
