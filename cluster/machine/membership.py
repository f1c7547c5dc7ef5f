"""The cluster's own records: its identity, its members, its bounds, the leader's epoch.

A member's record says what is wanted; Raft's configuration, which this knows nothing of, says who votes. An operator's
operation changes what is wanted, the leader brings Raft to it, and `settle` notes that it is so. One change at a time:
while a member is on its way in or out, no other is let in or sent away. One on its way out may be taken back.
"""

import re
from collections.abc import Iterator

from msgspec.structs import replace

from garbagetruck.cluster.machine import features
from garbagetruck.cluster.machine.model import EventType, Member, MemberRole
from garbagetruck.cluster.machine.operations import (
    AddMember,
    CreateCluster,
    EnterEpoch,
    KeepChronicles,
    NameIncarnation,
    RegisterMember,
    RemoveMember,
    SetBounds,
    SettleMember,
)
from garbagetruck.cluster.machine.outcomes import Acknowledged, MemberChanged, Reason, Refused
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.validation import COUNT_MAX, DAY_MS

BOUND_MS_MAX = 3_660 * DAY_MS
_INCARNATION_ID = re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII)


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


def begin(state: State, operation: CreateCluster | NameIncarnation | KeepChronicles) -> Acknowledged | Refused:
    """What happens once in a life of the cluster."""
    match operation:
        case CreateCluster():
            return create(state, operation)
        case NameIncarnation():
            return name_incarnation(state, operation)
        case KeepChronicles():
            return Acknowledged()  # that it was used is all that there is to it: see `State.chronicle`


def name_incarnation(state: State, operation: NameIncarnation) -> Acknowledged | Refused:
    """The first id counts: two leaders that each drew one have the same in the end."""
    if not _INCARNATION_ID.fullmatch(operation.id):
        return Refused(Reason.INVALID_ARGUMENT, "an incarnation's id is 1 to 64 letters and digits")
    if not state.cluster_id:
        return Refused(Reason.INVALID_ARGUMENT, "there is no cluster yet")
    if state.incarnation_id:
        return Refused(Reason.INVALID_ARGUMENT, f"incarnation {state.incarnation} is {state.incarnation_id!r} already")
    state.incarnation_id = operation.id
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
    # A node of the oldest level takes any address, and all must decide alike (I3).
    oldest = features.cluster_level(state.members.values(), state.level_used) == features.LEVEL_OLDEST
    taken = None if oldest else _taken(state, member)
    if taken is not None:
        return taken
    # What it shall be is not for the node to say; where its peers reach it, a node of feature level 1 does not tell.
    member = replace(member, role=known.role, peer=member.peer or known.peer)
    if known != member:
        state.members.put(member.id, member)
        state.emit(EventType.MEMBER_CHANGED, detail=f"{member.id} at {member.api}, version {member.version}")
    return Acknowledged()


def add(state: State, operation: AddMember) -> MemberChanged | Refused:
    wanted = operation.member
    known = state.members.get(wanted.id)
    if known is not None and known.role is MemberRole.LEAVING:
        return _take_back(state, operation, known)
    refusal = _pending(state) or _exists(known) or _taken(state, wanted)
    if refusal is not None:
        return refusal
    most = state.bounds.members_max
    if len(state.members) >= most:
        return Refused(
            Reason.QUOTA_EXCEEDED,
            f"there are {most} members, the most there may be",
            metadata=(("limit", "members_max"), ("value", str(most))),
        )
    member = replace(wanted, version="", feature_level=0, role=MemberRole.LEARNER)
    state.members.put(member.id, member)
    state.emit(EventType.MEMBER_CHANGED, holder=operation.actor, detail=f"{member.id} added, at {member.raft}")
    return MemberChanged(member)


