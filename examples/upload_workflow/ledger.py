"""What all journals together tell: who held what from when to when.

Duty: read the journals of a folder into stays. It judges nothing, and knows no file and no cluster.
"""

from dataclasses import dataclass, field
from pathlib import Path

from examples.upload_workflow.journal import Did, Entry, read
from examples.upload_workflow.pictures import JOURNALS


@dataclass(slots=True)
class Stay:
    """One service's lease on one thing, as that service knows it."""

    service: str
    leased_s: float
    giving_back_s: float | None = None
    """When it was about to release the lease."""
    gave_back: bool = False
    """Whether that was acknowledged."""
    keeping: bool = False
    kept: bool = False


@dataclass(slots=True)
class Ledger:
    """All journals of one folder."""

    stays: dict[str, list[Stay]] = field(default_factory=dict)
    """By thing."""
    created: dict[str, list[str]] = field(default_factory=dict)
    """By service: what it made."""
    finished: dict[str, set[str]] = field(default_factory=dict)
    """By service: what it is done with, `""` for everything."""
    alive_until_s: dict[str, float] = field(default_factory=dict)
    """By service: until when its leases hold by what was acknowledged last."""
    killed: dict[str, float] = field(default_factory=dict)
    """By service: when it was killed."""
    watching: bool = False
    gone: dict[str, Entry] = field(default_factory=dict)
    """By thing: the first time that it was seen to be gone."""
    leader_killed: Entry | None = None
    acquired_again: Entry | None = None

    def is_held(self, stay: Stay) -> bool:
        """Whether a living service still counts on this lease."""
        return stay.service not in self.killed and stay.giving_back_s is None and not stay.kept

    def held_by(self, service: str) -> set[str]:
        """Things of which the service has not said that it gives them back, or keeps them for good."""
        return {
            thing
            for thing, stays in self.stays.items()
            for stay in stays
            if stay.service == service and stay.giving_back_s is None and not stay.kept
        }


def read_ledger(folder: Path) -> Ledger:
    """Read every journal of a demo's folder. Raises `ValueError` for a line that is none."""
    ledger = Ledger()
    for path in sorted((folder / JOURNALS).glob("*.jsonl")):
        for entry in read(path):
            _enter(ledger, path.stem, entry)
    return ledger


def _enter(ledger: Ledger, who: str, entry: Entry) -> None:  # noqa: C901 - one case for each deed
    match entry.did:
        case Did.LEASED:
            ledger.stays.setdefault(entry.thing, []).append(Stay(who, entry.at_s))
        case Did.GIVING_BACK:
            _stay(ledger, who, entry).giving_back_s = entry.at_s
        case Did.GAVE_BACK:
            _stay(ledger, who, entry).gave_back = True
        case Did.KEEPING:
            _stay(ledger, who, entry).keeping = True
        case Did.KEPT:
            _stay(ledger, who, entry).kept = True
        case Did.CREATED:
            ledger.created.setdefault(who, []).append(entry.thing)
        case Did.FINISHED:
            ledger.finished.setdefault(who, set()).add(entry.thing)
        case Did.ALIVE:
            ledger.alive_until_s[who] = max(ledger.alive_until_s.get(who, 0.0), entry.until_s)
        case Did.KILLED:
            ledger.killed[entry.thing] = entry.at_s
        case Did.WATCHING:
            ledger.watching = True
        case Did.GONE:
            ledger.gone.setdefault(entry.thing, entry)
        case Did.LEADER_KILLED:
            ledger.leader_killed = entry
        case Did.ACQUIRED_AGAIN:
            ledger.acquired_again = entry


def _stay(ledger: Ledger, who: str, entry: Entry) -> Stay:
    """The last lease of this service on this thing."""
    for stay in reversed(ledger.stays.get(entry.thing, [])):
        if stay.service == who:
            return stay
    raise ValueError(f"{who} wrote {entry.did} of {entry.thing}, on which it never had a lease")
