"""What nodes did: one history (I3), fair time (I7), no leader without a majority (I8), and no burden that grows for ever.

Duty: compare nodes with each other, with the faults they were under, and with themselves earlier.
Must not know: leases, objects.
"""

from collections import defaultdict
from collections.abc import Iterator

from garbagetruck.chaos.history import NS_PER_MS, Attempt, Burden, Disturbance, History, Sight, Verb

STEP_DOWN_MS_MAX = 3_000
"""How long after it was cut off a leader may still acknowledge. The design says one election timeout; this is for
machines that do other work beside us.
"""
LAG_MS_MAX = 2_000
"""By how much a node may be behind that says it leads: it may be about to give up, and have no more than the last tick."""
GROWTH_MAX = {"resident_bytes": 1.5, "descriptors": 1.5, "threads": 1.5, "journal_bytes": 2.0}
"""How many times what it took in the second quarter of the time that it was seen, a node may take in the last."""
SLACK = {"resident_bytes": 32 << 20, "descriptors": 32, "threads": 8, "journal_bytes": 16 << 20}
"""Growth by less than this is none."""
SAMPLES_MIN = 40
"""Fewer of one process, or of one node, say nothing."""


def one_history(history: History) -> Iterator[str]:
    """I3: at equal applied index all nodes have equal digests."""
    first: dict[int, Sight] = {}
    for sight in history.of(Sight):
        if not sight.digest:
            continue
        other = first.setdefault(sight.applied_index, sight)
        if other.digest != sight.digest:
            yield f"I3: at index {sight.applied_index}, {sight.node} and {other.node} have different digests"


def one_leader_for_each_term(history: History) -> Iterator[str]:
    """I3: no two nodes ever said that they lead in the same term."""
    leaders: dict[int, str] = {}
    for sight in history.of(Sight):
        if sight.role == "leader" and leaders.setdefault(sight.term, sight.node) != sight.node:
            yield f"I3: {leaders[sight.term]} and {sight.node} both led in term {sight.term}"


def time_is_fair(history: History) -> Iterator[str]:
    """I7: cluster time never gains on the observer's, neither under one leader nor from one to the next."""
    # Ahead of the observer's clock at most, at least: as it may have been when the leader was asked, and when it had answered.
    lead_ms_max: dict[int, float] = {}
    lead_ms_min: dict[int, float] = {}
    for sight in history.of(Sight):
        if sight.role != "leader":
            continue
        at_most, at_least = sight.clock_ms - sight.asked_ns / NS_PER_MS, sight.clock_ms - sight.at_ns / NS_PER_MS
        earlier = [lead_ms for term, lead_ms in lead_ms_max.items() if term < sight.term]
        bounds = [lead_ms_min[sight.term]] if sight.term in lead_ms_min else [max(earlier)] if earlier else []
        for bound in bounds:
            if at_least > bound + LAG_MS_MAX:
                yield f"I7: cluster time gained {at_least - bound:.0f} ms, as {sight.node} told it in term {sight.term}"
        lead_ms_max[sight.term] = max(at_most, lead_ms_max.get(sight.term, at_most))
        lead_ms_min[sight.term] = min(at_most, lead_ms_min.get(sight.term, at_most))


def no_zombie_leader(history: History) -> Iterator[str]:
    """I8: a node that can reach no majority acknowledges nothing, and answers no linearizable read."""
    for fault in history.of(Disturbance):
        if not fault.cut_off:
            continue
        since_ns = fault.began_ns + STEP_DOWN_MS_MAX * NS_PER_MS
        for attempt in history.of(Attempt):
            if attempt.node not in fault.cut_off or not attempt.ok:
                continue
            if attempt.sent_ns >= since_ns and attempt.ended_ns <= fault.healed_ns:
                what = "answered a read" if attempt.verb in {Verb.READ, Verb.LOOK} else f"acknowledged {attempt.verb}"
                after_ms = (attempt.sent_ns - fault.began_ns) / NS_PER_MS
                yield f"I8: {attempt.node} {what} {after_ms:.0f} ms after it was cut off from every majority"


def burdens_are_bounded(history: History) -> Iterator[str]:
    """Memory, descriptors and threads do not grow with the life of a process, nor the data folder with that of a node."""
    samples: dict[tuple[str, str], list[int]] = defaultdict(list)
    for burden in history.of(Burden):
        for name in GROWTH_MAX:
            whose = burden.node if name == "journal_bytes" else f"{burden.node} (pid {burden.pid})"
            samples[name, whose].append(getattr(burden, name))
    for (name, whose), values in samples.items():
        if len(values) < SAMPLES_MIN:
            continue
        quarter = len(values) // 4
        early, late = max(values[quarter : 2 * quarter]), max(values[-quarter:])
        if late > early * GROWTH_MAX[name] and late - early > SLACK[name]:
            yield f"{name} of {whose} grew from {early} to {late}"


def indexes_compared(history: History) -> int:
    """At how many indexes two nodes or more were seen: how much `one_history` says."""
    nodes: dict[int, set[str]] = defaultdict(set)
    for sight in history.of(Sight):
        nodes[sight.applied_index].add(sight.node)
    return sum(len(each) > 1 for each in nodes.values())