def _take_back(state: State, operation: AddMember, known: Member) -> MemberChanged | Refused:
    """Let one stay that leaves. It may vote still, or not any more: the leader sees to it, as it does for any learner.

    Its disk must be named: who does not name it means another, which has to wait until this one is gone.
    """
    wanted = operation.member
    if wanted.disk_id != known.disk_id:
        pending = _pending(state)
        assert pending is not None, "one that leaves is on its way"
        named = f"name its data folder, {known.disk_id}, as disk_id" if known.disk_id else "name no disk_id"
        back = f"to take it back, {named}"
        return replace(pending, message=f"{pending.message}; {back}")
    refusal = _pending(state, undone=known.id) or _taken(state, wanted)
    if refusal is not None:
        return refusal
    told = {"api": wanted.api, "http": wanted.http, "raft": wanted.raft, "peer": wanted.peer}
    member = replace(known, role=MemberRole.LEARNER, **told)
    state.members.put(member.id, member)
    state.emit(EventType.MEMBER_CHANGED, holder=operation.actor, detail=f"{member.id} taken back, at {member.raft}")
    return MemberChanged(member)


def remove(state: State, operation: RemoveMember) -> MemberChanged | Refused:
    member = state.members.get(operation.member_id)
    if member is None:
        return Refused(
            Reason.MEMBER_UNKNOWN,
            f"{operation.member_id!r} is not a member of cluster {state.cluster_id!r}",
            "member_id",
        )
    refusal = _pending(state, undone=member.id if member.role is MemberRole.LEARNER else "")
    if refusal is not None:
        return refusal
    if member.role is MemberRole.VOTER and _voters(state) == 1:
        return Refused(Reason.LAST_VOTER, f"{member.id} is the only member that votes: add another first", "member_id")
    if member.disk_id or member.role is MemberRole.VOTER:
        state.members.put(member.id, replace(member, role=MemberRole.LEAVING))
    else:
        state.members.pop(member.id)  # nobody ever came under this name, so Raft's configuration cannot have it
    state.emit(EventType.MEMBER_CHANGED, holder=operation.actor, detail=f"{member.id} removed")
    return MemberChanged(member)


def settle(state: State, operation: SettleMember) -> Acknowledged | Refused:
    """Note what has become of a member. Idempotent: the next leader says again what its predecessor may have said."""
    member = state.members.get(operation.member_id)
    if operation.settled == "gone":
        if member is not None and member.role is not MemberRole.LEAVING:
            return Refused(Reason.MEMBER_UNKNOWN, f"{member.id} was not removed: it is a {member.role}")
        if member is not None:
            state.members.pop(member.id)
            state.emit(EventType.MEMBER_CHANGED, detail=f"{member.id} is gone")
        return Acknowledged()
    if member is None or member.role is MemberRole.LEAVING:
        return Refused(Reason.MEMBER_UNKNOWN, f"{operation.member_id!r} is no member that was added")
    if member.role is MemberRole.LEARNER:
        state.members.put(member.id, replace(member, role=MemberRole.VOTER))
        state.emit(EventType.MEMBER_CHANGED, detail=f"{member.id} votes")
    return Acknowledged()


def _pending(state: State, *, undone: str = "") -> Refused | None:
    """The refusal of a second change while one is under way; `undone` is the member whose own change it would undo."""
    for each in state.members.values():
        if each.role is not MemberRole.VOTER and each.id != undone:
            doing = "joining" if each.role is MemberRole.LEARNER else "leaving"
            return Refused(
                Reason.MEMBERSHIP_CHANGE_PENDING,
                f"{each.id} is {doing}; one change of membership at a time: wait until that is done",
                metadata=(("member", each.id), ("role", each.role.value)),
            )
    return None


def _exists(known: Member | None) -> Refused | None:
    if known is None:
        return None
    return Refused(Reason.MEMBER_EXISTS, f"{known.id!r} is a member already: remove it first", "member.id")


def _taken(state: State, wanted: Member) -> Refused | None:
    """The refusal of an address that is another's."""
    others = (each for each in state.members.values() if each.id != wanted.id)
    known = {address: each.id for each in others for _, address in _addresses(each)}
    for field, address in _addresses(wanted):
        if address in known:
            message = f"member.{field}: {address} is an address of {known[address]}"
            return Refused(Reason.MEMBER_EXISTS, message, f"member.{field}")
    return None


def _addresses(member: Member) -> Iterator[tuple[str, str]]:
    for field in ("api", "http", "raft", "peer"):
        address: str = getattr(member, field)
        if address:
            yield field, address.replace("localhost:", "127.0.0.1:")  # two names of one place


def _voters(state: State) -> int:
    return sum(each.role is MemberRole.VOTER for each in state.members.values())


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
