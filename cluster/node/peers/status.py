"""How this node and its peers are, for `ClusterService.GetStatus`.

Duty: tell this node's role and indexes from memory; ask a peer the same.
Invariants: asking never waits for the log, and a node of another cluster is never taken for a peer: the connection's
greeting sees to it.
Must not know: who asks, and what healthy means.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from typing_extensions import override

from garbagetruck.cluster.api.ports import NodeRole, NodeStatus, PeerStatus, PeerUnreachable
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.node.applier import Applier
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.node.peers.wire import StatusResponse
from garbagetruck.cluster.raft.log import LogStatus, ReplicatedLog, Role

UNKNOWN_HANDLERS_MAX = 100
"""Of more, the status names the first ones."""


class StatusAsker(Protocol):
    """The way to the peers."""

    async def ask_status(self, node_id: str) -> StatusResponse:
        """Raises `PeerUnreachable`; the caller sets the deadline, by cancelling."""


class NodeStatusBoard(PeerStatus):
    """Runs on the node's main loop."""

    def __init__(
        self,
        *,
        node_id: str,
        version: str,
        log: ReplicatedLog,
        machine: Machine,
        applier: Applier,
        clock: ClusterClock,
        leadership: Leadership,
        peers: StatusAsker,
        membership_waits: Callable[[], str] = str,
        cleanups_held: Callable[[], bool] = bool,
    ) -> None:
        self._node_id = node_id
        self._version = version
        self._log = log
        self._machine = machine
        self._applier = applier
        self._clock = clock
        self._leadership = leadership
        self._peers = peers
        self._membership_waits = membership_waits
        self._cleanups_held = cleanups_held
        self.archive_waits: Callable[[], str] = str
        """What to say of the archive while this node leads."""
        self.unknown_handlers: Callable[[], Mapping[str, int]] = dict
        """Handlers that this node does not have and that cleanups wait for, with how many, while it leads."""

    @override
    def own(self) -> NodeStatus:
        status = self._log.status
        leading = self._leadership.leading
        return NodeStatus(
            node_id=self._node_id,
            role=own_role(status, leads=leading),
            term=status.term,
            applied_index=self._applier.applied_index,
            commit_index=status.commit_index,
            version=self._version,
            digest=self._machine.digest(),
            clock_ms=self._clock.now_ms() if leading else self._machine.clock_ms,
            storage_low=self._node_id in status.low_on_space,
            membership_waits=self._membership_waits(),
            cleanups_held=self._cleanups_held(),
            leader_id=status.leader or "",
            voters_apart=tuple(sorted(status.voters - status.connected - {self._node_id})) if leading else (),
            archive_waits=self.archive_waits() if leading else "",
            unknown_handlers=tuple(sorted(self.unknown_handlers().items())[:UNKNOWN_HANDLERS_MAX]) if leading else (),
        )

    @override
    async def ask(self, member: Member) -> NodeStatus:
        if member.id == self._node_id:
            return self.own()
        return _status_of(member.id, await self._peers.ask_status(member.id))


def own_role(status: LogStatus, *, leads: bool) -> NodeRole:
    """What this node is to Raft: elected is not yet leading."""
    if leads:
        return NodeRole.LEADER
    return NodeRole.FOLLOWER if status.role is Role.FOLLOWER else NodeRole.CANDIDATE


def _status_of(node_id: str, answer: StatusResponse) -> NodeStatus:
    try:
        role = NodeRole(answer.role)
    except ValueError as error:
        raise PeerUnreachable(f"{node_id} answered with a role that this version does not know") from error
    return NodeStatus(
        node_id=node_id,
        role=role,
        term=answer.term,
        applied_index=answer.applied_index,
        commit_index=answer.commit_index,
        version=answer.version,
        digest=answer.digest,
        clock_ms=answer.clock_ms,
        storage_low=answer.storage_low,
        membership_waits=answer.membership_waits,
        cleanups_held=answer.cleanups_held,
        leader_id=answer.leader_id,
        voters_apart=answer.voters_apart,
        archive_waits=answer.archive_waits,
        unknown_handlers=answer.unknown_handlers,
    )
