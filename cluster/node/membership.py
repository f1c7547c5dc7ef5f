"""Brings Raft's voters to what the members' records want, while this node leads.

Duty: one change at a time. A learner that came with a disk, is connected and has caught up gets a vote; a member that
leaves loses its own, and hands leadership over first if it leads. Then the record is settled.
Invariants: what there is to do follows from the records and from Raft's configuration alone, so that the next leader goes
on wherever this one stops. Nothing is tried again without a pause. What keeps a change waiting can be read from `waits`.
Must not know: how Raft changes its voters, who asked for the change.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from typing_extensions import override

from garbagetruck.cluster.api.gateway import OperatingError, TransferFailed
from garbagetruck.cluster.api.ports import PeerUnreachable
from garbagetruck.cluster.machine.features import own_level
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.model import Member, MemberRole
from garbagetruck.cluster.machine.operations import SettleMember
from garbagetruck.cluster.machine.outcomes import Refused
from garbagetruck.cluster.node.applier import ApplyListener
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.leadership import Leadership, LeadershipObserver
from garbagetruck.cluster.node.peers.status import StatusAsker
from garbagetruck.cluster.raft.errors import ChangeRefused, ChangeUnknown, LogStopped, NotLeader
from garbagetruck.cluster.raft.log import AddVoter, LogStatus, RemoveVoter, ReplicatedLog, SealVoters

PAUSE_S_MIN = 0.1
PAUSE_S_MAX = 5.0
"""The longest wait before a step that failed is tried again, while nothing changes."""
TRANSFER_PAUSE_S_MAX = 60.0
"""The same for handing leadership over, since each attempt stops the cluster for a moment."""
SETTLE_TIMEOUT_S = 5.0
FAREWELL_S = 2.0
"""How long a node that was removed is waited for, until it has heard of it."""
FAREWELL_POLL_S = 0.1

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Waits:
    """A step that cannot be done as yet, and why, as the end of a sentence."""

    member: Member
    reason: str

    @override
    def __str__(self) -> str:
        doing = "leaves" if self.member.role is MemberRole.LEAVING else "joins"
        return f"{self.member.id} {doing}: {self.reason}"


class MembershipDriver(LeadershipObserver, ApplyListener):
    """Runs on the node's main loop, only while this node leads. `on_fatal` ends the node when it dies of a bug."""

    def __init__(
        self,
        *,
        node_id: str,
        log: ReplicatedLog,
        machine: Machine,
        queue: CommitQueue,
        leadership: Leadership,
        peers: StatusAsker,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._node_id = node_id
        self._log = log
        self._machine = machine
        self._queue = queue
        self._leadership = leadership
        self._peers = peers
        self._on_fatal = on_fatal
        self._driving: asyncio.Task[None] | None = None
        self._transfers: set[asyncio.Task[None]] = set()
        self._transfer_pause_s = PAUSE_S_MIN
        self._woken = asyncio.Event()
        self._seen: tuple[object, ...] = ()
        self._waits: Waits | None = None

    @property
    def waits(self) -> str:
        """What keeps a change of membership waiting, as a sentence; empty when nothing does, or this node does not lead."""
        return str(self._waits) if self._waits is not None else ""

    async def stop(self) -> None:
        """End what runs. Idempotent."""
        self.stopped_leading(0)
        tasks = [*self._transfers, *([self._driving] if self._driving is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- when -------------------------------------------------------------------------------------------------

    @override
    def started_leading(self, epoch: int) -> None:
        self._driving = asyncio.get_running_loop().create_task(self._drive(epoch), name=f"membership-{epoch}")
        self._driving.add_done_callback(self._ended)

    @override
    def stopped_leading(self, epoch: int) -> None:
        if self._driving is not None:
            self._driving.cancel()
        self._waits = None

    @override
    def on_applied(self, applied: Applied) -> None:
        """The end of the slice is soon enough."""

    @override
    def on_restored(self) -> None:
        """A leader restores nothing."""

    @override
    def on_progress(self) -> None:
        self._wake_if_changed()

    @override
    def on_status(self, status: LogStatus) -> None:
        self._wake_if_changed()

    def _wake_if_changed(self) -> None:
        if self._driving is None:
            return
        status = self._log.status
        seen = (self._machine.members(), status.voters, status.connected)
        if seen != self._seen:
            self._seen = seen
            self._woken.set()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if self._driving is task:
            self._driving = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_fatal(error)

    # -- what -------------------------------------------------------------------------------------------------

    async def _drive(self, epoch: int) -> None:
        pause_s = PAUSE_S_MIN
        while True:
            self._woken.clear()
            member = self._unsettled()
            if member is None:
                self._waits, pause_s = None, PAUSE_S_MIN
                await self._woken.wait()
                continue
            reason = await self._advance(member, epoch)
            if not reason:
                self._waits, pause_s = None, PAUSE_S_MIN
                continue
            self._waits = Waits(member, reason)
            try:
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()
                pause_s = PAUSE_S_MIN
            except TimeoutError:
                pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def _unsettled(self) -> Member | None:
        """Whose record wants something else than there is. The machine sees to it that there is no more than one."""
        return next((each for each in self._machine.members() if each.role is not MemberRole.VOTER), None)

    async def _advance(self, member: Member, epoch: int) -> str:
        """Take the next step for `member`; the answer is why it could not be taken, empty when it was."""
        votes = member.id in self._log.status.voters
        try:
            if member.role is MemberRole.LEARNER:
                if not votes:
                    return await self._promote(member, epoch)
                await self._seal(epoch)
                return await self._settle(member)
            if not votes:
                await self._seal(epoch)
                await self._see_off(member)
                return await self._settle(member)
            if member.id == self._node_id:
                return await self._hand_over()
            await self._log.change_voters(RemoveVoter(member.id), term=epoch)
        except ChangeRefused as error:
            return error.reason
        except (ChangeUnknown, NotLeader, LogStopped, OperatingError) as error:
            return str(error)
        return ""

    async def _promote(self, member: Member, epoch: int) -> str:
        if not member.disk_id or not member.version:
            return "no node has come under this name yet; start it with `garbagetruck serve --join`"
        level = self._machine.feature_level
        if own_level(member) < level:
            return f"it has feature level {own_level(member)}, and the cluster {level}: start it with a newer version"
        if member.id not in self._log.status.connected:
            return f"it is not connected to the leader, {self._node_id}; only its disk {member.disk_id} is let in"
        await self._log.change_voters(AddVoter(member.id, member.disk_id), term=epoch)
        return ""

    async def _settle(self, member: Member) -> str:
        operation = SettleMember(member.id, "voter" if member.role is MemberRole.LEARNER else "gone")
        (outcome,) = await self._queue.submit((operation,), timeout_s=SETTLE_TIMEOUT_S)
        if isinstance(outcome, Refused):
            return outcome.message
        _log.info("member_settled", member=member.id, settled=operation.settled)
        return ""

    async def _seal(self, epoch: int) -> None:
        """Have no restart count votes by what was so before. A member that was removed may end once its record is gone, and
        another may be lost once the new one's says that it votes.

        Each leader does so before it settles a record: what its predecessor came to, and what anybody has stored, it cannot know.
        """
        await self._log.change_voters(SealVoters(), term=epoch)

    async def _see_off(self, member: Member) -> None:
        """Let a node hear that it was removed, before nobody talks to it any more; for a short while."""
        index = self._log.status.commit_index
        try:
            async with asyncio.timeout(FAREWELL_S):
                while True:
                    heard = await self._peers.ask_status(member.id)
                    if heard.applied_index >= index:
                        return
                    await asyncio.sleep(FAREWELL_POLL_S)
        except (PeerUnreachable, TimeoutError):
            return

    async def _hand_over(self) -> str:
        """Have another node lead, which goes on with this one's removal. By a task of its own: this one ends with it."""
        task = asyncio.get_running_loop().create_task(self._transfer(), name="leaving-leader")
        self._transfers.add(task)
        task.add_done_callback(self._transfers.discard)
        await asyncio.shield(task)
        return "it leads, and nobody took leadership over"

    async def _transfer(self) -> None:
        try:
            await asyncio.sleep(self._transfer_pause_s)
            await self._leadership.transfer("")
            self._transfer_pause_s = PAUSE_S_MIN
        except TransferFailed as error:
            self._transfer_pause_s = min(2 * self._transfer_pause_s, TRANSFER_PAUSE_S_MAX)
            _log.warning("leader_cannot_leave", reason=str(error))
        except OperatingError:
            self._transfer_pause_s = PAUSE_S_MIN  # another node leads already
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a bug, and the node must not outlive it
            self._on_fatal(error)
