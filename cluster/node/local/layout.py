"""A cluster on one machine, as `up` lays it out: addresses, folders, configuration files and `cluster.json`.

Duty: plan the nodes of a folder, write what they are started with, and read what an earlier `up` left there.

::

    DIR/
      cluster.toml    id and size of the cluster, written before any node is started
      cluster.json    what runs: written when every node serves, removed when the next `up` begins
      postgres/       the server of `--postgres embedded`
      files/          what the `file` handler may clean; never touched by `up` itself
      n1.toml  n1.log  n1/    configuration, log and data folder of each node

Invariants: files are replaced whole; nothing that `up` did not write is ever removed.
Must not know: processes.
"""

import fcntl
import json
import os
import shutil
import socket
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

NODES_MAX = 15
PORT_MAX = 65_535
HTTP_PORT_OFFSET = 100
RAFT_PORT_OFFSET = 200
PEER_PORT_OFFSET = 400
HOST = "127.0.0.1"
STORAGES = ("directory", "memory", "postgres")
EMBEDDED = "embedded"

_LOCK = ".lock"
_CLUSTER = "cluster.toml"
_RUNNING = "cluster.json"
_FILES = "files"
_FILE_HANDLER = "file"


class UpError(Exception):
    """The cluster cannot be started as asked; the message says why, and what to do."""


class UpUsageError(UpError):
    """What was asked for makes no sense anywhere; nothing was touched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `up` is told."""

    data_dir: Path
    nodes: int = 3
    base_port: int = 7100
    storage: str = "directory"
    postgres: str = ""
    """Of `storage` postgres: `EMBEDDED`, which is the default, or a server's address."""
    fresh: bool = False
    """Begin with an empty cluster: the nodes' folders of an earlier one are removed, files are not."""
    restart: bool = False
    """Start a node again that ended by itself."""
    file_roots: tuple[Path, ...] = ()
    """Roots of the `file` handler beside `DIR/files`."""
    handlers: Path | None = None
    """A TOML file with `[handlers.NAME]` tables to register beside `file`, and that one's bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalNode:
    """One planned node."""

    id: str
    api: str
    http: str
    raft: str
    peer: str
    data_dir: Path
    config: Path
    log: Path
    bootstrap: bool
    """Whether its folder is new, and was never part of a cluster that served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCluster:
    """A planned cluster."""

    cluster_id: str
    folder: Path
    nodes: tuple[LocalNode, ...]


def check(options: UpOptions) -> None:
    """Look at the options alone, before anything is made. Raises `UpUsageError`."""
    if options.storage not in STORAGES:
        raise UpUsageError(f"--storage {options.storage} is not known; choose one of {', '.join(STORAGES)}")
    if options.postgres and options.storage != "postgres":
        raise UpUsageError(f"--postgres {EMBEDDED} or an address goes with --storage postgres")
    if not 1 <= options.nodes <= NODES_MAX:
        raise UpUsageError(f"--nodes {options.nodes} is out of bounds; choose from 1 to {NODES_MAX}, 3 or 5 best")
    base_port_max = PORT_MAX - PEER_PORT_OFFSET - options.nodes
    if not 1 <= options.base_port <= base_port_max:
        raise UpUsageError(f"--base-port {options.base_port} is out of bounds; choose from 1 to {base_port_max}")
    for root in options.file_roots:
        if not root.is_dir():
            raise UpUsageError(f"--file-root {root} is not a folder; make it first, or name another")


def plan(options: UpOptions, *, new_cluster_id: str) -> LocalCluster:
    """Decide what to start, keeping what an earlier `up` decided for this folder. Raises `UpError`."""
    folder = options.data_dir.absolute()
    earlier = None if options.fresh else _earlier(folder)
    served = (folder / _RUNNING).exists() or (earlier is not None and earlier["served"])
    if earlier is not None and earlier["nodes"] != options.nodes:
        raise UpError(
            f"{folder} holds a cluster of {earlier['nodes']} nodes, and {options.nodes} were asked for;"
            f" use --nodes {earlier['nodes']}, another --data-dir, or --fresh to begin anew"
        )
    nodes = tuple(_node(options, folder, number, served=served) for number in range(1, options.nodes + 1))
    return LocalCluster(cluster_id=earlier["id"] if earlier is not None else new_cluster_id, folder=folder, nodes=nodes)


