"""What must be true of the storage outside the nodes, whatever happens to them and to the way there.

Duty: look into it now and then, as somebody would who has lost every disk at that moment: restore by the product's own code,
and compare with what the nodes had.

- What a restore gives is the state behind the last archived entry, or behind the furthest snapshot: nothing
  else, nothing twice, nothing left out. So what the loss of every disk costs is what was not archived yet.
- The next incarnation that begins with it deletes nothing by itself (I9; `afterlife`).
- Each archived entry is what the one history has at its index (I3), also what a deposed leader had under way.
- Long after all was healed, everything is archived.

Must not know: how anything gets there.
"""

from collections.abc import AsyncIterator, Callable

from garbagetruck.chaos.simulator.afterlife import Afterlife
from garbagetruck.chaos.simulator.depot import at_once
from garbagetruck.cluster.machine.features import LEVEL_NEWEST
from garbagetruck.cluster.machine.queries import Queries
from garbagetruck.cluster.node.recovery.errors import NothingToRestore
from garbagetruck.cluster.node.recovery.stored import Point, StoredSource, plan, read
from garbagetruck.storage.memory import MemoryStorage
from garbagetruck.storage.records import ArchivedEntry

NOW = Point()


class Curator:
    """`known` is as far as anybody has told what it applied, `payload_at` what the one history has at an index up to there,
    `digest_behind` the digest that nodes had behind it, or None.
    """

    def __init__(
        self,
        storage: MemoryStorage,
        *,
        known: Callable[[], int],
        payload_at: Callable[[int], bytes | None],
        digest_behind: Callable[[int], int | None],
        fail: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._known = known
        self._payload_at = payload_at
        self._digest_behind = digest_behind
        self._fail = fail
        self._compared: dict[int, int] = {}
        """By incarnation: entries up to there were compared."""
        self.restores = 0
        self.archived_index = 0

    def look(self) -> None:
        """Restore from what is there at this moment."""
        self._compare_entries()
        source = self._restore()
        if source is None:
            return
        self.restores += 1
        furthest = max(source.archive_last_index, source.snapshot.header.index if source.snapshot is not None else 0)
        if source.last_index != furthest:
            self._fail(f"I2: a restore gets to {source.last_index}, and the storage reaches {furthest}")
        known, found = self._digest_behind(source.last_index), Queries(source.state).digest()
        if known is not None and known != found:
            self._fail(f"I3: a restore gives another state behind {source.last_index} than the nodes had")
        Afterlife(source.state, self._fail).judge()

    def judge_end(self, known: int) -> None:
        """All was healed long ago, and entries up to `known` were applied a while ago."""
        self.look()
        if self.archived_index < known:
            self._fail(f"I4: of {known} entries {self.archived_index} are archived, long after all was healed")

    def _restore(self) -> StoredSource | None:
        reserved = at_once(self._storage.incarnations.reserved())
        if not reserved:
            return None
        try:
            found = at_once(plan(self._storage, reserved, NOW))
            return at_once(read(self._storage, found, NOW, location="memory", skip={}, level=LEVEL_NEWEST))
        except NothingToRestore:
            return None

    def _compare_entries(self) -> None:
        for reservation in at_once(self._storage.incarnations.reserved()):
            number = reservation.incarnation.number
            for span in at_once(self._storage.archive.spans(number)):
                last_index = min(span.last_index, self._known())
                for index in range(max(span.first_index, self._compared.get(number, 0) + 1), last_index + 1):
                    self._compare(number, index)
                self._compared[number] = max(self._compared.get(number, 0), last_index)
                self.archived_index = max(self.archived_index, span.last_index)

    def _compare(self, incarnation: int, index: int) -> None:
        entry = at_once(_first(self._storage.archive.read(incarnation, index, index)))
        if entry.payload != (self._payload_at(index) or b""):
            self._fail(f"I3: entry {index} is archived with another payload than the nodes applied")


async def _first(entries: AsyncIterator[ArchivedEntry]) -> ArchivedEntry:
    return await anext(entries)
