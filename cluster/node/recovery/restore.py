"""A cluster's next incarnation, from the data folder of one of its nodes; and what every restore has in common.

Duty: `restore`: read the folder, begin another incarnation from what it holds, and write the folder of the node that
founds it; and say what was restored, what may be missing, and what is to be done now.

Invariants: the old folder is not changed, and the new one is not served before it is whole (`source`, `target`). The new
incarnation deletes nothing by itself (I9; `machine.restoring`). Must not know: who asks.
"""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Generic, TypeVar

from garbagetruck.cluster.machine.model import INCARNATION_MAX, Member
from garbagetruck.cluster.machine.queries import Queries
from garbagetruck.cluster.machine.questions import Summary
from garbagetruck.cluster.machine.restoring import IDENTIFIED_LEVEL, RESTORED_LEVEL, begin_incarnation
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.identity import NodeIdentity
from garbagetruck.cluster.node.recovery import target
from garbagetruck.cluster.node.recovery.errors import IncarnationTaken, LevelTooLow
from garbagetruck.cluster.node.recovery.source import Source, reading
from garbagetruck.cluster.node.recovery.stored import StoredSource
from garbagetruck.storage.records import Incarnation

ID_BYTES = 16
SourceT = TypeVar("SourceT", Source, StoredSource)


@dataclass(frozen=True, slots=True)
class Restored(Generic[SourceT]):
    """What became of it."""

    cluster_id: str
    incarnation: int
    node_id: str
    """The founding node."""
    data_dir: Path
    source: SourceT
    """Its state is that of the new incarnation by now."""
    holds: Summary
    """What was restored."""
    claims_voided: int
    """Cleanups that were under way. Each counts as an attempt."""
    wait_ms: int
    """How long nothing is cleaned after an operator has resumed cleanups."""


def restore(
    settings: NodeSettings,
    source: Path,
    *,
    random: Random,
    data_dir: Path | None = None,
    incarnation: int | None = None,
) -> Restored[Source]:
    """Restore the cluster of `settings` from the data folder `source`, founded by the node of `settings`.

    `data_dir` stands in for `node.data_dir`; `incarnation` is the next by default. `random` is a `SystemRandom`. Takes as
    long as a start of that node would. Raises RecoveryError.
    """
    check_level(settings, RESTORED_LEVEL)
    folder = settings.node.data_dir if data_dir is None else data_dir
    target.refuse_taken(folder, source=source)
    with reading(
        source, cluster_id=settings.cluster.id, skip=skipped(settings), level=settings.node.feature_level
    ) as found:
        number = _choose(incarnation, found)
        # Without the level, the next incarnation's first leader with a storage draws the id.
        known = settings.node.feature_level >= IDENTIFIED_LEVEL
        life = Incarnation(number, random.randbytes(ID_BYTES).hex() if known else "")
        told = f"the disk of {found.identity.node_id} at entry {found.last_index}"
        return begin(settings, found, life, random=random, folder=folder, told=told)


def begin(
    settings: NodeSettings,
    found: SourceT,
    life: Incarnation,
    *,
    random: Random,
    folder: Path,
    told: str,
) -> Restored[SourceT]:
    """Make what was found the first state of `life`, and write the folder of the node that founds it. Raises RecoveryError.

    `told` says for people what it is restored from.
    """
    identity = NodeIdentity(
        cluster_id=settings.cluster.id,
        node_id=settings.node.id,
        disk_id=random.randbytes(ID_BYTES).hex(),
        incarnation=life.number,
        has_journal=False,
    )
    claims = Queries(found.state).summary().claimed
    founder = _founder(settings, identity)
    begin_incarnation(found.state, life.number, (founder,), source=told, incarnation_id=life.id)
    # One entry further, so that no two incarnations have two states at one index.
    beginning = target.Beginning(found.state, random.randbytes(ID_BYTES).hex(), found.last_index + 1, found.term)
    target.write(folder, identity, beginning)
    return _told(identity, folder, found, claims)


def check_level(settings: NodeSettings, needed: int) -> None:
    """Raises LevelTooLow."""
    if settings.node.feature_level < needed:
        raise LevelTooLow(
            f"node.feature_level is {settings.node.feature_level}, and a restored state needs {needed}: set it to that, or"
            " more"
        )


def skipped(settings: NodeSettings) -> dict[int, int]:
    """Entries that are not to be applied, by index, with their checksums."""
    return {each.index: each.checksum for each in settings.node.skip_entries}


def _choose(wanted: int | None, found: Source) -> int:
    known = max(found.identity.incarnation, found.state.incarnation)
    chosen = known + 1 if wanted is None else wanted
    if chosen <= known:
        raise IncarnationTaken(
            f"incarnation {chosen} is not above {known}, which {found.folder} is of; name a higher one"
        )
    if chosen > INCARNATION_MAX:
        raise IncarnationTaken(f"incarnation {chosen} is above {INCARNATION_MAX}, the highest there is")
    return chosen


def _founder(settings: NodeSettings, identity: NodeIdentity) -> Member:
    """What the node will tell of itself when it starts; its disk is what it is let in by."""
    own = settings.member
    level = settings.node.feature_level
    return Member(own.id, str(own.api), str(own.http), str(own.raft), "", identity.disk_id, level, str(own.peer))


def _told(identity: NodeIdentity, folder: Path, found: SourceT, claims: int) -> Restored[SourceT]:
    state = found.state
    assert state.quarantine is not None, "a restore begins one"
    return Restored(
        cluster_id=identity.cluster_id,
        incarnation=identity.incarnation,
        node_id=identity.node_id,
        data_dir=folder,
        source=found,
        holds=Queries(state).summary(),
        claims_voided=claims,
        wait_ms=state.quarantine.wait_ms,
    )
