"""What an operator asks of a cluster, through the API and nothing else.

Duty: members in and out, leadership handed over, cleanups resumed; each asked again, at any member, until it is granted.
Must not know: processes, folders, why.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from garbagetruck.chaos.processes.cluster import Cluster, ClusterFailed
from garbagetruck.v1 import cleanup_pb2, cluster_pb2

CALL_TIMEOUT_S = 10.0
GRANTED_S_MAX = 60.0
"""A change waits for an earlier one, for an election, and for nodes that have to catch up."""
AGAIN_S = 0.2
AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.DEADLINE_EXCEEDED})


async def add_member(cluster: Cluster, node_id: str) -> None:
    request = cluster_pb2.AddMemberRequest(member=cluster.nodes[node_id].places)
    await _asked(cluster, lambda stubs: stubs.cluster.AddMember, request, done=grpc.StatusCode.ALREADY_EXISTS)


async def remove_member(cluster: Cluster, node_id: str) -> None:
    request = cluster_pb2.RemoveMemberRequest(member_id=node_id)
    await _asked(cluster, lambda stubs: stubs.cluster.RemoveMember, request, done=grpc.StatusCode.NOT_FOUND)


async def transfer_leadership(cluster: Cluster, node_id: str) -> str:
    """Answers who led when it was done."""
    request = cluster_pb2.TransferLeadershipRequest(member_id=node_id)
    answer = await _asked(cluster, lambda stubs: stubs.cluster.TransferLeadership, request)
    return str(answer.leader_id)


async def resume_cleanups(cluster: Cluster) -> None:
    """Of the whole cluster."""
    request = cleanup_pb2.ResumeRequest(all_namespaces=True, reason="an operator")
    await _asked(cluster, lambda stubs: stubs.cleanup.Resume, request)


async def member(cluster: Cluster, node_id: str) -> cluster_pb2.Member | None:
    """The cluster's record of a node, if there is one."""
    answer = await _asked(cluster, lambda stubs: stubs.cluster.ListMembers, cluster_pb2.ListMembersRequest())
    return next((each for each in answer.members if each.id == node_id), None)


async def until_voting(cluster: Cluster, node_id: str) -> cluster_pb2.Member:
    """Wait until it has a vote; answers its record. Raises `ClusterFailed`."""
    async with _within(f"{node_id} has no vote"):
        while True:
            record = await member(cluster, node_id)
            if record is not None and record.role == cluster_pb2.MEMBER_ROLE_VOTER:
                return record
            await asyncio.sleep(AGAIN_S)


async def until_level(cluster: Cluster, node_id: str, level: int) -> None:
    """Wait until a node has told of its feature level. Raises `ClusterFailed`."""
    async with _within(f"{node_id} does not tell of level {level}"):
        while True:
            record = await member(cluster, node_id)
            if record is not None and record.feature_level == level:
                return
            await asyncio.sleep(AGAIN_S)


async def _asked(
    cluster: Cluster, method: Callable[[Any], Any], request: Any, *, done: grpc.StatusCode | None = None
) -> Any:
    """Ask one member after the other. `done`: what says that an earlier attempt had its effect after all."""
    unsure, doors = False, 0
    async with _within(f"{type(request).__name__} was not granted"):
        while True:
            stubs = list(cluster.doors.values())
            doors += 1
            if "request_id" in request.DESCRIPTOR.fields_by_name:
                request.request_id = secrets.token_hex(8)
            try:
                return await method(stubs[doors % len(stubs)])(request, timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if unsure and error.code() is done:
                    return None
                if error.code() not in AGAIN:
                    raise ClusterFailed(f"{type(request).__name__}: {error.details()}") from error
                unsure |= error.code() is not grpc.StatusCode.FAILED_PRECONDITION
            await asyncio.sleep(AGAIN_S)


@asynccontextmanager
async def _within(otherwise: str) -> AsyncIterator[None]:
    """A timeout whose end is the cluster's failure."""
    try:
        async with asyncio.timeout(GRANTED_S_MAX):
            yield
    except TimeoutError as error:
        raise ClusterFailed(f"{otherwise} within {GRANTED_S_MAX:g} s") from error
