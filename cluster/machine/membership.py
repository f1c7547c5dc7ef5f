"""The cluster's own records: its identity, its members, its bounds, the leader's epoch."""

from garbagetruck.cluster.machine.model import EventType
from garbagetruck.cluster.machine.operations import CreateCluster, EnterEpoch, RegisterMember, SetBounds
from garbagetruck.cluster.machine.outcomes import Acknowledged, Reason, Refused
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.validation import COUNT_MAX, DAY_MS

BOUND_MS_MAX = 3_660 * DAY_MS


def create(state: State, operation: CreateCluster) -> Acknowledged | Refused:
    if state.cluster_id:
        return Refused(Reason.CLUSTER_EXISTS, f"this log belongs to cluster {state.cluster_id!r} already")
    names = {member.id for member in operation.members}
    if not operation.cluster_id or not all(names) or not 0 < operation.incarnation < 1 << 13:
        return Refused(Reason.INVALID_ARGUMENT, "a cluster needs an id, members and an incarnation from 1 to 8191")
    if not 0 < len(names) == len(operation.members) <= state.bounds.members_max:
        most = state.bounds.members_max
        return Refused(Reason.INVALID_ARGUMENT, f"a cluster needs 1 to {most} members, each under a name of its own")
    state.cluster_id = operation.cluster_id
    state.incarnation = operation.incarnation
    for member in operation.members:
        state.members.put(member.id, member)
    return Acknowledged()


def register(state: State, operation: RegisterMember) -> Acknowledged | Refused:
    member = operation.member
    known = state.members.get(member.id)
    if known is None:
        return Refused(Reason.MEMBER_UNKNOWN, f"{member.id!r} is not a member of cluster {state.cluster_id!r}")
    if known.disk_id and known.disk_id != member.disk_id:
        return Refused(
            Reason.MEMBER_UNKNOWN,
            f"member {member.id!r} is known with another data folder; a wiped node must return as a new member",
        )
    if known != member:
        state.members.put(member.id, member)
        state.emit(EventType.MEMBER_CHANGED, detail=f"{member.id} at {member.api}, version {member.version}")
    return Acknowledged()


def enter_epoch(state: State, operation: EnterEpoch, epoch: int) -> Acknowledged:
    state.epoch = epoch
    state.leader = operation.leader
    state.emit(EventType.LEADER_CHANGED, detail=f"{operation.leader} in epoch {epoch}")
    return Acknowledged()


def set_bounds(state: State, operation: SetBounds) -> Acknowledged | Refused:
    bounds = operation.bounds
    for name in bounds.__struct_fields__:
        value: int = getattr(bounds, name)
        most = BOUND_MS_MAX if "_ms_" in name else COUNT_MAX
        if not 1 <= value <= most:
            return Refused(Reason.INVALID_ARGUMENT, f"bounds.{name}: is {value}; it must be from 1 to {most}", "bounds")
    if bounds.ttl_ms_min > bounds.ttl_ms_max:
        return Refused(Reason.INVALID_ARGUMENT, "bounds.ttl_ms_min: is above ttl_ms_max", "bounds")
    state.bounds = bounds
    return Acknowledged()
