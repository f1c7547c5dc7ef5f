"""Members, the status of nodes, and the cluster at a glance, on the wire."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from garbagetruck.cluster.api.errors import invalid
from garbagetruck.cluster.api.ports import NodeRole, NodeStatus
from garbagetruck.cluster.machine.digest_notes import DigestNote
from garbagetruck.cluster.machine.digests import digests_of
from garbagetruck.cluster.machine.features import held_at, holding_back
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Member, MemberRole
from garbagetruck.v1 import cluster_pb2

ROLES: Mapping[NodeRole, cluster_pb2.NodeRole.ValueType] = {
    NodeRole.LEADER: cluster_pb2.NODE_ROLE_LEADER,
    NodeRole.FOLLOWER: cluster_pb2.NODE_ROLE_FOLLOWER,
    NodeRole.CANDIDATE: cluster_pb2.NODE_ROLE_CANDIDATE,
}
LAG_ENTRIES_MAX = 1_000
"""A node whose applied index is further than this behind the highest commit index is not near it."""


MEMBER_ROLES: Mapping[MemberRole, cluster_pb2.MemberRole.ValueType] = {
    MemberRole.VOTER: cluster_pb2.MEMBER_ROLE_VOTER,
    MemberRole.LEARNER: cluster_pb2.MEMBER_ROLE_LEARNER,
    MemberRole.LEAVING: cluster_pb2.MEMBER_ROLE_LEAVING,
}
TOLD_BY_THE_CLUSTER = ("role", "version", "feature_level")
"""Fields of a member that no request may set."""


def member_message(member: Member) -> cluster_pb2.Member:
    return cluster_pb2.Member(
        id=member.id,
        api=member.api,
        raft=member.raft,
        http=member.http,
        disk_id=member.disk_id,
        peer=member.peer,
        role=MEMBER_ROLES[member.role],
        version=member.version,
        feature_level=member.feature_level,
    )


def member_to_add(asked: cluster_pb2.Member) -> Member:
    """The member as the machine takes it. Raises `CallError` for what is not the caller's to say."""
    for field in TOLD_BY_THE_CLUSTER:
        if getattr(asked, field):
            raise invalid(f"member.{field}", "is told by the cluster; leave it out")
    return Member(asked.id, asked.api, asked.http, asked.raft, "", asked.disk_id, 0, asked.peer)


def node_message(member: Member, now: NodeStatus | None, last: NodeStatus | None) -> cluster_pb2.NodeStatus:
    """A node as it is now, or, when it did not answer, as it was when last heard."""
    known = now or last
    if known is None:
        return cluster_pb2.NodeStatus(
            id=member.id,
            api=member.api,
            role=cluster_pb2.NODE_ROLE_UNREACHABLE,
            version=member.version,
            feature_level=member.feature_level,
        )
    return cluster_pb2.NodeStatus(
        id=member.id,
        api=member.api,
        role=ROLES[known.role] if now is not None else cluster_pb2.NODE_ROLE_UNREACHABLE,
        reachable=now is not None,
        applied_index=known.applied_index,
        commit_index=known.commit_index,
        term=known.term,
        version=known.version,
        digest=digest_bytes(known.digest),
        clock_ms=known.clock_ms,
        feature_level=member.feature_level,
    )


def digest_bytes(digest: int) -> bytes:
    return digest.to_bytes(8, "big")


def warnings(members: Sequence[Member], heard: Mapping[str, NodeStatus], leader_id: str) -> list[str]:
    """What is not as it should be, as sentences; empty for a healthy cluster."""
    found = [] if leader_id else ["no leader is known"]
    found.extend(f"{member.id} ({member.api}) does not answer" for member in members if member.id not in heard)
    committed = max((status.commit_index for status in heard.values()), default=0)
    for status in heard.values():
        behind = committed - status.applied_index
        if behind > LAG_ENTRIES_MAX:
            found.append(f"{status.node_id} has {behind} entries of the log still to apply")
    found.extend(
        f"the disk of {status.node_id} is almost full: no lease or session is begun until there is space"
        for status in heard.values()
        if status.storage_low
    )
    found.extend(status.membership_waits for status in heard.values() if status.membership_waits)
    found.extend(_apart(members, heard, leader_id))
    found.extend(f"{status.node_id}: {status.archive_waits}" for status in heard.values() if status.archive_waits)
    found.extend(
        f"{number} cleanups wait for the handler {handler!r}, which {status.node_id}, the leader, does not have: register it"
        " there, or let a node lead that has it"
        for status in heard.values()
        for handler, number in status.unknown_handlers
    )
    digests: dict[int, NodeStatus] = {}
    for status in heard.values():
        other = digests.setdefault(status.applied_index, status)
        if other.digest != status.digest:
            found.append(
                f"{other.node_id} and {status.node_id} disagree about the state at index {status.applied_index}: "
                "pause cleanups, and see the runbook for digests that differ"
            )
    return found


