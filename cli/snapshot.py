"""`garbagetruck snapshot ...`: the snapshots on a node's disk, and a cluster restored from one node's data folder."""

import datetime as dt
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from garbagetruck.cli.config import load
from garbagetruck.cli.exits import Exit
from garbagetruck.cli.flags import CONFIRMATION, LOCAL
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import Column, Fields, note, print_done, print_list, print_rows

if TYPE_CHECKING:
    from garbagetruck.cluster.node.recovery.errors import RecoveryError
    from garbagetruck.cluster.node.recovery.restore import Restored
    from garbagetruck.cluster.node.recovery.snapshots import LocalSnapshot

app = typer.Typer(help="Look at snapshots, and restore a cluster after a disaster.", no_args_is_help=True)

INCARNATION_MAX = 8_191
COLUMNS = (
    Column("INDEX", lambda row: row["index"]),
    Column("TERM", lambda row: row["term"]),
    Column("INCARNATION", lambda row: row["incarnation"]),
    Column("WRITTEN AT", lambda row: row["written_at"]),
    Column("BYTES", lambda row: row["size_bytes"]),
    Column("DAMAGE", lambda row: row["damage"]),
    Column("CLUSTER", lambda row: row["cluster_id"], wide=True),
    Column("FILE", lambda row: row["file"], wide=True),
)
VERIFIED = (
    Column("FILE", lambda row: row["file"]),
    Column("INDEX", lambda row: row["index"]),
    Column("LEASES", lambda row: row["leases"]),
    Column("RESOURCES", lambda row: row["resources"]),
    Column("DAMAGE", lambda row: row["damage"]),
    Column("AT OFFSET", lambda row: row["offset"]),
)
REPORT = (Column("RESTORED", lambda row: row["what"]), Column("", lambda row: row["value"]))


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="snapshot")


@command(app, "list", common=LOCAL, examples=["garbagetruck snapshot list --data-dir /var/lib/garbagetruck"])
def list_(
    invocation: Invocation,
    data_dir: Annotated[Path, typer.Option("--data-dir", metavar="DIR", help="A node's data folder, served or not.")],
) -> None:
    """List the snapshots on a node's disk, the newest first. Only their headers are read."""
    from garbagetruck.cluster.node.recovery.snapshots import glance

    rows = [_snapshot(each) for each in _look(data_dir, glance)]
    print_list(invocation.output, "snapshots", rows, COLUMNS, "file", "")


@command(
    app,
    "verify",
    common=LOCAL,
    examples=[
        "garbagetruck snapshot verify --data-dir /var/lib/garbagetruck",
        "garbagetruck snapshot verify --data-dir 00000000000000104231.snap -o json",
    ],
)
def verify(
    invocation: Invocation,
    data_dir: Annotated[
        Path,
        typer.Option("--data-dir", metavar="DIR|FILE", help="A node's data folder, served or not; or one snapshot."),
    ],
) -> None:
    """Read snapshots whole, and say whether each is what was written. Ends with 1 when one is not."""
    from garbagetruck.cluster.node.recovery.snapshots import verify as read_all

    found = _look(data_dir, read_all)
    print_list(invocation.output, "snapshots", [_snapshot(each) for each in found], VERIFIED, "file", "")
    if any(each.damage for each in found):
        raise typer.Exit(Exit.REFUSED)


@command(
    app,
    "restore",
    flags=[CONFIRMATION],
    common=LOCAL,
    examples=[
        "garbagetruck snapshot restore --from /var/lib/garbagetruck --config n1.toml --data-dir /var/lib/garbagetruck-2",
        "garbagetruck snapshot restore --from /mnt/n3 --config n1.toml --incarnation 4 --yes -o json",
    ],
)
def restore(
    invocation: Invocation,
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            envvar="GARBAGETRUCK_SNAPSHOT_RESTORE_FROM",
            metavar="DATA_DIR",
            help="Data folder of a node whose cluster has lost its majority for good. It is only read.",
        ),
    ],
    config: Annotated[
        Path, typer.Option("--config", metavar="FILE", help="Configuration of the node that begins anew, alone.")
    ],
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="The new, empty folder. Default: node.data_dir of --config."),
    ] = None,
    incarnation: Annotated[
        int | None,
        typer.Option(
            "--incarnation",
            min=1,
            max=INCARNATION_MAX,
            metavar="N",
            help="Number of the cluster's next life. Default: one above that of the folder.",
        ),
    ] = None,
) -> None:
    """Begin a cluster's next life with what one node's disk holds, when a majority of its disks is gone for good.

    Nothing is deleted by it: cleanups are paused until you resume them, and every lease has its full TTL again.
    """
    settings = load(config, []).settings
    from garbagetruck.cluster.node.recovery.errors import RecoveryError
    from garbagetruck.cluster.node.recovery.restore import restore as begin_again

    invocation.confirm(
        f"Cluster {settings.cluster.id} begins another life with what {source} holds: what only other disks hold is given"
        " up, and nodes of its earlier lives are shut out for ever."
    )
    try:
        restored = begin_again(
            settings, source, random=random.SystemRandom(), data_dir=data_dir, incarnation=incarnation
        )
    except RecoveryError as error:
        _give_up(error)
    except OSError as error:
        note(f"Error: {error}")
        raise typer.Exit(Exit.REFUSED) from error
    _report(invocation, restored, config)


