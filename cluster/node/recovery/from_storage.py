"""A cluster's next incarnation, from its storage, when every disk is gone.

Duty: `restore_from_storage`: see that the old cluster writes no more, reserve the next incarnation, read what there is, and
write the folder of the node that founds it.

Invariants: of two that restore at once, one reserves and the other is told; what was read is all that the old incarnation
ever wrote there, since it is shut out before that. Must not know: who asks, and any backend.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from garbagetruck.cluster.machine.model import INCARNATION_MAX
from garbagetruck.cluster.machine.restoring import IDENTIFIED_LEVEL
from garbagetruck.cluster.node.archiving.opening import StorageNotInstalled, described, open_storage
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.config.storage_section import StorageSection
from garbagetruck.cluster.node.config.values import Secret
from garbagetruck.cluster.node.recovery import target
from garbagetruck.cluster.node.recovery.errors import (
    IncarnationTaken,
    NothingToRestore,
    SourceAway,
    SourceDamaged,
    SourceStillWritten,
)
from garbagetruck.cluster.node.recovery.restore import ID_BYTES, Restored, begin, check_level, skipped
from garbagetruck.cluster.node.recovery.stored import Plan, Point, StoredSource, plan, read
from garbagetruck.storage import errors as storage_errors
from garbagetruck.storage.directory.place import PREFIX
from garbagetruck.storage.postgres.settings import SCHEMES, PostgresSettings
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import Incarnation, Reservation
from garbagetruck.storage.silence import watch

WATCH_MS_MIN = 5_000
WATCH_INTERVALS = 3
"""An idle cluster archives its clock once a second, or once in `storage.archive_interval` if that is longer."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    source: str
    """`postgresql://…`, or a folder."""
    point: Point
    old_cluster_is_dead: bool = False
    """The caller's word: it is not watched for whether it still writes."""
    incarnation: int | None = None


def is_storage(source: str) -> bool:
    """Whether that is the address, or the folder, of a storage, and not a node's data folder."""
    if source.partition("://")[0] in SCHEMES:
        return True
    return any(Path(source).glob(f"{PREFIX}*/incarnations"))


def restore_from_storage(
    settings: NodeSettings, wanted: Wanted, *, random: Random, data_dir: Path | None = None
) -> Restored[StoredSource]:
    """Restore the cluster of `settings`, founded by the node of `settings`. Raises RecoveryError.

    What is not in the address (password file, schema, timeouts) is as in `settings`. Other parameters as of `restore`.
    """
    check_level(settings, IDENTIFIED_LEVEL)
    folder = settings.node.data_dir if data_dir is None else data_dir
    section = section_of(settings.storage, wanted.source)
    target.refuse_taken(folder, source=section.folder)
    with ThreadPoolExecutor(1, thread_name_prefix="storage") as executor:
        try:
            return asyncio.run(_restore(settings, section, wanted, random, folder, executor))
        except storage_errors.StillWriting as error:
            raise SourceStillWritten(f"{error} (--old-cluster-is-dead)") from error
        except storage_errors.IncarnationTaken as error:
            raise IncarnationTaken(f"{error}: somebody else restores this cluster, or has") from error
        except storage_errors.StorageDamaged as error:
            raise SourceDamaged(str(error)) from error
        except (storage_errors.StorageError, StorageNotInstalled) as error:
            raise SourceAway(str(error)) from error


def section_of(section: StorageSection, source: str) -> StorageSection:
    """The settings of storage, with another place. Raises RecoveryError when it is none."""
    if source.partition("://")[0] not in SCHEMES:
        return replace(section, kind="directory", folder=Path(source).absolute())
    # Who was cut off in the middle of a write is in the way until the server gives him up, after as long.
    patience_ms = section.statement_timeout_ms
    changed = replace(section, kind="postgres", dsn=Secret(source), folder=None, lock_timeout_ms=patience_ms)
    try:
        described(changed)
    except ValueError as error:
        raise SourceAway(str(error)) from None
    return changed


def without_password(source: str) -> str:
    """`source` for people."""
    if source.partition("://")[0] not in SCHEMES:
        return source
    try:
        return PostgresSettings(dsn=source).described
    except ValueError:
        return "that server"


async def _restore(
    settings: NodeSettings,
    section: StorageSection,
    wanted: Wanted,
    random: Random,
    folder: Path,
    executor: ThreadPoolExecutor,
) -> Restored[StoredSource]:
    storage = open_storage(section, settings.cluster.id, executor, who=f"restore by {settings.node.id}")
    assert storage is not None, "a place was named"
    async with storage:
        reserved, found = await _look(storage, wanted.point)
        if not wanted.old_cluster_is_dead:
            watch_ms = max(WATCH_MS_MIN, WATCH_INTERVALS * section.archive_interval_ms)
            await watch(storage, watch_ms, asyncio.sleep)
        life = Incarnation(_choose(wanted.incarnation, reserved), random.randbytes(ID_BYTES).hex())
        await storage.incarnations.reserve(life, by=f"a restore by {settings.node.id}")
        _, found = await _look(storage, wanted.point, before=life.number)  # with the last that came in before
        source = await read(
            storage,
            found,
            wanted.point,
            location=described(section),
            skip=skipped(settings),
            level=settings.node.feature_level,
        )
        told = f"{source.location} at entry {source.last_index}"
        return begin(settings, source, life, random=random, folder=folder, told=told)


async def _look(storage: Storage, point: Point, before: int = INCARNATION_MAX + 1) -> tuple[list[Reservation], Plan]:
    reserved = [each for each in await storage.incarnations.reserved() if each.incarnation.number < before]
    if not reserved:
        others = ", ".join(await storage.cluster_ids()) or "no cluster at all"
        raise NothingToRestore(f"the storage has nothing of cluster {storage.cluster_id}; it has {others}")
    return reserved, await plan(storage, reserved, point)


def _choose(wanted: int | None, reserved: list[Reservation]) -> int:
    highest = reserved[-1].incarnation.number
    chosen = highest + 1 if wanted is None else wanted
    if not highest < chosen <= INCARNATION_MAX:
        raise IncarnationTaken(
            f"incarnation {chosen} is not above {highest}, the highest that is reserved, and at most {INCARNATION_MAX}"
        )
    return chosen
