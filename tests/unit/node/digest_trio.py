"""Three nodes as far as digests go: machines and watches over one history that the test writes.

Duty: commit to all at once, deliver reports the way a gateway does. It must not know: what a watch concludes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from garbagetruck.cluster.api.gateway import NoLeader
from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.features import format_of
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.operations import (
    Batch,
    CreateCluster,
    EnterEpoch,
    NoteDigest,
    Operation,
    ReportDigest,
)
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.node.digests import EVERY_ENTRIES, DigestWatch
from tests.unit.machine.integrity import state_of
from tests.unit.machine.scribe import MEMBER
from tests.unit.node.rig import Monotonic, turns

NAMES = ("n1", "n2", "n3")


class Node:
    """One of the three; it leads while `leading`."""

    def __init__(self, trio: "Trio", node_id: str) -> None:
        self.id = node_id
        self.trio = trio
        self.leading = False
        self.machine = Machine()
        self.index = 0
        self.fatal: list[BaseException] = []
        self.watch = self.new_watch()

    def new_watch(self) -> DigestWatch:
        watch = DigestWatch(
            node_id=self.id,
            machine=self.machine,
            applied_index=lambda: self.index,
            leading=self,
            queue=self,
            monotonic_ns=self.trio.monotonic,
            on_fatal=self.fatal.append,
        )
        watch.report_through(self)
        return watch

    def restart(self) -> None:
        """Begin anew, with the whole log still to be met."""
        self.machine, self.index = Machine(), 0
        self.watch = self.new_watch()
        for payload in self.trio.payloads:
            self.meet(payload)

    def meet(self, payload: bytes) -> None:
        applied = self.machine.apply(payload)
        self.index += 1
        self.watch.on_applied(applied)
        self.watch.on_progress()

    def go_wrong(self, by: int = 1) -> None:
        """What applying never does by itself."""
        state_of(self.machine).token_counter += by

    async def submit(self, operations: Sequence[Operation], *, timeout_s: float) -> Sequence[Outcome]:
        assert timeout_s > 0
        await asyncio.sleep(0)
        leader = next((each for each in self.trio.nodes.values() if each.leading), None)
        if leader is None or self.trio.unreachable:
            raise NoLeader("none is known")
        for each in operations:
            if isinstance(each, ReportDigest):
                self.trio.reports.append(each)
                if leader is not self:
                    leader.watch.hear(each)
        await self.trio.let_through.wait()
        return self.trio.commit(*operations)


class Silent:
    """A way to the leader on which everything is lost."""

    async def submit(self, operations: Sequence[Operation], *, timeout_s: float) -> Sequence[Outcome]:
        raise NoLeader("none is known")


@dataclass
class Trio:
    """`level` is that of all members."""

    level: int = 2
    monotonic: Monotonic = field(default_factory=Monotonic)
    nodes: dict[str, Node] = field(init=False)
    payloads: list[bytes] = field(default_factory=list)
    reports: list[ReportDigest] = field(default_factory=list)
    """In the order in which they reached the leader."""
    unreachable: bool = False
    """No leader can be reached."""
    silent: Silent = field(default_factory=Silent)
    let_through: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, what reached the leader is not committed yet."""

    def __post_init__(self) -> None:
        self.let_through.set()
        self.nodes = {each: Node(self, each) for each in NAMES}
        self.nodes["n1"].leading = True
        members = tuple(replace(MEMBER, id=each, feature_level=self.level) for each in NAMES)
        self.commit(EnterEpoch("n1"), CreateCluster("c1", 1, members))

    def commit(self, *operations: Operation) -> Sequence[Outcome]:
        """Apply one entry everywhere; the answer is n1's, which leads."""
        sequence = len(self.payloads) + 1
        payload = codec.encode_batch(Batch(format_of(operations), 1, sequence * 10, "n1", sequence, operations))
        self.payloads.append(payload)
        for node in self.nodes.values():
            if not node.fatal:
                node.meet(payload)
        return ()

    def note_by_hand(self) -> None:
        """Write the leader's digest at the next index at which digests are taken."""
        while len(self.payloads) % EVERY_ENTRIES:
            self.commit()
        self.commit(NoteDigest(len(self.payloads), self.nodes["n1"].machine.digest()))

    async def until_noted(self) -> int:
        """Go on to the next index at which digests are taken, let time pass, and have the leader note it."""
        while len(self.payloads) % EVERY_ENTRIES:
            self.commit()
        before = self.last_note
        self.monotonic.advance_ms(31_000)
        await self.settle()
        assert self.last_note > before
        return self.last_note

    async def settle(self, rounds: int = 6) -> None:
        """Let entries and reports come, as they do in an idle cluster."""
        for _ in range(rounds):
            self.commit()
            self.monotonic.advance_ms(1_001)
            await turns()

    @property
    def last_note(self) -> int:
        notes = next(node.machine.digest_notes() for node in self.nodes.values() if not node.fatal)
        return notes[-1].index if notes else 0

    def paused(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.machine.cleanups_paused]

    def held(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.watch.holds_cleanups]

    def ended(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.fatal]
