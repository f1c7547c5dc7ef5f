"""The client's front door.

Duty: bring connection, namespace and all calls together under one object.
Invariant: a truck opens its connection on entering and closes it on leaving; what `in_namespace` returns borrows it.
"""

from collections.abc import AsyncGenerator, Collection, Sequence
from types import TracebackType
from typing import Self

from garbagetruck.client.caller import Caller, consistency
from garbagetruck.client.cleanups import Cleanups
from garbagetruck.client.connection import Connection
from garbagetruck.client.endpoints import addresses_of
from garbagetruck.client.leases import Leases
from garbagetruck.client.namespaces import Namespaces
from garbagetruck.client.overview import ClusterStatus, Event, Member
from garbagetruck.client.resources import Resources
from garbagetruck.client.session import Session
from garbagetruck.client.sessions import Sessions
from garbagetruck.client.snapshots import Snapshots
from garbagetruck.client.translate import cluster_status, member_record
from garbagetruck.client.watch import watch
from garbagetruck.client.world import World, real_world
from garbagetruck.v1 import cluster_pb2

TIMEOUT_S_DEFAULT = 5.0
WATCH_PATIENCE_S_DEFAULT = 60.0


class Truck(Leases):
    """A cluster, as one namespace of it sees it. Belongs to the event loop on which it was entered."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller)
        self.sessions = Sessions(caller)
        """Sessions as the cluster sees them; `session` opens one that keeps itself alive."""
        self.resources = Resources(caller)
        self.cleanups = Cleanups(caller)
        self.namespaces = Namespaces(caller)
        self.snapshots = Snapshots(caller)

    async def __aenter__(self) -> Self:
        await self._caller.connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._caller.connection.__aexit__(kind, error, traceback)

    def in_namespace(self, name: str) -> "Truck":
        """The same cluster as another namespace sees it, over the same connection. Not to be entered."""
        return Truck(Caller(self._caller.connection, name, self._caller.timeout_s))

    def session(self, *, holder: str, ttl: float = 10.0) -> Session:
        """A heartbeat for any number of leases. Opened by `async with`, which raises what `Sessions.open` raises.

        `ttl`: seconds after which the cluster gives the holder up for dead. While it lives, this process may lose
        every node it knows for nearly that long without losing a lease.
        """
        return Session(self._caller, self, holder=holder, ttl=ttl)

    async def status(self, *, timeout: float | None = None) -> ClusterStatus:
        """The cluster at a glance, as the asked node sees it, also when there is no leader."""
        answer = await self._caller.read(lambda stubs: stubs.cluster.GetStatus, timeout, cluster_pb2.GetStatusRequest)
        return cluster_status(answer.message)

    async def members(self, *, stale: bool = False, timeout: float | None = None) -> tuple[Member, ...]:
        """The nodes of the cluster, by rising id."""
        answer = await self._caller.read(
            lambda stubs: stubs.cluster.ListMembers,
            timeout,
            cluster_pb2.ListMembersRequest,
            consistency=consistency(stale=stale),
        )
        return tuple(map(member_record, answer.message.members))

    async def add_member(
        self,
        member_id: str,
        *,
        api: str,
        http: str,
        raft: str,
        peer: str,
        disk_id: str = "",
        timeout: float | None = None,
    ) -> Member:
        """Let a node in, as a learner; it becomes a voter when it has come and caught up, which `members` tells.

        Addresses are `"host:port"`, as the other nodes and the clients reach them. `disk_id`: the only folder to be
        taken under this name; empty: the first that comes. A member that leaves is taken back when its own `disk_id` is
        named. Raises `MemberExists`, `MembershipChangePending`.
        """
        answer = await self._caller.mutate(
            lambda stubs: stubs.cluster.AddMember,
            timeout,
            cluster_pb2.AddMemberRequest,
            member=cluster_pb2.Member(id=member_id, api=api, http=http, raft=raft, peer=peer, disk_id=disk_id),
        )
        return member_record(answer.message.member)

    async def remove_member(self, member_id: str, *, timeout: float | None = None) -> Member:
        """Have a node leave. `members` lists it until it votes no more. Returns its record as it was.

        Raises `MemberNotFound`, `MembershipChangePending`, `LastVoter`, `QuorumAtRisk`.
        """
        answer = await self._caller.mutate(
            lambda stubs: stubs.cluster.RemoveMember, timeout, cluster_pb2.RemoveMemberRequest, member_id=member_id
        )
        return member_record(answer.message.member)

    async def transfer_leadership(self, to: str = "", *, timeout: float | None = None) -> str:
        """Have a node lead; empty: whichever other node is most up to date. Returns the id of who leads then.

        Raises `MemberNotFound`, `TransferFailed`.
        """
        answer = await self._caller.mutate(
            lambda stubs: stubs.cluster.TransferLeadership,
            timeout,
            cluster_pb2.TransferLeadershipRequest,
            member_id=to,
        )
        return answer.message.leader_id

    def watch(
        self,
        *,
        from_index: int = 0,
        all_namespaces: bool = False,
        resource: str = "",
        types: Collection[str] = (),
        patience: float = WATCH_PATIENCE_S_DEFAULT,
    ) -> AsyncGenerator[Event, None]:
        """Follow what happens, for ever, from an index on (0: from now on); broken streams are resumed where they
        broke.

        `types`: as `Event.type` names them; empty means all. Raises `EventsLost` when events were missed,
        `Unavailable` when no node has answered for `patience` seconds.
        """
        return watch(
            self._caller,
            from_index=from_index,
            all_namespaces=all_namespaces,
            resource=resource,
            types=types,
            patience_s=patience,
        )


def connect(
    endpoints: str | Sequence[str],
    *,
    namespace: str = "",
    timeout: float = TIMEOUT_S_DEFAULT,
    prefer_leader: bool = True,
    world: World | None = None,
) -> Truck:
    """A client for the cluster behind `"host:port,host:port"`; use it with `async with`.

    `namespace`: empty means "default". `timeout`: seconds for calls that name none, all repetitions included.
    `prefer_leader`: go to the leader directly once a node has named it, if it is one of the endpoints; saves a hop.
    `world`: for tests. Raises `ValueError` for endpoints that are none; connecting itself happens with the first call.
    """
    connection = Connection(addresses_of(endpoints), world or real_world(), prefer_leader=prefer_leader)
    return Truck(Caller(connection, namespace, timeout))
