"""The judgement: what was orphaned, what was reclaimed, and whether anything in use is gone.

Duty: count from the disk, the database and the services' own journals. Nothing here asks the cluster.

A thing is *in use* if it became permanent, or if a living service still counts on its lease; every other is an *orphan*.

How lateness is measured. An orphan should go when the grace after its last lease is over. When that lease ended is known
from its holder: the moment before it sent the release; or, if it was killed, the end of what the last acknowledged
heartbeat granted, counted from sending (the client's rule). Both are the earliest moments possible, so that the figure errs
against the cluster. The file or row is missed by looking every `watching.LOOK_EVERY_S`; the look's time counts as
lateness, and `resolution_ms` tells the longest pause between two looks in which something went. All this is real time. A
cluster's clock stands still during an election, on purpose: so the time without a leader is in the lateness of whatever
waited meanwhile, and is not taken out.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from examples.upload_workflow.journal import Entry
from examples.upload_workflow.ledger import Ledger, Stay, read_ledger
from examples.upload_workflow.pictures import GRACE_S
from examples.upload_workflow.shelves import leftovers, look


@dataclass(slots=True)
class Verdict:
    """What the demo says at its end."""

    resources: int = 0
    orphans: int = 0
    reclaimed: int = 0
    in_use: int = 0
    in_use_deleted: int = 0
    leader_killed: bool = False
    failover_ms: int | None = None
    lateness_ms: list[float] = field(default_factory=list)
    """Of each orphan whose end is known, by rising lateness."""
    resolution_ms: float = 0.0
    reasons: list[str] = field(default_factory=list)
    """Why it failed. Empty: it did not."""

    def line(self) -> str:
        """The one line that scripts read."""
        content = {
            "resources": self.resources,
            "orphans": self.orphans,
            "reclaimed": self.reclaimed,
            "in_use": self.in_use,
            "in_use_deleted": self.in_use_deleted,
            "leader_killed": self.leader_killed,
            "failover_ms": self.failover_ms,
            "reclaim_lateness_ms_p99": self.lateness_ms_at(0.99),
        }
        return json.dumps(content, separators=(",", ":"))

    def lateness_ms_at(self, share: float) -> int | None:
        """The lateness that this share of the orphans did not exceed (nearest rank), None when there were none."""
        if not self.lateness_ms:
            return None
        return round(self.lateness_ms[math.ceil(share * len(self.lateness_ms)) - 1])


def judge(folder: Path) -> Verdict:
    """Judge a demo's folder, as it is now. Raises `sqlite3.Error` when its database cannot be read."""
    ledger = read_ledger(folder)
    there = look(folder)
    verdict = Verdict()
    made = {thing for things in ledger.created.values() for thing in things}
    for thing in sorted(there | made | set(ledger.gone)):
        verdict.resources += 1
        _judge_thing(verdict, ledger, thing, there=thing in there)
    verdict.lateness_ms.sort()
    _judge_leader(verdict, ledger)
    if verdict.reclaimed < verdict.orphans:
        verdict.reasons.append(f"{verdict.orphans - verdict.reclaimed} orphans are still there")
    if verdict.in_use_deleted:
        verdict.reasons.append(f"{verdict.in_use_deleted} things were deleted while somebody used them")
    if not verdict.orphans or not verdict.in_use:
        verdict.reasons.append("without orphans and without things in use there is nothing to see")
    if tombstones := leftovers(folder):
        verdict.reasons.append(f"removed by name only: {', '.join(tombstones)}")
    return verdict


def unreclaimed(folder: Path) -> set[str]:
    """The orphans that are still there."""
    ledger = read_ledger(folder)
    return {thing for thing in look(folder) if not _is_in_use(ledger, ledger.stays.get(thing, []), there=True)}


def _judge_thing(verdict: Verdict, ledger: Ledger, thing: str, *, there: bool) -> None:
    stays = ledger.stays.get(thing, [])
    gone = ledger.gone.get(thing)
    if not stays:
        verdict.reasons.append(f"{thing} was made without a lease")
    if _is_in_use(ledger, stays, there=there):
        verdict.in_use += 1
        if not there or gone is not None:
            verdict.in_use_deleted += 1
            verdict.reasons.append(f"{thing} is in use, and was deleted")
        return
    verdict.orphans += 1
    if there:
        return
    verdict.reclaimed += 1
    if gone is None:
        verdict.reasons.append(f"nobody saw {thing} go")
    elif stays:
        _judge_time(verdict, ledger, thing, stays, gone)


def _judge_time(verdict: Verdict, ledger: Ledger, thing: str, stays: list[Stay], gone: Entry) -> None:
    end_s = max(_end_s(ledger, stay) for stay in stays)
    late_ms = (gone.at_s - end_s - GRACE_S) * 1_000
    if gone.at_s < end_s:
        verdict.in_use_deleted += 1
        verdict.reasons.append(f"{thing} was deleted {(end_s - gone.at_s) * 1_000:.0f} ms before its last lease ended")
    elif late_ms < 0:
        verdict.reasons.append(f"{thing} was deleted {-late_ms:.0f} ms before its grace was over")
    verdict.resolution_ms = max(verdict.resolution_ms, (gone.at_s - gone.until_s) * 1_000)
    if not any(_is_open_question(ledger, stay) for stay in stays):
        verdict.lateness_ms.append(late_ms)


def _judge_leader(verdict: Verdict, ledger: Ledger) -> None:
    verdict.leader_killed = ledger.leader_killed is not None
    if ledger.leader_killed is None:
        verdict.reasons.append("no leader was killed")
    elif ledger.acquired_again is None:
        verdict.reasons.append("after the leader's end no lease was acknowledged any more")
    else:
        verdict.failover_ms = round((ledger.acquired_again.at_s - ledger.leader_killed.at_s) * 1_000)


def _is_in_use(ledger: Ledger, stays: list[Stay], *, there: bool) -> bool:
    """Whether it may not be gone. A service that was killed between asking to keep a thing and hearing the answer does
    not know whether it became permanent: then being there and being gone are both right.
    """
    if any(stay.kept or ledger.is_held(stay) for stay in stays):
        return True
    return there and any(stay.keeping for stay in stays)


def _end_s(ledger: Ledger, stay: Stay) -> float:
    """The earliest moment at which this lease can have ended."""
    if stay.giving_back_s is not None:
        return stay.giving_back_s
    return ledger.alive_until_s.get(stay.service, stay.leased_s)


def _is_open_question(ledger: Ledger, stay: Stay) -> bool:
    """Whether its holder was killed between asking for the release and hearing the answer: it may have ended then, or
    with the session. Such a thing is counted, but not timed.
    """
    return stay.service in ledger.killed and stay.giving_back_s is not None and not stay.gave_back
