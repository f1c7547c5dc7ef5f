"""ClusterService: the cluster at a glance, its members, who leads; its snapshots are in `snapshots`."""

import asyncio
from collections.abc import AsyncIterator

from typing_extensions import override

from garbagetruck.cluster.api import errors
from garbagetruck.cluster.api.door import Context, Door
from garbagetruck.cluster.api.gateway import Consistency, ReadView
from garbagetruck.cluster.api.ports import MemberDoor, NodeStatus, PeerStatus, PeerUnreachable
from garbagetruck.cluster.api.snapshots import SnapshotCalls, SnapshotDesk
from garbagetruck.cluster.api.translate import cluster as translate
from garbagetruck.cluster.api.translate import header
from garbagetruck.cluster.machine.model import Member, MemberRole
from garbagetruck.cluster.machine.operations import AddMember, RemoveMember
from garbagetruck.cluster.machine.outcomes import MemberChanged
from garbagetruck.v1 import cluster_pb2, cluster_pb2_grpc


class ClusterServicer(cluster_pb2_grpc.ClusterServiceServicer):
    """Translates; see cluster.proto for what the methods promise."""

    def __init__(self, door: Door, peers: PeerStatus, members: MemberDoor, snapshots: SnapshotDesk) -> None:
        self._door = door
        self._peers = peers
        self._members = members
        self._snapshots = SnapshotCalls(door, snapshots)
        self._last_heard: dict[str, NodeStatus] = {}
        """What each member last said; only of present members, so bounded by their number."""

    @override
    async def GetStatus(self, request: cluster_pb2.GetStatusRequest, context: Context) -> cluster_pb2.GetStatusResponse:
        door = self._door
        view = await door.read(Consistency.STALE, door.deadline_of(context))
        members = view.machine.members()
        heard = await self._ask_all(members)
        view = await door.read(Consistency.STALE, door.deadline_of(context))
        return cluster_pb2.GetStatusResponse(header=door.read_header(view), status=self._status(view, members, heard))

    @override
    async def ListMembers(
        self, request: cluster_pb2.ListMembersRequest, context: Context
    ) -> cluster_pb2.ListMembersResponse:
        door = self._door
        view = await door.read(header.consistency(request.consistency), door.deadline_of(context))
        return cluster_pb2.ListMembersResponse(
            header=door.read_header(view),
            members=[translate.member_message(member) for member in view.machine.members()],
        )

    @override
    async def AddMember(self, request: cluster_pb2.AddMemberRequest, context: Context) -> cluster_pb2.AddMemberResponse:
        door = self._door
        deadline = door.deadline_of(context)
        member = translate.member_to_add(request.member)
        operation = AddMember(door.entered_ms(), request.request_id, "", member)
        door.check(operation)
        problem = self._members.problem(member)
        if problem is not None:
            raise errors.invalid(f"member.{problem[0]}", problem[1])
        outcome = await door.submit_new_namespace(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, MemberChanged), outcome
        return cluster_pb2.AddMemberResponse(
            header=door.mutation_header(context), member=translate.member_message(outcome.member)
        )

    @override
    async def RemoveMember(
        self, request: cluster_pb2.RemoveMemberRequest, context: Context
    ) -> cluster_pb2.RemoveMemberResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation = RemoveMember(door.entered_ms(), request.request_id, "", request.member_id)
        door.check(operation)
        view = await door.read(Consistency.LINEARIZABLE, deadline)
        await self._check_quorum_without(request.member_id, view.machine.members())
        outcome = await door.submit_new_namespace(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, MemberChanged), outcome
        return cluster_pb2.RemoveMemberResponse(
            header=door.mutation_header(context), member=translate.member_message(outcome.member)
        )

    @override
    async def TransferLeadership(
        self, request: cluster_pb2.TransferLeadershipRequest, context: Context
    ) -> cluster_pb2.TransferLeadershipResponse:
        door = self._door
        deadline = door.deadline_of(context)
        if request.member_id:
            view = await door.read(Consistency.LINEARIZABLE, deadline)
            if all(member.id != request.member_id for member in view.machine.members()):
                raise errors.of_door("MEMBER_NOT_FOUND", f"no member {request.member_id!r}", field="member_id")
        leader_id = await door.transfer_leadership(request.member_id, deadline)
        return cluster_pb2.TransferLeadershipResponse(header=door.mutation_header(context), leader_id=leader_id)

    @override
    async def CreateSnapshot(
        self, request: cluster_pb2.CreateSnapshotRequest, context: Context
    ) -> cluster_pb2.CreateSnapshotResponse:
        return await self._snapshots.create(request, context)

    @override
    async def ListSnapshots(
        self, request: cluster_pb2.ListSnapshotsRequest, context: Context
    ) -> cluster_pb2.ListSnapshotsResponse:
        return await self._snapshots.list(request, context)

    @override
    def VerifySnapshot(
        self, request: cluster_pb2.VerifySnapshotRequest, context: Context
    ) -> AsyncIterator[cluster_pb2.VerifySnapshotResponse]:
        return self._snapshots.verify(request)

    async def _check_quorum_without(self, member_id: str, members: tuple[Member, ...]) -> None:
        """Raise `CallError` when the cluster would stand still without the member. Only of one that votes as yet.

        A repetition finds it on its way out, or gone, and is answered by the machine.
        """
        voters = [member for member in members if member.role is MemberRole.VOTER]
        remaining = [member for member in voters if member.id != member_id]
        if not remaining or len(remaining) == len(voters):
            return
        heard = await self._ask_all(members)
        reachable = [member.id for member in remaining if member.id in heard]
        if len(reachable) <= len(remaining) // 2:
            silent = ", ".join(member.id for member in remaining if member.id not in heard)
            raise errors.of_door(
                "QUORUM_AT_RISK",
                f"without {member_id}, {len(reachable)} of {len(remaining)} members would answer, which is no majority:"
                f" bring back {silent} first",
                reachable=str(len(reachable)),
                remaining=str(len(remaining)),
            )

    async def _ask_all(self, members: tuple[Member, ...]) -> dict[str, NodeStatus]:
        """What each member says now; who does not answer in time is left out."""
        own = self._peers.own()
        others = [member for member in members if member.id != own.node_id]
        answers = await asyncio.gather(*(self._ask(member) for member in others))
        heard = {own.node_id: own}
        heard.update((answer.node_id, answer) for answer in answers if answer is not None)
        present = {member.id for member in members}
        self._last_heard = {node: status for node, status in (self._last_heard | heard).items() if node in present}
        return heard

    async def _ask(self, member: Member) -> NodeStatus | None:
        try:
            async with asyncio.timeout(self._door.limits.peer_timeout_ms / 1_000):
                status = await self._peers.ask(member)
        except (PeerUnreachable, TimeoutError):
            return None
        return status if status.node_id == member.id else None

    def _status(
        self, view: ReadView, members: tuple[Member, ...], heard: dict[str, NodeStatus]
    ) -> cluster_pb2.ClusterStatus:
        where = self._door.header()
        warnings = translate.warnings(members, heard, where.leader_id)
        warnings.extend(translate.levels(members, view.machine.feature_level))
        warnings.extend(translate.difference(view.machine.open_difference(), heard))
        status = cluster_pb2.ClusterStatus(
            cluster_id=where.cluster_id,
            healthy=not warnings,
            leader_id=where.leader_id,
            term=where.term,
            clock_ms=view.clock_ms,
            nodes=[
                translate.node_message(member, heard.get(member.id), self._last_heard.get(member.id))
                for member in members
            ],
            incarnation=view.machine.incarnation,
            warnings=warnings,
            feature_level=view.machine.feature_level,
        )
        translate.add_counts(status, view.machine, view.clock_ms)
        status.cleanup.unknown_handlers.extend(translate.unknown_handlers(heard.values()))
        return status
