"""What a run showed, for people and for scripts.

Duty: one report for each run: JSON, or a timeline that can be read. Must not know: how a run is done.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from garbagetruck.chaos.checkers.linearizability import shared_looks
from garbagetruck.chaos.checkers.nodes import indexes_compared
from garbagetruck.chaos.checkers.objects import lateness_ms
from garbagetruck.chaos.history import (
    NS_PER_MS,
    NS_PER_S,
    Attempt,
    Burden,
    Disturbance,
    Finding,
    Gone,
    History,
    Sight,
    Verb,
)
from garbagetruck.chaos.simulator.result import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run of one scenario."""

    scenario: str
    seed: int
    verdict: Verdict
    violations: tuple[str, ...]
    doubts: tuple[str, ...]
    repeat: str
    """The command that does it again."""
    seconds: float
    counts: dict[str, Any]
    timeline: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """As `-o json` has it."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "verdict": self.verdict.value,
            "violations": list(self.violations),
            "doubts": list(self.doubts),
            "repeat": self.repeat,
            "seconds": round(self.seconds, 1),
            **self.counts,
            "timeline": list(self.timeline),
        }

    def lines(self) -> list[str]:
        """For people."""
        shown = ", ".join(f"{name} {value}" for name, value in self.counts.items() if not isinstance(value, dict))
        return [
            f"{self.scenario}: {self.verdict.value} in {self.seconds:.0f} s, seed {self.seed}",
            f"  {shown}",
            *(f"  {line}" for line in self.timeline),
            *(f"  VIOLATION {each}" for each in self.violations),
            *(f"  undecided: {each}" for each in self.doubts if self.verdict is Verdict.UNDECIDED),
            *([f"  repeat it: {self.repeat}"] if self.verdict is not Verdict.PASSED else []),
        ]


def nothing_shown(scenario: str, seed: int, why: str, repeat: str) -> Report:
    """Of a run that did not come to its first fault."""
    return Report(
        scenario=scenario,
        seed=seed,
        verdict=Verdict.UNDECIDED,
        violations=(),
        doubts=(why,),
        repeat=repeat,
        seconds=0.0,
        counts={},
        timeline=(),
    )


def counts_of(history: History) -> dict[str, Any]:
    """How much a run did, and what bounds it saw."""
    attempts = list(history.of(Attempt))
    late = lateness_ms(history)
    sights = list(history.of(Sight))
    burdens = list(history.of(Burden))
    return {
        "acquired": len({each.lease_id for each in attempts if each.ok and each.verb is Verb.ACQUIRE}),
        "calls": len(attempts),
        "outcomes": dict(sorted(Counter(each.outcome.value for each in attempts).items())),
        "refusals": dict(sorted(Counter(each.reason for each in attempts if each.outcome == "refused").items())),
        "deleted": sum(1 for _ in history.of(Gone)),
        "late_ms_p99": round(late[min(len(late) - 1, len(late) * 99 // 100)]) if late else None,
        "late_counted": len(late),
        "faults": sum(1 for _ in history.of(Disturbance)),
        "recovery_ms_max": max(
            ((each.recovered_ns - each.healed_ns) // NS_PER_MS for each in history.of(Disturbance)), default=None
        ),
        "terms": len({each.term for each in sights}),
        "shared_looks": shared_looks(history),
        "indexes_compared": indexes_compared(history),
        "checks_of_its_own": sum(1 for _ in history.of(Finding)),
        "resident_mb_max": max((each.resident_bytes for each in burdens), default=0) >> 20,
        "data_mb_max": max((each.journal_bytes for each in burdens), default=0) >> 20,
        "descriptors_max": max((each.descriptors for each in burdens), default=0),
    }


def timeline_of(history: History, began_ns: int) -> tuple[str, ...]:
    """Faults, leaders and findings, in order."""
    lines: list[tuple[int, str]] = []
    leading = ("", 0)
    for sight in history.of(Sight):
        if sight.role == "leader" and (sight.node, sight.term) != leading:
            leading = (sight.node, sight.term)
            lines.append((sight.at_ns, f"{sight.node} leads in term {sight.term}"))
    for fault in history.of(Disturbance):
        lines.append((fault.began_ns, f"fault: {fault.fault}"))
        healed = f"healed: {fault.fault} ({fault.proof or 'no proof that it bit'})"
        recovered_s = (fault.recovered_ns - fault.healed_ns) / NS_PER_S
        lines.append((fault.healed_ns, f"{healed}; whole again after {recovered_s:.1f} s"))
    lines.extend(
        (finding.at_ns, f"{'holds' if finding.holds else 'DOES NOT HOLD'}: {finding.what.splitlines()[0]}")
        for finding in history.of(Finding)
    )
    return tuple(f"{(at_ns - began_ns) / NS_PER_S:7.1f} s  {line}" for at_ns, line in sorted(lines))
