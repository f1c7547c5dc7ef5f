"""One cluster's storage in a folder, put together."""

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import Self

from typing_extensions import override

from garbagetruck.storage.directory.archive import DirectoryArchive
from garbagetruck.storage.directory.place import PREFIX, DirectoryIncarnations, Place
from garbagetruck.storage.directory.snapshots import DirectorySnapshots
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import is_name

LOCK_TIMEOUT_MS = 5_000


class DirectoryStorage(Storage):
    """In `root`, which processes on one machine may share. It does not stop `executor`, which runs all that blocks."""

    def __init__(
        self, root: Path, cluster_id: str, executor: Executor, *, lock_timeout_ms: int = LOCK_TIMEOUT_MS
    ) -> None:
        assert is_name(cluster_id)
        self._cluster_id = cluster_id
        self._place = Place(root, cluster_id, executor, lock_timeout_ms=lock_timeout_ms)
        self._snapshots = DirectorySnapshots(self._place)
        self._archive = DirectoryArchive(self._place, self._snapshots)
        self._incarnations = DirectoryIncarnations(self._place, self._look)

    @property
    @override
    def cluster_id(self) -> str:
        return self._cluster_id

    @property
    @override
    def snapshots(self) -> DirectorySnapshots:
        return self._snapshots

    @property
    @override
    def archive(self) -> DirectoryArchive:
        return self._archive

    @property
    @override
    def incarnations(self) -> DirectoryIncarnations:
        return self._incarnations

    @override
    async def cluster_ids(self) -> Sequence[str]:
        return await self._place.run(self._cluster_ids)

    def _cluster_ids(self) -> list[str]:
        with self._place.looking("listing clusters in"):
            names = [path.parent.name for path in self._place.root.glob(f"{PREFIX}*/incarnations")]
        return sorted(name.removeprefix(PREFIX) for name in names)

    def _look(self) -> tuple[str, int | None]:
        heads = self._archive.heads()
        times = [head.written_at_ms for head in heads if head.written_at_ms is not None]
        return f"{sum(head.writes for head in heads)}:{self._snapshots.mark()}", max(times, default=None)

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
