"""Leaders that depose each other, a reader, and what must be true of a storage whatever they do at once.

Duty: drive a storage as a cluster would, from one seed, and check what comes back against what was acknowledged.

As in Raft, an entry follows from its term and index: a leader that tries again after an unknown outcome writes the same.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from garbagetruck.storage.errors import (
    ArchiveMoved,
    EntriesMissing,
    Fenced,
    SnapshotUnknown,
    StorageError,
    StorageFailed,
)
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import ArchivedEntry, SnapshotHeader, Writer
from garbagetruck.storage.retention import Retention
from tests.contract.storage.rigs import Rig
from tests.contract.storage.samples import FIRST, chunks_of, content, header

APPENDS_MAX = 12
RUN_ENTRIES_MAX = 40
LEADERS_MAX = 4
"""At once: one that leads, and those that do not know yet that they do not."""
RETENTION = Retention(count_min=2, count_max=4, age_ms_max=10**12)


def entry_of(seed: int, term: int, index: int) -> ArchivedEntry:
    payload = random.Random(f"{seed}/{term}/{index}").randbytes(1 + (term * index) % 300)
    return ArchivedEntry(index, term, payload, index)


@dataclass
class Model:
    """What is known of one run. `unknown` counts what might have happened, so that a run that had none shows."""

    seed: int
    acknowledged: dict[int, ArchivedEntry] = field(default_factory=dict)
    resumed: list[tuple[int, int]] = field(default_factory=list)
    """Term and index of those who took over."""
    snapshots: dict[str, SnapshotHeader] = field(default_factory=dict)
    """Whole, as acknowledged; some were pruned since."""
    unfinished: set[str] = field(default_factory=set)
    """Snapshots that were begun; whether they are whole is not known."""
    pruned: set[str] = field(default_factory=set)
    """Snapshots that are gone, as acknowledged: now and then before their own leader hears that they were whole."""
    perhaps_pruned: set[str] = field(default_factory=set)
    """Snapshots that a pruning may have removed that failed half-way. What a later one tells does not settle it: of what is gone
    already, it says nothing.
    """
    unknown: int = 0
    fenced: int = 0
    reads: int = 0
    term: int = 0
    over: bool = False

    @property
    def last_index(self) -> int:
        return max(self.acknowledged, default=0)

    @property
    def doubtful(self) -> set[str]:
        """Snapshots that may be whole, or not."""
        return (self.unfinished | self.perhaps_pruned) - self.pruned


class Leader:
    """One term of one node."""

    def __init__(self, model: Model, storage: Storage, random: random.Random, node_id: str) -> None:
        self._model = model
        self._storage = storage
        self._random = random
        self._node_id = node_id
        model.term += 1
        self._writer = Writer(FIRST, model.term)

    async def lead(self) -> None:
        """Until deposed, or until it has appended often enough."""
        try:
            index = await self._resume()
            for _ in range(self._random.randint(1, APPENDS_MAX)):
                await asyncio.sleep(0)  # where a storage never waits, let others come in between
                index = await self._append(index)
                match self._random.randrange(8):
                    case 0:
                        with suppress(SnapshotUnknown):  # overtaken by another's, and pruned
                            await self._snapshot(index - 1)
                    case 1:
                        await self._storage.archive.trim(self._writer, self._random.randint(1, index))
                    case _:
                        pass
        except Fenced:
            self._model.fenced += 1
        except StorageFailed:
            self._model.unknown += 1  # of a snapshot, or of trimming: the next leader goes on

    async def _resume(self) -> int:
        while True:
            try:
                span = await self._storage.archive.resume(self._writer)
                if span is None:
                    span = await self._storage.archive.begin_span(self._writer, 1)
            except StorageFailed:
                self._model.unknown += 1
                await asyncio.sleep(0.02)
                continue
            self._model.resumed.append((self._writer.term, span.next_index))
            return span.next_index

    async def _append(self, index: int) -> int:
        """The next index."""
        term = self._writer.term
        run = [
            entry_of(self._model.seed, term, index + each) for each in range(self._random.randint(1, RUN_ENTRIES_MAX))
        ]
        patience_s = self._random.choice([0.001, 0.004, None, None, None, None])
        try:
            async with asyncio.timeout(patience_s):
                span = await self._storage.archive.append(self._writer, run)
        except (TimeoutError, StorageFailed, ArchiveMoved):
            self._model.unknown += 1
            return await self._resume()
        assert span.last_index == run[-1].index
        self._model.acknowledged.update((entry.index, entry) for entry in run)
        return span.next_index

    async def _snapshot(self, index: int) -> None:
        of = header(index, node_id=self._node_id, snapshot_id=f"s-{self._random.randbytes(8).hex()}")
        self._model.unfinished.add(of.snapshot_id)
        sink = await self._storage.snapshots.begin(of)
        for chunk in chunks_of(of.snapshot_id, size_bytes=self._random.choice([40, 1_500_000])):
            await sink.write(chunk)
            if self._random.random() < 0.1:
                return  # it is left half-written
        await sink.finish()
        self._model.unfinished.discard(of.snapshot_id)
        self._model.snapshots[of.snapshot_id] = of
        try:
            self._model.pruned.update(await self._storage.snapshots.prune(FIRST, RETENTION, 0))
        except StorageError:
            self._model.perhaps_pruned.update(self._model.snapshots, self._model.unfinished)
            raise


async def read_all(model: Model, storage: Storage) -> None:
    """Look at everything, and hold it against what had been acknowledged before."""
    promised = model.last_index
    spans = await storage.archive.spans(1)
    assert len(spans) <= 1, "nobody left a gap"
    if spans:
        span = spans[0]
        assert span.last_index >= promised, "an acknowledged entry is not there"
        index = span.first_index
        try:
            async for entry in storage.archive.read(1, span.first_index):
                assert entry.index == index
                assert entry == entry_of(model.seed, entry.term, index), "an entry that nobody wrote"
                index += 1
        except EntriesMissing:
            assert index == span.first_index or index <= span.last_index  # trimmed meanwhile
        else:
            assert index == span.next_index or index > promised
    for stored in await storage.snapshots.whole():
        snapshot_id = stored.header.snapshot_id
        try:
            chunks = await content(storage, snapshot_id)
        except SnapshotUnknown:
            continue  # pruned meanwhile
        assert len(chunks) == 5
        assert chunks == chunks_of(snapshot_id, size_bytes=len(chunks[0]))
    model.reads += 1


async def _watch(model: Model, storage: Storage) -> None:
    while not model.over:
        try:
            await read_all(model, storage)
        except StorageFailed:
            model.unknown += 1
        await asyncio.sleep(0.005)


async def check_end(model: Model, storage: Storage) -> None:
    """When all is quiet."""
    await read_all(model, storage)
    (span,) = await storage.archive.spans(1)
    found = {entry.index: entry async for entry in storage.archive.read(1, span.first_index)}
    lost = {index for index in model.acknowledged if index >= span.first_index and index not in found}
    assert lost == set()
    for index, entry in found.items():
        assert model.acknowledged.get(index, entry) == entry, "an acknowledged entry was written over"
    terms = [found[index].term for index in sorted(found)]
    assert terms == sorted(terms)
    for term, next_index in model.resumed:
        late = [entry for index, entry in found.items() if index >= next_index and entry.term < term]
        assert late == [], f"written after the leader of term {term} had resumed"
    whole = {stored.header.snapshot_id: stored.header for stored in await storage.snapshots.whole()}
    kept = set(model.snapshots) - model.pruned
    assert kept - model.doubtful <= whole.keys(), "an acknowledged snapshot is not there"
    assert whole.keys() <= kept | model.doubtful
    furthest = max((each.index for each in whole.values()), default=0)
    assert furthest >= max((each.index for each in model.snapshots.values()), default=0), "the furthest was pruned"
    assert span.first_index <= furthest + 1, "trimmed beyond every snapshot"


async def _at_peace() -> None:
    return None


async def run_model(rig: Rig, seed: int, terms: int, disturb: Callable[[], Awaitable[None]] = _at_peace) -> Model:
    """Two nodes take turns at leading, each before the other knows of it, under a reader's eyes, until `disturb` is over.

    What is there is checked once all is quiet.
    """
    rng = random.Random(seed)
    model = Model(seed)
    async with rig.open() as first, rig.open() as second, rig.open() as third:
        await first.incarnations.reserve(FIRST, by="the model")
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(_watch(model, third))
            disturbing = asyncio.ensure_future(disturb())
            leading: list[asyncio.Task[None]] = []
            for number in count():
                if number >= terms and disturbing.done():
                    break
                storage, node_id = ((first, "n1"), (second, "n2"))[number % 2]
                leader = Leader(model, storage, random.Random(rng.random()), node_id)
                leading.append(group.create_task(leader.lead()))
                await asyncio.wait(leading, timeout=rng.uniform(0.0, 0.06))
                if len(still := [each for each in leading if not each.done()]) >= LEADERS_MAX:
                    await asyncio.wait(still, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(leading)
            await disturbing
            model.over = True
            await reader
        await check_end(model, third)
    return model
