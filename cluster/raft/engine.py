"""The Raft thread's side of a replica.

Duty: open the log, turn it over whenever something happened and at least every `tick_ms`, take requests from the main
loop and bring what changed (`exchange`). Here the parts of one replica are made and joined.

Invariants: whatever is raised ends `run`: nothing is caught here, and nothing is tried again. A process that stood still
hears what has arrived meanwhile before it concludes anything from what has not.

Threads: `submit` is for the main loop; all else, the `hand_over` callback included, belongs to the loop that `run` runs
on. It never blocks: names are resolved elsewhere, and connections are asyncio's.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random

import structlog

from garbagetruck.cluster.raft.changing import Changing
from garbagetruck.cluster.raft.election import Election
from garbagetruck.cluster.raft.exchange import Exchange, HandOff, Request
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.writer import ThreadFactory
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.membership import Membership
from garbagetruck.cluster.raft.network import Network
from garbagetruck.cluster.raft.peering import Peering
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.seams import Consensus
from garbagetruck.cluster.raft.sessions import Sessions
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.snapshots.work import Around, SnapshotWork
from garbagetruck.cluster.raft.storage import Storage
from garbagetruck.cluster.raft.transport import GuardedTransport, Surroundings

_NS_PER_MS = 1_000_000
_log = structlog.get_logger(__name__)

HEARING_S = 0.002
"""How long a node that stood still listens before it goes on: long enough to read its sockets."""


class Engine:
    """One node's log. `run` it on a loop, once.

    `network` is for simulators; by default it is TCP, with TLS where the settings name certificates.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        members: Sequence[Member],
        founders: Sequence[str] | None,
        storage: Storage,
        settings: RaftSettings,
        thread_factory: ThreadFactory,
        monotonic_ns: Callable[[], int],
        random: Random,
        hand_over: Callable[[HandOff], None],
        network: Network | None = None,
    ) -> None:
        self._identity = identity
        self._membership = Membership(identity, members, founders, settings.entry_format)
        self._voters = self._membership.voters
        self._storage = storage
        self._settings = settings
        self._thread_factory = thread_factory
        self._monotonic_ns = monotonic_ns
        self._random = random
        self._turned_ns = 0
        self._exchange = Exchange(
            node_id=identity.node_id,
            voters=self._voters,
            changing=Changing(identity.node_id, self._membership),
            settings=settings,
            monotonic_ns=monotonic_ns,
            hand_over=hand_over,
        )
        self._refusals = Refusals(identity.node_id, monotonic_ns)
        self._election = Election(
            node_id=identity.node_id,
            voters=self._voters,
            settings=settings,
            random=Random(random.getrandbits(64)),  # drawn from at every message: the system's would be a call each
            monotonic_ns=monotonic_ns,
        )
        self.snapshots = SnapshotWork(self._surroundings_of_snapshots(), storage.snapshots)
        self._network = network
        self._journal: Journal | None = None
        self._transport: GuardedTransport | None = None
        self._consensus: Consensus | None = None
        self._peering: Peering | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Future[None] | None = None
        self._turn_due = False
        self._woken = False
        self._progress_seen = True

    def _surroundings_of_snapshots(self) -> Around:
        return Around(
            identity=self._identity,
            settings=self._settings,
            disk=self._storage.disk,
            folder=self._storage.snapshots_folder,
            refusals=self._refusals,
            monotonic_ns=self._monotonic_ns,
            random=self._random,
            call_in=self._call_in,
            on_bug=self._on_bug,
            ask_for_snapshot=self._exchange.ask_for_snapshot,
            restore=self._exchange.restore,
        )

    # --- the main loop ----------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Enqueue for the next turn. Past `proposals_waiting_max` requests a proposal is dropped."""
        if not self._exchange.put(request):
            return
        if not self._woken:
            self._woken = True
            self._call_in(self._on_woken)

    def stop(self) -> None:
        """Have `run` return; nothing happens when it has already."""
        self._call_in(self._on_stop)

    def set_members(self, members: Sequence[Member]) -> None:
        """Talk to these from now on."""
        self._membership.members = members
        self._call_in(self._follow_members)

    def _follow_members(self) -> None:
        if self._peering is not None and self._end is not None and not self._end.done():
            self._membership.follow(self._peering)

    def _call_in(self, callback: Callable[[], None]) -> None:
        """Have `callback` called on the Raft thread, from any. What it raises ends the node."""

        def call() -> None:
            try:
                callback()
            except BaseException as error:  # noqa: BLE001  # the loop would only log it
                self._on_bug(error)

        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(call)
            except RuntimeError:
                if not loop.is_closed():
                    raise

    @property
    def dropped_proposals(self) -> int:
        """Proposals that were not appended."""
        return self._exchange.dropped_proposals

    @property
    def refusals(self) -> Mapping[str, int]:
        """How often the transport refused what, by reason."""
        return dict(self._refusals.counts)

    @property
    def is_space_low(self) -> bool:
        """Whether the disk has less room than it should; False before the log is open."""
        return self._journal is not None and self._journal.is_space_low

    @property
    def journal_bytes(self) -> int:
        """The size of the log; 0 before it is open."""
        return 0 if self._journal is None else self._journal.size_bytes

    # --- the Raft thread --------------------------------------------------------------------------------------------

    async def run(self, on_open: Callable[[], None]) -> None:
        """Read the log, listen, say so by `on_open`, and take part until `stop`.

        Raises StorageRefused, DiskFailed and OSError, and whatever breaks afterwards.
        """
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._on_loop_error)
        self._end = self._loop.create_future()
        try:
            peering = self._open_log()
            await peering.start(self._network)
            on_open()  # before the first turn, which may have entries to hand over
            self._turned_ns = self._monotonic_ns()
            self._on_timer()
            await self._end
        finally:
            await self._close()

    def _open_log(self) -> Peering:
        own_id, membership = self._identity.node_id, self._membership
        membership.open(self._storage)
        journal = self._storage.journal(self._identity, self._settings, self._random, self._on_progress)
        self.snapshots.open_log(journal, self._voters)
        membership.origin.begin(at_first=self._voters.index == 0)
        self._journal = journal
        journal.start(self._thread_factory, f"journal-{own_id}")
        self._consensus = Consensus(
            node_id=own_id,
            voters=self._voters,
            settings=self._settings,
            journal=journal,
            make_transport=lambda consensus: self._make_transport(consensus, journal),
            between=self._between,
        )
        self._consensus.on_change, self._consensus.on_snapshot = membership.on_change, membership.on_snapshot
        assert self._transport is not None
        self._peering = Peering(
            identity=self._identity,
            members=membership.members,
            door=membership.door,
            settings=self._settings,
            refusals=self._refusals,
            monotonic_ns=self._monotonic_ns,
            random=self._random,
            listener=self._transport,
            on_bug=self._on_bug,
        )
        sessions, consensus = self._peering.sessions, self._consensus
        membership.look_again = sessions.look_again
        membership.leaders_origin = lambda: sessions.origin_of(consensus.leader)
        self._transport.attach(sessions)
        self.snapshots.join(consensus, self._transport, journal)
        self._transport.attach_snapshots(self.snapshots.catching_up)
        return self._peering

    def _make_transport(self, consensus: Consensus, journal: Journal) -> GuardedTransport:
        around = Surroundings(
            settings=self._settings,
            election=self._election,
            durability=journal,
            log_view=journal,
            refusals=self._refusals,
            on_echo=self._exchange.on_echo,
            on_news=self._turn_soon,
        )
        self._transport = GuardedTransport(consensus, around)
        return self._transport

    async def _close(self) -> None:
        """Leave the network and the disk, as far as they were entered."""
        if self._peering is not None:
            await self._peering.leave()
            self._peering.close()
        if self._consensus is not None:
            self._consensus.destroy()
        elif self._journal is not None:
            self._journal.close()

    # --- the disk ---------------------------------------------------------------------------------------------------

    def _on_progress(self) -> None:
        """On the journal's own thread: something became durable, or failed."""
        if self._progress_seen:
            self._progress_seen = False
            self._call_in(self._advance)

    def _advance(self) -> None:
        """Say what was held back until now."""
        self._progress_seen = True  # before the journal is looked at, so that later progress calls again
        if self._journal is None or self._end is None or self._end.done():
            return
        try:
            self._journal.advance()
        except BaseException as error:  # noqa: BLE001  # ends the node
            self._on_bug(error)

    # --- turns ------------------------------------------------------------------------------------------------------

    def _on_stop(self) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(None)

    def _on_bug(self, error: BaseException) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_exception(error)

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """What asyncio could tell nobody: a connection's trouble while it was being made or ended."""
        _log.warning("raft_connection_trouble", reason=str(context.get("exception") or context.get("message")))

    def _on_timer(self) -> None:
        assert self._loop is not None
        self._loop.call_later(self._settings.tick_ms / 1_000, self._on_timer)
        self._turn()

    def _on_woken(self) -> None:
        self._woken = False  # before the queue is looked at, so that a later `submit` wakes again
        self._turn()

    def _turn_soon(self) -> None:
        """After everything else that has arrived by now."""
        if not self._turn_due and self._loop is not None:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        if self._end is None or self._end.done():
            return
        try:
            self._turn_over()
        except BaseException as error:  # noqa: BLE001  # ends the node
            self._on_bug(error)

    def _turn_over(self) -> None:
        consensus, transport, peering = self._consensus, self._transport, self._peering
        assert consensus is not None
        assert transport is not None
        assert peering is not None
        held_up_ns = self._monotonic_ns() - self._turned_ns
        self._turned_ns += held_up_ns
        if held_up_ns > self._settings.heartbeat_ms * _NS_PER_MS:
            # This process stood still. What arrived meanwhile is heard before anything is concluded from its absence.
            self._election.held_up()
            peering.sessions.excuse_silence()
            assert self._loop is not None
            self._loop.call_later(HEARING_S, self._turn)
            return
        if self._voters.is_alone:
            assert self._journal is not None
            self._journal.wait_durable()  # in its next tick pysyncobj commits all that a lone node has in its log
        self.snapshots.turn(consensus.applied_index)
        turn_over(consensus, transport, peering.sessions, self._election)

    def _between(self) -> None:
        assert self._consensus is not None
        assert self._transport is not None
        self._membership.origin.on_applied(self._consensus.applied)
        self._exchange.between(self._consensus, self._transport)


def turn_over(consensus: Consensus, transport: GuardedTransport, sessions: Sessions, election: Election) -> None:
    """One tick of pysyncobj, and what has to come right before it: whether to stand for election in it."""
    sessions.check()
    transport.resume()
    transport.settle()
    if consensus.role is Role.LEADER:
        election.led()
    elif (question := election.ask(transport.standing, transport.connected)) is not None:
        transport.ask_all(question)
    if election.stands(transport.standing):
        consensus.stand()
    else:
        consensus.doTick(0.0)