def prepare(cluster: LocalCluster, options: UpOptions, storage: Mapping[str, object] | None = None) -> None:
    """Write what the nodes are started with; `storage` is their table of that name. Raises `UpError`."""
    folder = cluster.folder
    try:
        if options.fresh:
            _remove_earlier(folder)
        served = not any(node.bootstrap for node in cluster.nodes)
        _write_cluster(cluster, served=served)
        (folder / _RUNNING).unlink(missing_ok=True)
        (folder / _FILES).mkdir(exist_ok=True)
        for node in cluster.nodes:
            _write_whole(node.config, tomlkit.dumps(_config_of(cluster, node, options, storage)))
    except OSError as error:
        raise UpError(f"{folder} cannot be written: {error.strerror}; name another --data-dir") from error


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep every other `up` out of this folder. Raises `UpError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("a")
    except OSError as error:
        raise UpError(f"{folder} cannot be used: {error.strerror}; name another --data-dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UpError(f"another `up` runs in {folder}; stop it first, or name another --data-dir") from error
        yield


def announce(cluster: LocalCluster, pids: Mapping[str, int]) -> None:
    """Write `cluster.json`: every node serves."""
    content = {
        "cluster_id": cluster.cluster_id,
        "supervisor_pid": os.getpid(),
        "nodes": [
            {
                "id": node.id,
                "pid": pids[node.id],
                "api": node.api,
                "http": node.http,
                "raft": node.raft,
                "peer": node.peer,
                "data_dir": str(node.data_dir),
                "config": str(node.config),
                "log": str(node.log),
            }
            for node in cluster.nodes
        ],
    }
    _write_cluster(cluster, served=True)
    _write_whole(cluster.folder / _RUNNING, json.dumps(content, indent=1) + "\n")


def check_ports(cluster: LocalCluster) -> None:
    """Raise `UpError` that names every address of the plan that is taken."""
    taken = [
        f"{address} ({node.id}'s {part})"
        for node in cluster.nodes
        for part, address in (("api", node.api), ("http", node.http), ("raft", node.raft), ("peer", node.peer))
        if not _is_free(address)
    ]
    if taken:
        raise UpError(
            f"in use already: {', '.join(taken)}; stop what listens there{_still_running(cluster.folder)},"
            " or choose other ports with --base-port"
        )


def _node(options: UpOptions, folder: Path, number: int, *, served: bool) -> LocalNode:
    node_id = f"n{number}"
    data_dir = folder / node_id
    return LocalNode(
        id=node_id,
        api=f"{HOST}:{options.base_port + number}",
        http=f"{HOST}:{options.base_port + HTTP_PORT_OFFSET + number}",
        raft=f"{HOST}:{options.base_port + RAFT_PORT_OFFSET + number}",
        peer=f"{HOST}:{options.base_port + PEER_PORT_OFFSET + number}",
        data_dir=data_dir,
        config=folder / f"{node_id}.toml",
        log=folder / f"{node_id}.log",
        bootstrap=options.fresh or (not served and not (data_dir / "node.json").exists()),
    )


def _earlier(folder: Path) -> dict[str, Any] | None:
    """What `cluster.toml` says, None when there is no cluster in this folder."""
    path = folder / _CLUSTER
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UpError(f"{path} cannot be read ({error}); bring it back, or use --fresh to begin anew") from error
    types: dict[str, type] = {"id": str, "nodes": int, "served": bool}
    if set(content) != set(types) or any(type(content[name]) is not kind for name, kind in types.items()):
        raise UpError(f"{path} is not what `up` writes; bring it back, or use --fresh to begin anew")
    return content


def _config_of(
    cluster: LocalCluster, node: LocalNode, options: UpOptions, storage: Mapping[str, object] | None
) -> dict[str, Any]:
    return {
        "cluster": {
            "id": cluster.cluster_id,
            "members": [
                {"id": each.id, "api": each.api, "http": each.http, "raft": each.raft, "peer": each.peer}
                for each in cluster.nodes
            ],
        },
        "node": {"id": node.id, "data_dir": str(node.data_dir)},
        "storage": storage or {"kind": options.storage},
        "log": {"format": "json"},
        "handlers": _handlers(cluster.folder, options),
    }


def _handlers(folder: Path, options: UpOptions) -> dict[str, Any]:
    tables = _more_handlers(options)
    file = tables.pop(_FILE_HANDLER, {})
    return {**tables, _FILE_HANDLER: {**file, "roots": _roots(folder, options.file_roots)}}


def _more_handlers(options: UpOptions) -> dict[str, Any]:
    if options.handlers is None:
        return {}
    try:
        content = tomllib.loads(options.handlers.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UpError(f"--handlers {options.handlers} cannot be read: {error}") from error
    tables = content.get("handlers", {})
    if set(content) != {"handlers"} or not isinstance(tables, dict):
        raise UpError(f"--handlers {options.handlers} must hold [handlers.NAME] tables and nothing else")
    file = tables.get(_FILE_HANDLER, {})
    if not isinstance(file, dict) or "roots" in file or file.get("kind", _FILE_HANDLER) != _FILE_HANDLER:
        raise UpError(
            f"--handlers {options.handlers}: [handlers.file] is the handler of this cluster's files; it may set"
            " attempt_timeout and slots, and more roots are given with --file-root"
        )
    return tables


def _roots(folder: Path, more: Sequence[Path]) -> dict[str, str]:
    """Every root under a name of its own: its last part, numbered where that is taken."""
    roots = {_FILES: str(folder / _FILES)}
    for root in more:
        name = wanted = root.absolute().name
        number = 2
        while name in roots:
            name, number = f"{wanted}-{number}", number + 1
        roots[name] = str(root.absolute())
    return roots


def _write_cluster(cluster: LocalCluster, *, served: bool) -> None:
    content = {"id": cluster.cluster_id, "nodes": len(cluster.nodes), "served": served}
    _write_whole(cluster.folder / _CLUSTER, tomlkit.dumps(content))


def _remove_earlier(folder: Path) -> None:
    """Remove the nodes of an earlier `up`, and nothing else. Without its `cluster.toml` there is no earlier `up`."""
    if not (folder / _CLUSTER).exists():
        return
    (folder / _RUNNING).unlink(missing_ok=True)
    for number in range(1, NODES_MAX + 1):
        data_dir = folder / f"n{number}"
        if (data_dir / "node.json").exists():
            shutil.rmtree(data_dir)
        for suffix in (".toml", ".log"):
            (folder / f"n{number}{suffix}").unlink(missing_ok=True)
    (folder / _CLUSTER).unlink()


def _write_whole(path: Path, content: str) -> None:
    unfinished = path.with_name(f".{path.name}.tmp")
    with unfinished.open("w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)


def _is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


def _still_running(folder: Path) -> str:
    """Name the processes of an earlier `up` that are alive, since they are the likeliest to hold the ports."""
    try:
        content = json.loads((folder / _RUNNING).read_text(encoding="utf-8"))
        pids = [content["supervisor_pid"], *(node["pid"] for node in content["nodes"])]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    alive = [str(pid) for pid in pids if isinstance(pid, int) and Path(f"/proc/{pid}").exists()]
    return f" (an earlier cluster in this folder has live processes: {', '.join(alive)})" if alive else ""
