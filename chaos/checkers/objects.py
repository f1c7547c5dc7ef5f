"""What became of the objects on disk: nothing in use was deleted (I1), nothing orphaned was left (I4, and how late).

Duty: compare what was seen to disappear, and what did not, with what clients had been promised.
Invariants: a disappearance lies between two looks; it counts against the cluster only if both ends of that span do.
Must not know: how anything is deleted.
"""

from collections.abc import Iterable, Iterator

from garbagetruck.chaos.checkers.promises import Promises, promises_of
from garbagetruck.chaos.history import NEVER_NS, NS_PER_MS, Disturbance, Gone, History, Left, Written

LATENESS_MS_MAX = 10_000
"""How long after its time an orphan may lie about while nothing is broken. The design says a second (p99); this is for
machines that do other work beside us.
"""


def in_use_is_never_deleted(history: History) -> Iterator[str]:
    """I1: no object disappeared while somebody could rely on a lease on it, or after it had been taken off the books."""
    promises = promises_of(history)
    for gone in history.of(Gone):
        if gone.key in history.foreign:
            yield f"I1: {gone.key}, which no lease ever named, was deleted"
        for promise in promises.by_key.get(gone.key, ()):
            if promise.acked_ns <= gone.present_ns and promise.relied_on(gone.absent_ns):
                left_ms = (min(promise.until_ns, promise.given_up_ns) - gone.absent_ns) / NS_PER_MS
                yield (
                    f"I1: {gone.key} ({gone.object_id}) was deleted while lease {promise.lease_id} of {promise.client}"
                    f" (token {promise.token}) had at least {left_ms:.0f} ms left"
                )
            if promise.kept_ns <= gone.present_ns:
                yield f"I1: {gone.key} ({gone.object_id}) was deleted after {promise.client} had taken it off the books"


def every_orphan_is_reclaimed(history: History) -> Iterator[str]:
    """I4: every object whose last lease ended was deleted, within `LATENESS_MS_MAX` and the time that faults took."""
    promises = promises_of(history)
    gone = {each.object_id: each for each in history.of(Gone)}
    left = {each.object_id: each for each in history.of(Left)}
    faults = list(history.of(Disturbance))
    for written in history.of(Written):
        if written.key in history.foreign or _is_kept(promises, written.key):
            continue
        due_ns = _due_ns(promises, written.key, before_ns=_seen_last_ns(written, gone)) + history.grace_ms * NS_PER_MS
        end = gone.get(written.object_id)
        at_ns = (
            end.absent_ns if end is not None else left[written.object_id].at_ns if written.object_id in left else None
        )
        if at_ns is None:
            continue
        late_ms = (at_ns - due_ns - _disturbed_ns(faults, written.at_ns, at_ns)) / NS_PER_MS
        if late_ms > LATENESS_MS_MAX:
            what = "is still there" if end is None else "was deleted"
            yield f"I4: {written.key} ({written.object_id}) {what} {late_ms:.0f} ms late, outages not counted"


def left_in_vain(history: History, keys: Iterable[str]) -> list[str]:
    """Of the keys of objects that are there, those whose objects are to be deleted in the end."""
    promises = promises_of(history)
    return [key for key in keys if key not in history.foreign and not _is_kept(promises, key)]


def lateness_ms(history: History) -> list[float]:
    """How late each object was deleted that no fault delayed, by the most that clients can know. Sorted."""
    promises = promises_of(history)
    written = {each.object_id: each for each in history.of(Written)}
    faults = list(history.of(Disturbance))
    found = []
    for gone in history.of(Gone):
        made = written.get(gone.object_id)
        if made is None or gone.key in history.foreign or _disturbed_ns(faults, made.at_ns, gone.absent_ns):
            continue
        due_ns = _due_ns(promises, gone.key, before_ns=gone.absent_ns) + history.grace_ms * NS_PER_MS
        found.append(max(0.0, (gone.absent_ns - due_ns) / NS_PER_MS))
    return sorted(found)


def _seen_last_ns(written: Written, gone: dict[str, Gone]) -> int:
    end = gone.get(written.object_id)
    return NEVER_NS if end is None else end.absent_ns


def _due_ns(promises: Promises, key: str, *, before_ns: int) -> int:
    """The latest moment at which the last lease on a key that was taken before `before_ns` can have ended."""
    ends_ns = [
        # A release that was sent may never have arrived: its time alone ends it for certain.
        promise.last_until_ns
        for promise in promises.by_key.get(key, ())
        if promise.first_sent_ns < before_ns
    ]
    return max([*ends_ns, promises.possible_until_ns.get(key, 0)], default=0)


def _is_kept(promises: Promises, key: str) -> bool:
    return any(each.kept_ns < NEVER_NS or each.maybe_kept for each in promises.by_key.get(key, ()))


def _disturbed_ns(faults: list[Disturbance], from_ns: int, to_ns: int) -> int:
    """For how much of a span something was broken, at most."""
    return sum(max(0, min(to_ns, each.recovered_ns) - max(from_ns, each.began_ns)) for each in faults)
