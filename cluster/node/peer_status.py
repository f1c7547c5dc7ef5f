"""How this node and its peers are, for `ClusterService.GetStatus`.

Duty: tell this node's role and indexes from memory; ask a peer the same over `PeerService.Hello`.
Invariants: asking never waits for the log, and a node of another cluster is never taken for a peer.
Must not know: who asks, and what healthy means.
"""

from collections.abc import Mapping

import grpc
import grpc.aio
from typing_extensions import override

from garbagetruck.cluster.api.ports import NodeRole, NodeStatus, PeerStatus, PeerUnreachable
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.node.applier import Applier
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.raft.log import LogStatus, ReplicatedLog, Role
from garbagetruck.v1 import cluster_pb2, peer_pb2, peer_pb2_grpc

DIGEST_BYTES = 8
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
)

ROLES: Mapping[NodeRole, cluster_pb2.NodeRole.ValueType] = {
    NodeRole.LEADER: cluster_pb2.NODE_ROLE_LEADER,
    NodeRole.FOLLOWER: cluster_pb2.NODE_ROLE_FOLLOWER,
    NodeRole.CANDIDATE: cluster_pb2.NODE_ROLE_CANDIDATE,
}
ROLES_BY_NUMBER = {number: role for role, number in ROLES.items()}


class NodeStatusBoard(PeerStatus):
    """Runs on the node's main loop, until `stop`."""

    def __init__(
        self,
        *,
        node_id: str,
        cluster_id: str,
        version: str,
        log: ReplicatedLog,
        machine: Machine,
        applier: Applier,
        clock: ClusterClock,
        leadership: Leadership,
    ) -> None:
        self._node_id = node_id
        self._cluster_id = cluster_id
        self._version = version
        self._log = log
        self._machine = machine
        self._applier = applier
        self._clock = clock
        self._leadership = leadership
        self._channels: dict[str, grpc.aio.Channel] = {}
        """By address: asking is rare, but comes in rounds."""

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
        )

    @override
    async def ask(self, member: Member) -> NodeStatus:
        if member.id == self._node_id:
            return self.own()
        channel = self._channels.get(member.api)
        if channel is None:
            channel = self._channels[member.api] = grpc.aio.insecure_channel(member.api, options=CHANNEL_OPTIONS)
        request = peer_pb2.HelloRequest(node_id=self._node_id, cluster_id=self._cluster_id)
        try:
            answer = await peer_pb2_grpc.PeerServiceStub(channel).Hello(request)
        except grpc.aio.AioRpcError as error:
            raise PeerUnreachable(f"{member.id} at {member.api}: {error.details()}") from error
        if answer.cluster_id != self._cluster_id or answer.node_id != member.id:
            found = f"node {answer.node_id!r} of cluster {answer.cluster_id!r}"
            raise PeerUnreachable(f"{member.id} at {member.api}: {found} answers there")
        return _from_proto(answer)

    def hello(self) -> peer_pb2.HelloResponse:
        """What this node tells a peer that asks."""
        own = self.own()
        return peer_pb2.HelloResponse(
            node_id=own.node_id,
            cluster_id=self._cluster_id,
            version=own.version,
            role=ROLES[own.role],
            term=own.term,
            applied_index=own.applied_index,
            commit_index=own.commit_index,
            digest=own.digest.to_bytes(DIGEST_BYTES, "big"),
            clock_ms=own.clock_ms,
            leader_id=self._leadership.leader_id or "",
        )

    def is_peer(self, request: peer_pb2.HelloRequest) -> bool:
        """Whether the asking node belongs to this node's cluster."""
        return request.cluster_id == self._cluster_id

    async def stop(self) -> None:
        """Close the connections to the peers. Idempotent."""
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close()


def own_role(status: LogStatus, *, leads: bool) -> NodeRole:
    """What this node is to Raft: elected is not yet leading."""
    if leads:
        return NodeRole.LEADER
    return NodeRole.FOLLOWER if status.role is Role.FOLLOWER else NodeRole.CANDIDATE


def _from_proto(answer: peer_pb2.HelloResponse) -> NodeStatus:
    role = ROLES_BY_NUMBER.get(answer.role)
    if role is None:
        raise PeerUnreachable(f"{answer.node_id} answered with a role that this version does not know")
    return NodeStatus(
        node_id=answer.node_id,
        role=role,
        term=answer.term,
        applied_index=answer.applied_index,
        commit_index=answer.commit_index,
        version=answer.version,
        digest=int.from_bytes(answer.digest, "big"),
        clock_ms=answer.clock_ms,
    )
