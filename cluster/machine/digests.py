"""Digests noted and compared through the log: one history, or a difference that is found and contained (I3).

Duty: remember the last digests that leaders noted; when a node reports another, pause the cleanups of the whole cluster
and say where the difference is; say which digest a majority has.
Invariants: the first difference pauses, in the same entry, before anything is known of who is right; only an operator's
resume lifts that. What is remembered is bounded. It must not know: this node's own digests, nor who it is.
"""

from collections import Counter

from msgspec.structs import replace

from garbagetruck.cluster.machine.digest_notes import DigestNote
from garbagetruck.cluster.machine.model import EventType
from garbagetruck.cluster.machine.operations import NoteDigest, ReportDigest
from garbagetruck.cluster.machine.outcomes import Acknowledged, Reason, Refused
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.tables import DIGEST_MASK

NOTES_MAX = 8
"""Digests that are remembered; the oldest goes. A report of an older one is refused."""
INDEX_MAX = (1 << 63) - 1
PAUSE_REASON_MAX = 1_024
"""Characters."""


def note(state: State, operation: NoteDigest) -> Acknowledged | Refused:
    index = operation.index
    last = next(reversed(tuple(state.digest_notes)), 0)
    if not last < index <= INDEX_MAX or not 0 <= operation.digest <= DIGEST_MASK:
        return Refused(Reason.INVALID_ARGUMENT, f"no digest for entry {index} behind that of entry {last}")
    state.digest_notes.put(index, DigestNote(index, operation.digest, state.leader))
    state.digest_notes.trim(NOTES_MAX)
    return Acknowledged()


def report(state: State, operation: ReportDigest) -> Acknowledged | Refused:
    node_id, digest = operation.node_id, operation.digest
    if node_id not in state.members:
        return Refused(Reason.MEMBER_UNKNOWN, f"{node_id!r} is not a member of cluster {state.cluster_id!r}")
    noted = state.digest_notes.get(operation.index)
    if noted is None or not 0 <= digest <= DIGEST_MASK:
        return Refused(Reason.DIGEST_NOT_NOTED, f"no digest is noted for entry {operation.index}, or not any more")
    if digest == noted.digest and not noted.differs:
        return Acknowledged()  # as it should be: nothing to remember
    known = open_difference(state) is not None
    reports = tuple(sorted((dict(noted.reports) | {node_id: digest}).items()))
    state.digest_notes.put(noted.index, replace(noted, reports=reports))
    if digest != noted.digest:
        told = (
            f"digests differ at entry {noted.index}: {noted.noted_by}, which led, has {noted.digest:016x}, "
            f"{node_id} has {digest:016x}"
        )
        state.emit(EventType.DIGESTS_DIFFER, holder=node_id, detail=told)
        if not known:
            _pause(state, told)
    return Acknowledged()


def open_difference(state: State) -> DigestNote | None:
    """The latest note that some node contradicts; None when there is none, or an operator has resumed since."""
    return next((each for each in reversed(tuple(state.digest_notes.values())) if each.differs), None)


def settle(state: State) -> None:
    """An operator resumed cleanups: forget the differences. Whoever still differs will be found at the next note."""
    for index in [each.index for each in state.digest_notes.values() if each.differs]:
        state.digest_notes.pop(index)


def digests_of(noted: DigestNote) -> dict[str, int]:
    """Node -> its digest, of those who told it: who noted it did, too."""
    return {noted.noted_by: noted.digest} | dict(noted.reports)


def majority(noted: DigestNote, voters: frozenset[str]) -> int | None:
    """The digest that more than half of the voters have; None when no digest is known to be that of so many."""
    counts = Counter(digest for node_id, digest in digests_of(noted).items() if node_id in voters)
    for digest, number in counts.items():
        if 2 * number > len(voters):
            return digest
    return None


def _pause(state: State, told: str) -> None:
    reason = f"{told}; paused before: {state.cleanups_pause_reason}" if state.cleanups_paused else told
    state.cleanups_paused = True
    state.cleanups_pause_reason = reason[:PAUSE_REASON_MAX]
    state.emit(EventType.CLEANUPS_PAUSED, detail=state.cleanups_pause_reason)
