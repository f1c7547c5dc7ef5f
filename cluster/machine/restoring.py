"""A new incarnation of a cluster, from a state that was saved from a disaster (I9).

Duty: make of a recovered state the one that the next incarnation begins with, so that it deletes nothing.

Laws, each for what may have happened behind the saved state's back:
- Tokens begin at `incarnation * 2^40`, above everything an earlier incarnation issued, known here or not.
- Every lease and every session has its full TTL again. One that is over already stays so: a late holder is told.
- Cleanups of the whole cluster are paused until an operator resumes, and then wait once more (`quarantine`).
- A claim that was under way is void, and counts as an attempt; its resource stays out of reach until its deadline.
- Its members are the founding ones. No node of an earlier incarnation is one, whatever its disk holds; and nothing is
  noted any more of what their digests were.

The request table stays: a retry that comes after the disaster is still the operation that it repeats (I6), and what it
made is in the same state. Holds, brakes, pauses and namespaces' settings stay as they are; so does the clock, which goes
on from the last stamp.

Pure and deterministic, as all of the machine; but no operation of the log: it takes place between two logs.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from garbagetruck.cluster.machine import cleanups, quarantine
from garbagetruck.cluster.machine.model import INCARNATION_MAX, EventType, Member
from garbagetruck.cluster.machine.state import State

RESTORED_LEVEL = 2
"""The feature level that a state needs that a restore has made."""
IDENTIFIED_LEVEL = 3
"""...and one whose incarnation has an id."""


def begin_incarnation(
    state: State, incarnation: int, members: Sequence[Member], *, source: str, incarnation_id: str = ""
) -> None:
    """Change `state` into the first of `incarnation`, which is above its own and at most `INCARNATION_MAX`.

    `members` found it; `source` says for people what it was restored from. `incarnation_id` is random, or empty where not
    all that may read the state have `IDENTIFIED_LEVEL`: then its first leader with a storage draws one.
    """
    assert state.incarnation < incarnation <= INCARNATION_MAX, "a restored cluster has a higher incarnation"
    assert members, "somebody begins it"
    state.level_used = max(state.level_used, RESTORED_LEVEL)
    if incarnation_id:
        state.level_used = max(state.level_used, IDENTIFIED_LEVEL)
    state.incarnation = incarnation
    state.incarnation_id = incarnation_id
    state.token_counter = 0
    state.leader = ""
    for member_id in list(state.members):
        state.members.pop(member_id)
    for index in list(state.digest_notes):
        state.digest_notes.pop(index)
    for member in members:
        state.members.put(member.id, member)
    state.emit(EventType.CLUSTER_RESTORED, detail=f"incarnation {incarnation}, from {source}")
    quarantine.begin(state)
    _prolong(state)
    for resource in [each for each in state.resources.values() if each.claim is not None]:
        cleanups.void(state, resource)
    _pause(state, source)


def _prolong(state: State) -> None:
    """Deadlines only move back by this: a timer that knows the former one is early, and finds the new one."""
    clock_ms = state.clock_ms
    state.sessions.prolong(
        {each.id: replace(each, deadline_ms=clock_ms + each.ttl_ms) for each in state.sessions.values()}
    )
    state.leases.prolong(
        {
            each.id: replace(each, deadline_ms=clock_ms + each.ttl_ms)
            for each in state.leases.values()
            if not each.session_id
        }
    )


def _pause(state: State, source: str) -> None:
    assert state.quarantine is not None, "a restore begins one"
    reason = (
        f"restored from {source} as incarnation {state.incarnation}; resume for all namespaces when holders and handlers"
        f" are back: cleanups begin {state.quarantine.wait_ms} ms after that"
    )
    if state.cleanups_paused and state.cleanups_pause_reason:
        reason += f" (they were paused before: {state.cleanups_pause_reason})"
    state.cleanups_paused = True
    state.cleanups_pause_reason = reason
    state.emit(EventType.CLEANUPS_PAUSED, detail=reason)
