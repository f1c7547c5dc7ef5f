"""`garbagetruck snapshot ...`: snapshots outside the nodes and on their disks, and a cluster restored from them."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from garbagetruck.cli import snapshot_restore, snapshot_rows
from garbagetruck.cli.calling import call, collect
from garbagetruck.cli.config import load
from garbagetruck.cli.exits import Exit
from garbagetruck.cli.flags import MUTATION, PAGING, duration
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import Fields, note, print_done, print_list
from garbagetruck.cli.snapshot_rows import TOLD_S, Progress
from garbagetruck.client import Snapshot, SnapshotCheck, Truck

if TYPE_CHECKING:
    from garbagetruck.cluster.node.recovery.outside import OutsideSnapshot, Where
    from garbagetruck.cluster.node.recovery.snapshots import LocalSnapshot

T = TypeVar("T")

app = typer.Typer(help="Take snapshots and look at them, and restore a cluster after a disaster.", no_args_is_help=True)


def _from(verb: str) -> object:
    return typer.Option(
        "--from",
        envvar=f"GARBAGETRUCK_SNAPSHOT_{verb}_FROM",
        metavar="DATA_DIR|DSN|DIR",
        help="Ask no cluster: look at the storage itself, postgresql://... or a folder; or at a node's data folder. A password"
        " is in storage.password_file of --config, or as libpq has it (PGPASSWORD, PGPASSFILE).",
    )


DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Ask no cluster: look at a node's data folder, served or not."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Of --from: a node's configuration, for what is not in the address."),
]
Cluster = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="ID",
        help="Of --from: whose snapshots. Default: that of --config, or the only one there is.",
    ),
]


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="snapshot")


@command(
    app,
    "create",
    flags=[MUTATION],
    examples=["garbagetruck snapshot create", "garbagetruck snapshot create --node n2 --wait-timeout 1h -o json"],
)
def create(
    invocation: Invocation,
    node: Annotated[str, typer.Option(metavar="ID", help="Whose. Default: the node that answers first.")] = "",
    wait_timeout: Annotated[
        int, duration("--wait-timeout", help="How long to wait at most. The node goes on without.")
    ] = "10m",  # type: ignore[assignment]  # typer parses defaults, too
) -> None:
    """Have a node take a snapshot now, and copy it to the storage outside the nodes; say where it is."""

    async def work(truck: Truck) -> Snapshot:
        taking = asyncio.ensure_future(truck.snapshots.create(node, patience=wait_timeout / 1_000))
        waited_s = 0.0
        while not taking.done():
            await asyncio.wait({taking}, timeout=TOLD_S)
            waited_s += TOLD_S
            if not taking.done():
                note(f"{node or 'the node'} takes a snapshot and copies it ({waited_s:.0f} s so far)")
        return taking.result()

    taken = call(invocation, work)
    sentence = f"snapshot {taken.id} of {taken.node_id}, up to entry {taken.applied_index}: {taken.size_bytes:,} bytes"
    print_done(invocation.output, snapshot_rows.outside(taken), "snapshot_id", f"{sentence} in {taken.location}")


@command(
    app,
    "list",
    flags=[PAGING],
    examples=[
        "garbagetruck snapshot list",
        "garbagetruck snapshot list --from postgresql://truck@db/trucks --config n1.toml -o json",
        "garbagetruck snapshot list --data-dir /var/lib/garbagetruck",
    ],
)
def list_(
    invocation: Invocation,
    source: Annotated[str, _from("LIST")] = "",
    data_dir: DataDir = None,
    config: Config = None,
    cluster: Cluster = "",
) -> None:
    """List the snapshots outside the nodes, those that go furthest first; or those on a node's disk. Only headers are read."""
    place = _place(source, data_dir, config, cluster)
    more = ""
    if place is None:
        rows, more = call(
            invocation, lambda truck: collect(invocation, lambda size: truck.snapshots.list(page_size=size))
        )
        found = [snapshot_rows.outside(each) for each in rows]
    elif isinstance(place, Path):
        from garbagetruck.cluster.node.recovery.snapshots import glance

        local = [snapshot_rows.local(each) for each in _on_disk(place, glance)]
        print_list(invocation.output, "snapshots", local[: invocation.paging.limit], snapshot_rows.LOCAL, "file", "")
        return
    else:
        from garbagetruck.cluster.node.recovery.outside import look

        found = [snapshot_rows.outside_read(each) for each in _read(lambda: look(place))][: invocation.paging.limit]
    print_list(invocation.output, "snapshots", found, snapshot_rows.OUTSIDE, "snapshot_id", more)


