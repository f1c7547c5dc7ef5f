"""When this node leads, and what runs only then.

Duty: turn the log's word "leader of term T" into leading epoch T, and back. A majority's vote is no licence: first an
`EnterEpoch` of one's own is applied (DESIGN section 6, 15), so that everything the predecessors committed has been. Then
cluster time goes on from the machine's clock, the commit queue opens, the ticker and the probe run.
Invariants: at any sign that leadership is lost (another role, another term, a later epoch's entry) all of that stops
within the same call, before anything else happens on the loop. Time is credited only by a probe that went through the
queue like a renewal, and was then confirmed by a majority in this very term.
Must not know: what operations mean, how followers reach the leader.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from typing_extensions import override

from garbagetruck.cluster.api.gateway import NotLeader, OperatingError, TransferFailed
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.operations import EnterEpoch, Operation
from garbagetruck.cluster.node.applier import ApplyListener
from garbagetruck.cluster.node.clock import NS_PER_MS, ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.config.settings import ClockSection
from garbagetruck.cluster.node.proposer import Proposer
from garbagetruck.cluster.node.ticker import Ticker
from garbagetruck.cluster.raft.errors import RaftError
from garbagetruck.cluster.raft.log import LogStatus, ReplicatedLog, Role

SILENT_PROBES_MAX = 3
"""A leader that no majority has answered for so many intervals between probes takes nothing more until one does: what
it sealed now would most likely end as an unknown outcome."""
STUCK_S_MAX = 10.0
"""A log that leads and commits nothing for so long may have dropped a batch. The epoch is entered again then."""


class LeadershipObserver(Protocol):
    """What else runs only while this node leads. Called on the main loop; must not block, await or raise."""

    def started_leading(self, epoch: int) -> None:
        """The queue takes operations from now on."""

    def stopped_leading(self, epoch: int) -> None:
        """The queue is closed already. Stop at once; the next epoch may be another node's by now."""


