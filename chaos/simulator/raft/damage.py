"""A disk that gives back another byte than was written.

Duty: of a node that does not run, change one bit of one file: of the journal, of the newest snapshot, or of a small file
beside them; and say whether the node has to refuse that.

In the journal it has to, but for the last group of all: damage there cannot be told from a torn write (decision 14), so none
is done there. A damaged snapshot may be done without, if the log goes back far enough; and some bytes say nothing.

Must not know: when, and what comes of it.
"""

from dataclasses import dataclass
from pathlib import Path

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.chaos.simulator.world import Chance
from garbagetruck.cluster.raft.journal.format import HEADER_BYTES, decode_header
from garbagetruck.cluster.raft.journal.scan import read_records
from garbagetruck.cluster.raft.journal.segments import SUFFIX

SMALL = ("founding.json", "peers.json", "removed.json")


@dataclass(frozen=True, slots=True)
class Damage:
    """What was done to a disk."""

    path: Path
    offset: int
    must_refuse: bool
    """Else it may."""


def damage(disk: SimulatedDisk, chance: Chance, folder: Path) -> Damage | None:
    """Do it to the replica's `folder`; None where there is nothing that could be damaged."""
    places = [
        *(_in_journal(disk, chance, folder / "journal") for _ in range(2)),
        _in_snapshot(disk, chance, folder / "snapshots"),
        _in_small_file(disk, chance, folder),
    ]
    possible = [each for each in places if each is not None]
    if not possible:
        return None
    chosen = chance.choice(possible)
    (byte,) = disk.open(chosen.path).read(1, chosen.offset)
    disk.damage(chosen.path, chosen.offset, bytes([byte ^ 1 << chance.randrange(8)]))
    return chosen


def _names(disk: SimulatedDisk, folder: Path) -> list[str]:
    try:
        return disk.names(folder)
    except FileNotFoundError:
        return []


def _in_journal(disk: SimulatedDisk, chance: Chance, folder: Path) -> Damage | None:
    segments = [each for each in _names(disk, folder) if each.endswith(SUFFIX)]
    if not segments:
        return None
    name = chance.choice(segments)
    file = disk.open(folder / name)
    _, seed = decode_header(file.read(HEADER_BYTES, 0))
    end = read_records(file, seed, lambda *_: None)
    behind = end.last_group if name == segments[-1] else end.offset
    if behind <= HEADER_BYTES:
        return None
    return Damage(folder / name, chance.randrange(HEADER_BYTES, behind), must_refuse=True)


def _in_snapshot(disk: SimulatedDisk, chance: Chance, folder: Path) -> Damage | None:
    names = _names(disk, folder)
    if not names:
        return None
    path = folder / names[-1]
    size = disk.open(path).size()
    return Damage(path, chance.randrange(size), must_refuse=False) if size else None


def _in_small_file(disk: SimulatedDisk, chance: Chance, folder: Path) -> Damage | None:
    names = [each for each in SMALL if each in _names(disk, folder)]
    if not names:
        return None
    path = folder / chance.choice(names)
    return Damage(path, chance.randrange(disk.open(path).size()), must_refuse=False)