def _report(invocation: Invocation, restored: "Restored", config: Path) -> None:
    fields = _restored(restored, config)
    if invocation.output in {"table", "wide"}:
        rows = [{"what": key.replace("_", " "), "value": value} for key, value in _flat(fields)]
        print_rows(invocation.output, rows, REPORT, "what")
        note(fields["may_be_missing"])
        for step, each in enumerate(fields["next"], start=1):
            note(f"{step}. {each}")
    else:
        print_done(invocation.output, fields, "data_dir", "")


def _flat(fields: Fields) -> list[tuple[str, object]]:
    plain = [(key, value) for key, value in fields.items() if not isinstance(value, dict | list)]
    source = [(f"from_{key}", value) for key, value in fields["source"].items()]
    return [*source, *((key, value) for key, value in plain if key != "may_be_missing")]


def _restored(restored: "Restored", config: Path) -> dict[str, Any]:
    source, holds = restored.source, restored.holds
    return {
        "cluster_id": restored.cluster_id,
        "incarnation": restored.incarnation,
        "node_id": restored.node_id,
        "data_dir": str(restored.data_dir),
        "source": {
            "data_dir": str(source.folder),
            "node_id": source.identity.node_id,
            "incarnation": source.identity.incarnation,
            "last_index": source.last_index,
            "commit_index": source.commit_index,
            "term": source.term,
            "clock_ms": source.state.clock_ms,
            "written_at": _time(source.written_s),
        },
        "leases": holds.leases,
        "sessions": holds.sessions,
        "resources": holds.resources,
        "orphaned": holds.orphaned,
        "due": holds.due,
        "dead_letters": holds.dead_letter,
        "claims_voided": restored.claims_voided,
        "entries_beyond_commit": source.entries_beyond_commit,
        "wait_ms": restored.wait_ms,
        "may_be_missing": _missing(restored),
        "next": _next(restored, config),
    }


def _next(restored: "Restored", config: Path) -> list[str]:
    wait = f"cleanups begin {restored.wait_ms} ms of cluster time after that"
    join = f"serve --join with an empty folder and cluster.incarnation = {restored.incarnation}"
    return [
        f"garbagetruck serve --config {config}, with node.data_dir = {str(restored.data_dir)!r}: it serves alone",
        "garbagetruck status; lease list; cleanup list: look whether it is what you expect",
        f"garbagetruck cleanup resume --all-namespaces, when holders and handlers are back; {wait}",
        f"garbagetruck member add, then {join}, for each other node",
    ]


def _missing(restored: "Restored") -> str:
    source = restored.source
    beyond = source.entries_beyond_commit
    taken = (
        f" {beyond} entries of it were not known there to be committed, and were taken: whoever waited for them may have"
        " been told otherwise."
        if beyond
        else ""
    )
    return (
        f"What the other nodes acknowledged after entry {source.last_index}, and {source.identity.node_id} never got, is"
        f" missing; it last wrote at {_time(source.written_s)}.{taken}"
    )


def _look(where: Path, read: Any) -> list["LocalSnapshot"]:
    from garbagetruck.cluster.node.recovery.errors import RecoveryError
    from garbagetruck.cluster.node.recovery.snapshots import find

    try:
        return [seen for path in find(where) if (seen := read(path)) is not None]
    except RecoveryError as error:
        _give_up(error)
    except OSError as error:
        note(f"Error: {error}")
        raise typer.Exit(Exit.REFUSED) from error


def _snapshot(snapshot: "LocalSnapshot") -> Fields:
    header = snapshot.header
    return {
        "file": str(snapshot.path),
        "index": header and header.index,
        "term": header and header.term,
        "incarnation": header and header.incarnation,
        "cluster_id": header and header.cluster_id,
        "snapshot_id": header and header.snapshot_id,
        "size_bytes": snapshot.size_bytes,
        "written_at": _time(snapshot.written_s),
        "clock_ms": snapshot.clock_ms,
        "leases": snapshot.leases,
        "resources": snapshot.resources,
        "damage": snapshot.damage,
        "offset": snapshot.offset,
    }


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")


def _give_up(error: "RecoveryError") -> NoReturn:
    """Say what is in the way, and end with the code of its kind."""
    from garbagetruck.cluster.node.recovery import errors

    note(f"Error: {error}")
    match error:
        case errors.NothingToRestore():
            code = Exit.NOT_FOUND
        case errors.SourceInUse() | errors.SourceForeign() | errors.TargetTaken() | errors.IncarnationTaken():
            code = Exit.PRECONDITION
        case _:
            code = Exit.REFUSED
    raise typer.Exit(code) from error