class Leadership(ApplyListener):
    """Runs on the node's main loop. `on_fatal` ends the node when the probe dies of a bug."""

    def __init__(
        self,
        *,
        node_id: str,
        log: ReplicatedLog,
        machine: Machine,
        proposer: Proposer,
        clock: ClusterClock,
        queue: CommitQueue,
        settings: ClockSection,
        monotonic_ns: Callable[[], int],
        on_fatal: Callable[[BaseException], None],
        observers: Sequence[LeadershipObserver] = (),
    ) -> None:
        self._node_id = node_id
        self._log = log
        self._machine = machine
        self._proposer = proposer
        self._clock = clock
        self._queue = queue
        self._ticker = Ticker(machine=machine, clock=clock, queue=queue, tick_ms=settings.tick_ms, on_fatal=on_fatal)
        self._probe_interval_s = settings.probe_interval_ms / 1_000
        self._silence_ns_max = SILENT_PROBES_MAX * settings.probe_interval_ms * NS_PER_MS
        self._monotonic_ns = monotonic_ns
        self._on_fatal = on_fatal
        self._observers = tuple(observers)
        self._opening: Callable[[], Sequence[Operation]] = tuple
        self._entering: tuple[int, int] | None = None
        """(term, sequence) of the latest `EnterEpoch` that was proposed."""
        self._epoch = 0
        self._heard_ns = 0
        """When a majority last showed, by an echo or by storing a batch, that it follows this leader."""
        self._transferring = False
        self._stopped = False
        self._probes: set[asyncio.Task[None]] = set()
        self._changed: asyncio.Future[None] | None = None
        self._shown: tuple[int, str | None, int] = (0, None, 0)

    def observe(self, *observers: LeadershipObserver) -> None:
        """Add observers, before the log starts."""
        self._observers += observers

    def open_with(self, opening: Callable[[], Sequence[Operation]]) -> None:
        """Say what follows an epoch's entry in its batch, before everything of a client. Before the log starts."""
        self._opening = opening

    @property
    def leading(self) -> bool:
        """Whether this node leads: it may stamp, expire and claim."""
        return self._epoch != 0

    @property
    def epoch(self) -> int:
        """The epoch that this node leads, 0 when it does not lead."""
        return self._epoch

    @property
    def in_touch(self) -> bool:
        """Whether this node leads and a majority answered it lately. No proof of anything: for what to begin with."""
        return self._epoch != 0 and self._monotonic_ns() - self._heard_ns <= self._silence_ns_max

    @property
    def leader_id(self) -> str | None:
        """The node that the log believes to lead; this one, perhaps before it is `leading`."""
        return self._log.status.leader

    async def wait_changed(self) -> None:
        """Return when `leading`, `leader_id` or the term have changed since the call, or `in_touch` is true again."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    async def hand_over(self, to: str | None = None) -> bool:
        """Stop leading, and make `to`, or the most advanced peer, lead. When that fails, lead again.

        True once another node leads. Takes a bounded time.
        """
        self._transferring = True
        self._stop_leading()
        try:
            return await self._log.transfer_leadership(to)
        finally:
            self._transferring = False
            self._enter_again()

    async def transfer(self, to: str) -> str:
        """Hand leadership to `to`, or with an empty one to the most advanced peer; the answer is who leads then.

        Raises `NotLeader`, and `TransferFailed` when nobody else leads afterwards.
        """
        if not self._epoch:
            raise NotLeader("this node does not lead; nothing was handed over")
        if to == self._node_id:
            return to
        refused = self._cannot_lead(to)
        if refused:
            raise TransferFailed(refused)
        if not await self.hand_over(to or None):
            raise TransferFailed(f"{to or 'no other node'} did not take over in time; {self._node_id} leads on")
        return self.leader_id or to

    def _cannot_lead(self, to: str) -> str:
        """Why a transfer would come to nothing, so that nobody has to stop for it. Empty: it may succeed."""
        status = self._log.status
        others = status.voters - {self._node_id}
        if not others:
            return "no other node has a vote"
        if to and to not in others:
            return f"{to} has no vote"
        if not status.connected & ({to} if to else others):
            return f"{to or 'no other node that votes'} is not connected to the leader, {self._node_id}"
        return ""

    async def stop(self) -> None:
        """Stop leading for good, and wait until everything that ran for it has ended. Idempotent."""
        self._stopped = True
        self._stop_leading()
        await asyncio.gather(*self._probes, return_exceptions=True)

    # -- what the applier tells -------------------------------------------------------------------------------

    @override
    def on_status(self, status: LogStatus) -> None:
        self._follow(status)

    @override
    def on_applied(self, applied: Applied) -> None:
        epoch = self._machine.epoch
        if self._epoch and epoch != self._epoch:
            self._stop_leading()
        if self._epoch and applied.proposer == self._proposer.id and applied.epoch == self._epoch:
            self._hear_majority(self._monotonic_ns())
        self._queue.on_applied(applied, epoch)
        if applied.proposer == self._proposer.id and self._entering == (applied.epoch, applied.sequence):
            self._start_leading(applied)

    @override
    def on_restored(self) -> None:
        self._stop_leading()  # a leader has the whole log: whoever needs a snapshot is none
        self._queue.lose_track()

    @override
    def on_progress(self) -> None:
        self._ticker.plan()

    # -- transitions ------------------------------------------------------------------------------------------

    def _follow(self, status: LogStatus) -> None:
        leads_term = status.term if status.role is Role.LEADER else 0
        if self._epoch and leads_term != self._epoch:
            self._stop_leading()
        entered_term = self._entering[0] if self._entering is not None else 0
        if leads_term and leads_term != entered_term and not (self._stopped or self._transferring):
            self._enter(leads_term)
        self._show_change()

    def _enter(self, term: int) -> None:
        operations = (EnterEpoch(self._node_id), *self._opening())
        try:
            sequence = self._proposer.propose(epoch=term, at_ms=self._machine.clock_ms, operations=operations)
        except RaftError:
            return  # the log is being stopped; without its entry nothing leads
        self._entering = (term, sequence)

    def _start_leading(self, applied: Applied) -> None:
        self._entering = (applied.epoch, 0)
        status = self._log.status
        still = status.role is Role.LEADER and status.term == applied.epoch
        if applied.refused is not None or not still or self._epoch or self._stopped or self._transferring:
            return
        self._epoch = applied.epoch
        self._heard_ns = self._monotonic_ns()
        self._clock.lead(self._machine.clock_ms)
        self._queue.open(self._epoch)
        self._ticker.start()
        probe = asyncio.get_running_loop().create_task(self._probe(self._epoch), name=f"clock-probe-{self._epoch}")
        self._probes.add(probe)
        probe.add_done_callback(self._probe_ended)
        for observer in self._observers:
            observer.started_leading(self._epoch)
        self._show_change()

    def _stop_leading(self) -> None:
        if not self._epoch:
            return
        epoch, self._epoch = self._epoch, 0
        self._queue.close()
        self._ticker.stop()
        self._clock.stop()
        for probe in self._probes:
            probe.cancel()
        for observer in self._observers:
            observer.stopped_leading(epoch)
        self._show_change()

    def _enter_again(self) -> None:
        """Give up what is in flight, and lead again once a new entry of this epoch has been applied."""
        self._stop_leading()
        self._entering = None
        self._follow(self._log.status)

    def _show_change(self) -> None:
        status = self._log.status
        shown = (self._epoch, status.leader, status.term)
        if shown != self._shown:
            self._shown = shown
            self._wake_waiting()

    def _hear_majority(self, at_ns: int) -> None:
        was_in_touch = self.in_touch
        self._heard_ns = max(self._heard_ns, at_ns)
        if not was_in_touch:
            self._wake_waiting()

    def _wake_waiting(self) -> None:
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    # -- the clock's credit -----------------------------------------------------------------------------------

    async def _probe(self, epoch: int) -> None:
        """Prove, again and again, that a renewal would get through, and credit the clock for it (I7)."""
        while True:
            sent_ns = self._monotonic_ns()
            try:
                async with asyncio.timeout(STUCK_S_MAX):
                    await self._queue.probe()
                    confirmation = await self._log.confirm()
            except (OperatingError, RaftError):
                pass  # no renewal would have got through: time stands still until one would
            except TimeoutError:
                self._enter_again()
                return
            else:
                if self._epoch == confirmation.term == epoch:
                    self._hear_majority(sent_ns)
                    if self._clock.credit(sent_ns):
                        self._ticker.plan()
            await asyncio.sleep(self._probe_interval_s)

    def _probe_ended(self, probe: asyncio.Task[None]) -> None:
        self._probes.discard(probe)
        error = None if probe.cancelled() else probe.exception()
        if error is not None:
            self._on_fatal(error)
