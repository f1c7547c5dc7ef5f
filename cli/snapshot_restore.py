"""`garbagetruck snapshot restore`: a cluster's next life, from one node's data folder or from its storage."""

import datetime as dt
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from garbagetruck.cli.config import load
from garbagetruck.cli.exits import Exit
from garbagetruck.cli.flags import CONFIRMATION, LOCAL
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import note
from garbagetruck.cli.snapshot_report import report

if TYPE_CHECKING:
    from garbagetruck.cluster.node.recovery.errors import RecoveryError
    from garbagetruck.cluster.node.recovery.restore import Restored
    from garbagetruck.cluster.node.recovery.stored import Point

INCARNATION_MAX = 8_191

From = Annotated[
    str,
    typer.Option(
        "--from",
        envvar="GARBAGETRUCK_SNAPSHOT_RESTORE_FROM",
        metavar="DATA_DIR|DSN|DIR",
        help="Data folder of a node whose cluster has lost its majority for good, which is only read; or the storage of"
        " the cluster, postgresql://... or a folder. The password is in storage.password_file of --config.",
    ),
]
Config = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="Configuration of the node that begins anew, alone.")
]
NewFolder = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="The new, empty folder. Default: node.data_dir of --config."),
]
Number = Annotated[
    int | None,
    typer.Option(
        "--incarnation",
        min=1,
        max=INCARNATION_MAX,
        metavar="N",
        help="Number of the cluster's next life. Default: one above the highest that the source knows.",
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="INDEX|TIME", help="Of a storage: no further than that entry, or that moment (ISO 8601)."
    ),
]
Dead = Annotated[
    bool,
    typer.Option(
        "--old-cluster-is-dead",
        help="Of a storage: do not watch whether the old cluster still writes. Without it, that is refused.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the others of `snapshot`."""
    command(
        app,
        "restore",
        flags=[CONFIRMATION],
        common=LOCAL,
        examples=[
            "garbagetruck snapshot restore --from /var/lib/garbagetruck --config n1.toml --data-dir /var/lib/garbagetruck-2",
            "garbagetruck snapshot restore --from postgresql://truck@db/trucks --config n1.toml --yes -o json",
            "garbagetruck snapshot restore --from postgresql://truck@db/trucks --at 2026-03-01T12:30:00+00:00 --config n1.toml",
            "garbagetruck snapshot restore --from /mnt/n3 --config n1.toml --incarnation 4 --yes -o json",
        ],
    )(restore)


def restore(  # noqa: PLR0917  # typer reads flags from parameters
    invocation: Invocation,
    source: From,
    config: Config,
    data_dir: NewFolder = None,
    incarnation: Number = None,
    at: At = None,
    old_cluster_is_dead: Dead = False,
) -> None:
    """Begin a cluster's next life, when a majority of its disks is gone for good: from one node's disk, or from its storage.

    Nothing is deleted by it: cleanups are paused until you resume them, and every lease has its full TTL again.
    """
    settings = load(config, []).settings
    from garbagetruck.cluster.node.recovery.errors import RecoveryError
    from garbagetruck.cluster.node.recovery.from_storage import (
        Wanted,
        is_storage,
        restore_from_storage,
        without_password,
    )
    from garbagetruck.cluster.node.recovery.restore import restore as begin_again

    stored = is_storage(source)
    if not stored and (at is not None or old_cluster_is_dead):
        raise typer.BadParameter("--at and --old-cluster-is-dead are for a storage, and --from is a node's data folder")
    wanted = Wanted(source, _point(at), old_cluster_is_dead, incarnation)
    invocation.confirm(
        f"Cluster {settings.cluster.id} begins another life with what {without_password(source)} holds: what is only"
        " elsewhere is given up, and nodes of its earlier lives are shut out for ever."
    )
    secure = random.SystemRandom()
    restored: Restored[Any]
    try:
        if stored:
            restored = restore_from_storage(settings, wanted, random=secure, data_dir=data_dir)
        else:
            restored = begin_again(settings, Path(source), random=secure, data_dir=data_dir, incarnation=incarnation)
    except RecoveryError as error:
        give_up(error)
    except OSError as error:
        note(f"Error: {error}")
        raise typer.Exit(Exit.REFUSED) from error
    report(invocation, restored, config)


def _point(at: str | None) -> "Point":
    """An index, or a moment; a moment without a zone is that of this machine."""
    from garbagetruck.cluster.node.recovery.stored import Point

    if at is None:
        return Point()
    if at.isdecimal():
        return Point(index=int(at))
    try:
        return Point(wall_ms=int(dt.datetime.fromisoformat(at).astimezone().timestamp() * 1_000))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"--at {at}: neither an index nor a time, as in 2026-03-01T12:30:00+00:00") from error


def give_up(error: "RecoveryError") -> NoReturn:
    """Say what is in the way, and end with the code of its kind."""
    from garbagetruck.cluster.node.recovery import errors

    note(f"Error: {error}")
    match error:
        case errors.NothingToRestore():
            code = Exit.NOT_FOUND
        case (
            errors.SourceInUse()
            | errors.SourceStillWritten()
            | errors.SourceForeign()
            | errors.TargetTaken()
            | errors.IncarnationTaken()
        ):
            code = Exit.PRECONDITION
        case errors.SourceAway():
            code = Exit.UNREACHABLE
        case _:
            code = Exit.REFUSED
    raise typer.Exit(code) from error