@command(
    app,
    "verify",
    examples=[
        "garbagetruck snapshot verify",
        "garbagetruck snapshot verify 5f0c1d7e9a2b4c6d8e0f1a2b3c4d5e6f",
        "garbagetruck snapshot verify --from postgresql://truck@db/trucks --config n1.toml",
        "garbagetruck snapshot verify --data-dir 00000000000000104231.snap -o json",
    ],
)
def verify(
    invocation: Invocation,
    snapshot_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which, of those outside the nodes. Default: all.")
    ] = None,
    source: Annotated[str, _from("VERIFY")] = "",
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", metavar="DIR|FILE", help="Ask no cluster: a node's data folder, or one snapshot of it."
        ),
    ] = None,
    config: Config = None,
    cluster: Cluster = "",
) -> None:
    """Read snapshots whole, and say whether each is what was written. Ends with 1 when one is not.

    A node that is asked compares every chunk, and all of them together. With --from or --data-dir, the state is made from them
    here, too, and its digest compared.
    """
    place = _place(source, data_dir, config, cluster)
    ids = list(snapshot_ids or [])
    if isinstance(place, Path):
        if ids:
            raise typer.BadParameter("ID is of a snapshot outside the nodes; of a node's disk, name the file")
        from garbagetruck.cluster.node.recovery.snapshots import verify as read_all

        found = [snapshot_rows.local(each) for each in _on_disk(place, read_all)]
        print_list(invocation.output, "snapshots", found, snapshot_rows.LOCAL_VERIFIED, "file", "")
    else:
        found = _verified_by_a_node(invocation, ids) if place is None else _verified_here(place, ids)
        print_list(invocation.output, "snapshots", found, snapshot_rows.OUTSIDE_VERIFIED, "snapshot_id", "")
    if any(each["damage"] for each in found):
        raise typer.Exit(Exit.REFUSED)


def _verified_by_a_node(invocation: Invocation, ids: list[str]) -> list[Fields]:
    progress = Progress()

    async def check(truck: Truck, snapshot_id: str) -> SnapshotCheck:
        last: SnapshotCheck | None = None
        async for each in truck.snapshots.verify(snapshot_id):
            progress.told(
                snapshot_id, each.chunks_verified, each.snapshot.chunks, each.bytes_verified, each.snapshot.size_bytes
            )
            last = each
        assert last is not None, "a node says at least when it is done"
        return last

    async def work(truck: Truck) -> list[Fields]:
        wanted = ids or [each.id async for each in truck.snapshots.list()]
        return [snapshot_rows.checked(await check(truck, each)) for each in wanted]

    return call(invocation, work)


def _verified_here(place: "Where", ids: list[str]) -> list[Fields]:
    from garbagetruck.cluster.node.recovery.outside import verify as read_all

    progress = Progress()

    def on_step(step: "OutsideSnapshot") -> None:
        stored = step.stored
        progress.told(
            stored.header.snapshot_id, step.chunks_verified, stored.chunks, step.bytes_verified, stored.size_bytes
        )

    return [snapshot_rows.checked_read(each) for each in _read(lambda: read_all(place, ids, on_step))]


def _place(source: str, data_dir: Path | None, config: Path | None, cluster: str) -> "Where | Path | None":
    """A storage, a node's data folder; or None: a cluster is to be asked."""
    if source and data_dir is not None:
        raise typer.BadParameter("--from and --data-dir are two places; name one")
    if (config is not None or cluster) and not source:
        raise typer.BadParameter(
            "--config and --cluster go with --from; without it, the cluster at --endpoints is asked"
        )
    if not source:
        return data_dir
    from garbagetruck.cluster.node.recovery.from_storage import is_storage
    from garbagetruck.cluster.node.recovery.outside import where

    if not is_storage(source):
        return Path(source)
    settings = None if config is None else load(config, []).settings
    section = None if settings is None else settings.storage
    return _read(lambda: where(source, section, cluster or ("" if settings is None else settings.cluster.id)))


def _on_disk(place: Path, read: "Callable[[Path], LocalSnapshot | None]") -> "list[LocalSnapshot]":
    from garbagetruck.cluster.node.recovery.snapshots import find

    return _read(lambda: [seen for path in find(place) if (seen := read(path)) is not None])


def _read(work: Callable[[], T]) -> T:
    """Do what reads a disk or a storage; what is in the way ends the process with its exit code."""
    from garbagetruck.cluster.node.recovery.errors import RecoveryError

    try:
        return work()
    except RecoveryError as error:
        snapshot_restore.give_up(error)
    except OSError as error:
        note(f"Error: {error}")
        raise typer.Exit(Exit.REFUSED) from error


snapshot_restore.register(app)
