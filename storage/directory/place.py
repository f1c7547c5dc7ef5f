"""One cluster's folder, and its incarnations.

::

    FOLDER/cluster-ID/
      lock
      incarnations/00000000000000000002     one file for each that is reserved
      snapshots/ID.snap                     whole ones; ID.part is on its way
      archive/00000000000000000002/         `head` says what of the other files is archived

Duty: find files, run what blocks on the executor, and keep the fence. Invariants: what changes anything runs under the
folder's lock, and looks at the incarnations there first.

Threads: `run` on the event loop; all else on the executor's.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from typing_extensions import override

from garbagetruck.storage import fencing
from garbagetruck.storage.directory.files import locked, make_folder, read_record, telling, write_record
from garbagetruck.storage.protocol import IncarnationStorage
from garbagetruck.storage.records import Activity, Incarnation, Reservation, is_name

PREFIX = "cluster-"

P = ParamSpec("P")
R = TypeVar("R")


class Place:
    """The folder of one cluster. `executor` may have any number of threads."""

    def __init__(self, root: Path, cluster_id: str, executor: Executor, *, lock_timeout_ms: int) -> None:
        self.root = root
        self.folder = root / f"{PREFIX}{cluster_id}"
        self.snapshots = self.folder / "snapshots"
        self._executor = executor
        self._lock_timeout_ms = lock_timeout_ms

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run what blocks. If the caller is cancelled it goes on, and whether it happened is unknown."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(job, *args, **kwargs))

    def archive(self, incarnation: int) -> Path:
        return self.folder / "archive" / f"{incarnation:020d}"

    @contextmanager
    def changing(self, doing: str) -> Iterator[None]:
        """Alone in this folder. Raises StorageFailed."""
        with telling(doing, self.folder), locked(self.folder, self._lock_timeout_ms):
            yield

    @contextmanager
    def looking(self, doing: str) -> Iterator[None]:
        with telling(doing, self.folder):
            yield

    def reservations(self) -> list[Reservation]:
        """Ascending."""
        folder = self.folder / "incarnations"
        numbers = sorted(path for path in folder.glob("[0-9]*") if path.name.isdigit())
        found = [read_record(path, Reservation) for path in numbers]
        return [reservation for reservation in found if reservation is not None]

    def require(self, incarnation: Incarnation) -> None:
        """Raises Fenced."""
        reserved = {each.incarnation.number: each.incarnation.id for each in self.reservations()}
        fencing.require_incarnation(incarnation, reserved.get(incarnation.number), max(reserved, default=0))

    def reserve(self, incarnation: Incarnation, by: str) -> None:
        with self.changing("reserving an incarnation in"):
            reserved = {each.incarnation.number: each.incarnation.id for each in self.reservations()}
            number = incarnation.number
            if fencing.may_reserve(incarnation, reserved.get(number), max(reserved, default=0)):
                path = self.folder / "incarnations" / f"{number:020d}"
                make_folder(path.parent)
                write_record(path, Reservation(incarnation, by))


class DirectoryIncarnations(IncarnationStorage):
    """`look` tells the marks of archive and snapshots, and when the archive was last written."""

    def __init__(self, place: Place, look: Callable[[], tuple[str, int | None]]) -> None:
        self._place = place
        self._look = look

    @override
    async def reserve(self, incarnation: Incarnation, *, by: str) -> None:
        assert is_name(incarnation.id)
        assert incarnation.number >= 1
        await self._place.run(self._place.reserve, incarnation, by)

    @override
    async def reserved(self) -> Sequence[Reservation]:
        return await self._place.run(self._reserved)

    @override
    async def activity(self) -> Activity:
        return await self._place.run(self._activity)

    def _reserved(self) -> Sequence[Reservation]:
        with self._place.looking("listing incarnations in"):
            return self._place.reservations()

    def _activity(self) -> Activity:
        with self._place.looking("looking for activity in"):
            numbers = [each.incarnation.number for each in self._place.reservations()]
            mark, written_at_ms = self._look()
            return Activity(f"{max(numbers, default=0)}:{mark}", written_at_ms)
