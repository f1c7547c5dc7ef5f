"""Feature levels: what every member must be able to read before the cluster uses it.

Duty: say which level an operation needs, which level the cluster has, and who holds it there.

- A member announces its level in its own record. The cluster has the lowest of its members' levels: a feature is used
  when all of them have it, and not before. Once it was, the level falls no more: who cannot read it cannot follow in any
  case, and a member that was just added has not told its level yet.
- The format of a batch, and of a snapshot, is the level of what is in it: what a node of a lower level could read, it
  reads; the rest it refuses by name, instead of guessing.

Invariants: what is refused follows from the replicated members alone, so it is the same on every node (I3).
To add a feature: a level in `NAMES`, and its operations in `LEVELS`. It must not know: versions of the software.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from garbagetruck.cluster.machine.brake_operations import CloseBreaker, OpenBreaker, SetFleetBrake
from garbagetruck.cluster.machine.model import Member, MemberRole
from garbagetruck.cluster.machine.operations import (
    BATCH_FORMAT,
    AddMember,
    ForgetResource,
    KeepChronicles,
    NameIncarnation,
    NoteDigest,
    Operation,
    RegisterMember,
    RemoveMember,
    ReportDigest,
    SettleMember,
)
from garbagetruck.cluster.machine.outcomes import Reason, Refused

LEVEL_OLDEST = 1
LEVEL_NEWEST = BATCH_FORMAT
"""What this version can read."""

NAMES: Mapping[int, str] = MappingProxyType(
    {
        1: "leases, sessions and cleanups",
        2: "membership changes, digest checkpoints and restores",
        3: "snapshots and an archive outside the nodes",
        4: "stories of resources, brakes of the fleet and of handlers, and snapshots that one node asks another for",
    }
)
"""What a level added, for people."""

LEVELS: Mapping[type[Any], int] = MappingProxyType(
    {
        AddMember: 2,
        RemoveMember: 2,
        SettleMember: 2,
        NoteDigest: 2,
        ReportDigest: 2,
        NameIncarnation: 3,
        ForgetResource: 4,
        KeepChronicles: 4,
        OpenBreaker: 4,
        CloseBreaker: 4,
        SetFleetBrake: 4,
    }
)
"""The operations that need more than the oldest level."""

SNAPSHOT_OF_A_PEER_LEVEL = 4
"""A node of a lower one cannot read the question."""

MEMBER_FIELDS_OF_LEVEL_1 = 7
"""A member's record that has more to tell needs the next level: see `Member.written`."""


def level_of(operation: Operation) -> int:
    """The level that every member must have before this is applied."""
    if isinstance(operation, RegisterMember) and len(operation.member.written()) > MEMBER_FIELDS_OF_LEVEL_1:
        return 2
    return LEVELS.get(type(operation), LEVEL_OLDEST)


def format_of(operations: Iterable[Operation]) -> int:
    """The format of a batch of these: the highest level among them."""
    types = set(map(type, operations))
    if RegisterMember in types:
        return max(map(level_of, operations))
    newer = LEVELS.keys() & types  # as a rule there is none, and this is asked for every batch
    return max((LEVELS[each] for each in newer), default=LEVEL_OLDEST)


def own_level(member: Member) -> int:
    """A member's level. One that has not told its own yet counts as the oldest."""
    return max(member.feature_level, LEVEL_OLDEST)


def _counted(members: Iterable[Member]) -> Iterable[Member]:
    """Whose level counts. A learner reads the log as it is, or does not get far; it votes only when it can read all."""
    return (each for each in members if each.role is not MemberRole.LEARNER)


def cluster_level(members: Iterable[Member], used: int = LEVEL_OLDEST) -> int:
    """What all members can read: the lowest of their levels, and no less than what was ever used.

    The oldest while there is no cluster.
    """
    return max(min((own_level(each) for each in _counted(members)), default=LEVEL_OLDEST), used)


def holding_back(members: Iterable[Member], level: int) -> tuple[str, ...]:
    """Ids of the members below `level`, in the members' order."""
    return tuple(each.id for each in _counted(members) if own_level(each) < level)


def held_at(behind: Iterable[str], level: int) -> str:
    """Who holds the cluster at a level, as a clause."""
    names = tuple(behind)
    return f"{', '.join(names)} {'holds' if len(names) == 1 else 'hold'} the cluster at feature level {level}"


def _readers(members: tuple[Member, ...], operation: Operation) -> tuple[Member, ...]:
    """Who must be able to read `operation`: everybody, but not the one whom it sends away.

    That one may be dead, or may never have come, and would keep the others from ever removing it. If it does read, it ends at
    the entry, a moment before it would have anyhow.
    """
    if not isinstance(operation, RemoveMember):
        return members
    return tuple(each for each in members if each.id != operation.member_id) or members


def not_enabled(members: Iterable[Member], used: int, operation: Operation) -> Refused | None:
    """Why the cluster does not take this operation yet; None when it does. `used`: the highest level that ever was."""
    needed = level_of(operation)
    if needed == LEVEL_OLDEST:
        return None
    known = _readers(tuple(members), operation)
    level = cluster_level(known, used)
    if needed <= level:
        return None
    behind = holding_back(known, needed)
    why = held_at(behind, level) if behind else "there is no cluster yet"
    return Refused(
        Reason.FEATURE_NOT_ENABLED,
        f"{NAMES[needed]} need feature level {needed} on every member, and {why}",
        metadata=(("level", str(level)), ("needed", str(needed)), ("members", ",".join(behind))),
    )