def _apart(members: Sequence[Member], heard: Mapping[str, NodeStatus], leader_id: str) -> Iterator[str]:
    """Who answers, and takes no part in the log as it should. Of who does not answer that is said already."""
    silent = {member.id for member in members} - heard.keys()
    for status in heard.values():
        if leader_id and status.leader_id == "":
            yield f"{status.node_id} knows no leader"
        apart = [each for each in status.voters_apart if each not in silent]
        if apart:
            yield f"{status.node_id} leads, and has no Raft connection with {', '.join(apart)}"


def difference(noted: DigestNote | None, heard: Mapping[str, NodeStatus]) -> list[str]:
    """What nodes reported of one state (I3), as a sentence; empty when nobody differs.

    What one of them saw, and is in no report as yet, is told as well: that node holds its cleanups, though nobody paused them.
    """
    if noted is None:
        return [
            f"{status.node_id} saw that digests differ, and starts no cleanup until that is settled"
            for status in heard.values()
            if status.cleanups_held
        ]
    told = ", ".join(f"{node_id} has {digest:016x}" for node_id, digest in sorted(digests_of(noted).items()))
    return [
        f"digests differ at entry {noted.index}: {told}; cleanups stay paused until `cleanup resume --all-namespaces`"
    ]


def levels(members: Sequence[Member], level: int) -> list[str]:
    """Who holds the cluster at `level`, below what others have; or is below it, and so cannot follow."""
    below = [member for member in members if 0 < member.feature_level < level]
    found = [f"{each.id} reads feature level {each.feature_level} only, and the cluster uses {level}" for each in below]
    behind = holding_back(members, level + 1)
    ahead = [member.id for member in members if member.feature_level > level]
    if ahead and behind:
        found.append(f"{held_at(behind, level)}; {', '.join(ahead)} can do more")
    return found


def unknown_handlers(heard: Iterable[NodeStatus]) -> list[cluster_pb2.WaitingHandler]:
    """What the leader says of handlers that it does not have."""
    return [
        cluster_pb2.WaitingHandler(handler=handler, waiting=waiting)
        for status in heard
        for handler, waiting in status.unknown_handlers
    ]


def _fleet_brake(machine: Machine) -> cluster_pb2.FleetBrakeStatus:
    fleet = machine.fleet_brake
    if fleet is None:
        return cluster_pb2.FleetBrakeStatus()
    return cluster_pb2.FleetBrakeStatus(
        enabled=fleet.settings.enabled,
        holders_min=fleet.settings.holders_min,
        share=fleet.settings.share,
        engaged=fleet.engaged,
        since_ms=fleet.since_ms,
        reason=fleet.reason,
        missing_holders=machine.fleet_missing_holders,
        holders=fleet.known_holders,
        revision=fleet.revision,
    )


def add_counts(status: cluster_pb2.ClusterStatus, machine: Machine, clock_ms: int) -> None:
    """Put what the machine counts, and the bounds that callers meet, into a status."""
    summary = machine.summary()
    bounds = machine.bounds
    status.leases = summary.leases
    status.sessions = summary.sessions
    status.resources = summary.resources
    status.cleanup.CopyFrom(
        cluster_pb2.CleanupStatus(
            due=summary.due,
            claimed=summary.claimed,
            dead_letter=summary.dead_letter,
            paused=summary.paused,
            braked=summary.braked,
            paused_namespaces=[namespace.name for namespace in machine.namespaces() if namespace.paused],
            oldest_overdue_ms=max(0, clock_ms - summary.oldest_due_ms) if summary.oldest_due_ms is not None else 0,
            pause_reason=machine.cleanups_pause_reason,
            fleet_brake=_fleet_brake(machine),
            breakers=[
                cluster_pb2.BreakerStatus(
                    handler=each.handler,
                    reason=each.reason,
                    since_ms=each.since_ms,
                    trial_ms=each.trial_ms,
                    trying=bool(each.trial_token),
                    failed_trials=each.failed_trials,
                )
                for each in machine.breakers()
            ],
        )
    )
    status.bounds.CopyFrom(
        cluster_pb2.ClusterBounds(
            ttl_ms_min=bounds.ttl_ms_min,
            ttl_ms_max=bounds.ttl_ms_max,
            request_age_ms_max=bounds.request_age_ms_max,
            events_max=bounds.events_max,
        )
    )
