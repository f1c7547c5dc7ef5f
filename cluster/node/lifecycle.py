"""One process's life as a node: from its settings to its exit code.

Duty: `serve`. Open the folder, build the node, run it until a signal, drain, stop, and say how it ended.

- SIGTERM or SIGINT drains; a second one ends the process at once.
- What a part cannot survive ends the process at once, too, with one last line, and `EXIT_BUG`, `EXIT_DAMAGED` or `EXIT_DISK`:
  nothing is tried that might acknowledge, expire or clean anything more.

Threads are made here only: the Raft thread, one for snapshots, a few for the handlers' blocking calls, and for the storage's;
and, by a way that is handed out from here, one for each handler that is a plug-in.
Must not know: what the parts do.
"""

import asyncio
import gc
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Never, TypeVar

import structlog

from garbagetruck.cluster.cleanup.settings import HandlerSettingsError
from garbagetruck.cluster.node.address_book import AddressBook
from garbagetruck.cluster.node.archiving.opening import StorageNotInstalled
from garbagetruck.cluster.node.bootstrap import NotThisClusterError
from garbagetruck.cluster.node.compose import compose
from garbagetruck.cluster.node.config.loading import LoadedSettings
from garbagetruck.cluster.node.endings import EntryNotApplied, EntryTooNew, StateDiverged
from garbagetruck.cluster.node.handlers import problem_of
from garbagetruck.cluster.node.identity import DataFolder, IdentityError, NodeIdentity
from garbagetruck.cluster.node.logs import configure_logs
from garbagetruck.cluster.node.server_node import ServerNode
from garbagetruck.cluster.node.world import SYSTEM_CLOCKS, Clocks, World
from garbagetruck.cluster.raft.disk import REAL_DISK, Disk
from garbagetruck.cluster.raft.errors import DiskFailed, FoundedTwice, RaftError, StorageRefused

EXIT_DONE = 0
EXIT_REFUSED = 1
EXIT_DAMAGED = 65
"""What lies in the data folder must not be served. This and the next two as in sysexits.h."""
EXIT_BUG = 70
"""Something broke inside."""
EXIT_DISK = 74
"""The disk refused to write or to read."""
EXIT_KILLED = 130

NOBODY_TO_JOIN = (
    "cluster.members names nobody but this node, which so has nobody to join; name the members that `garbagetruck member"
    " list` shows, and this node"
)
TAKE_LEAVE_S_MAX = 20.0
"""How long a node that was removed waits to hear that its record is gone: the leader may be starting again, or may have
stopped talking to it before it could hear."""
BLOCKING_THREADS = 8
"""For handlers' calls to the file system. More cleanups at once wait for one."""
STORAGE_THREADS = 2
GC_THRESHOLDS = (50_000, 20, 50)
"""What is left to the collector is what calls leave behind; the machine's records are invisible to it."""

ResultT = TypeVar("ResultT")

_log = structlog.get_logger(__name__)


class SettingsRefusedError(Exception):
    """A part of the node does not take its settings."""


def serve(
    loaded: LoadedSettings,
    *,
    bootstrap: bool,
    join: bool = False,
    environ: Mapping[str, str],
    disk: Disk = REAL_DISK,
    clocks: Clocks = SYSTEM_CLOCKS,
) -> int:
    """Run one node until it is told to stop, and end the process. The answer is the exit code of one that could not serve.

    `bootstrap` makes an empty folder that of a founder of a new cluster, `join` that of a node of a cluster there is.
    `disk` and `clocks` are for those who hurt nodes on purpose.

    Configures logging and installs signal handlers: for the main thread of a process of its own.
    """
    settings = loaded.settings
    configure_logs(
        level=settings.log.level, log_format=settings.log.format, node_id=settings.node.id, wall_ns=clocks.wall_ns
    )
    collect_rarely()
    for warning in loaded.warnings:
        _log.warning("settings", warning=warning)
    if join and not settings.peers:
        _log.critical("refused", reason=NOBODY_TO_JOIN)
        return EXIT_REFUSED
    folder = DataFolder(settings.node.data_dir)
    try:
        with folder:
            disk_id = random.SystemRandom().randbytes(16).hex()
            identity = folder.open(
                cluster_id=settings.cluster.id,
                node_id=settings.node.id,
                bootstrap_disk_id=disk_id if bootstrap else None,
                join_disk_id=disk_id if join else None,
                join_incarnation=settings.cluster.incarnation,
            )
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(_run(loaded, identity, folder, environ, disk, clocks))
    except IdentityError as error:
        _log.critical("refused", reason=str(error))
    except HandlerSettingsError as error:
        _log.critical("refused", reason=str(problem_of(error)))
    except (NotThisClusterError, FoundedTwice, SettingsRefusedError, StorageNotInstalled) as error:
        _log.critical("refused", reason=str(error))
    except StorageRefused as error:
        _log.critical("storage_refused", reason=str(error))
        return EXIT_DAMAGED
    except DiskFailed as error:
        _log.critical("disk_failed", reason=str(error))
        return EXIT_DISK
    except (OSError, RaftError) as error:
        _log.critical("cannot_start", reason=str(error))
    return EXIT_REFUSED


async def _run(
    loaded: LoadedSettings,
    identity: NodeIdentity,
    folder: DataFolder,
    environ: Mapping[str, str],
    disk: Disk,
    clocks: Clocks,
) -> Never:
    """Serve, drain, and end the process. Raises what keeps the node from serving."""
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="blocking")
    snapshot_pool = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
    storage_pool = ThreadPoolExecutor(STORAGE_THREADS, thread_name_prefix="storage")

    def run_blocking(call: Callable[[], ResultT], /) -> asyncio.Future[ResultT]:
        return loop.run_in_executor(pool, call)

    world = World(
        monotonic_ns=clocks.monotonic_ns,
        boottime_ns=clocks.boottime_ns,
        random=random.SystemRandom(),
        make_thread=lambda target, name: threading.Thread(target=target, name=name, daemon=True),
        run_blocking=run_blocking,
        snapshot_executor=snapshot_pool,
        storage_executor=storage_pool,
        environ=environ,
        on_fatal=die,
        disk=disk,
        wall_ns=clocks.wall_ns,
    )
    node = _compose(loaded, identity, folder, world)
    for difference in node.membership.directory.differences():
        _log.warning("settings", warning=difference)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, number, stop)
    try:
        removed = await _serve_until(stop, node, folder, identity)
        await node.drain()
        if removed:
            await _take_leave(stop, node.gone)
            folder.note_removal(identity)
        await node.leave()
    except BaseException:
        await node.stop()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        snapshot_pool.shutdown()
        storage_pool.shutdown(wait=False, cancel_futures=True)
    if removed:
        reason = f"node {identity.node_id} was removed from cluster {identity.cluster_id}"
        _log.critical("removed", reason=f"{reason}; nothing is served from {folder.path} any more")
    else:
        _log.info("stopped")
    _end(EXIT_REFUSED if removed else EXIT_DONE)


def _compose(loaded: LoadedSettings, identity: NodeIdentity, folder: DataFolder, world: World) -> ServerNode:
    """Build the node. Raises `SettingsRefusedError` for what a part refuses of its settings, and what else `compose` raises."""
    page = AddressBook(folder.path).load()
    try:
        return compose(loaded.settings, identity, folder, world, page)
    except HandlerSettingsError:
        raise
    except ValueError as error:  # settings by themselves were checked; these do not go with what the folder holds
        raise SettingsRefusedError(str(error)) from error


async def _serve_until(stop: asyncio.Event, node: ServerNode, folder: DataFolder, identity: NodeIdentity) -> bool:
    """Start, enrol, and wait for the signal, or for the node's removal; both may come at any moment in between.

    Whether it was the removal.
    """
    await node.start()
    identity = folder.note_journal(identity)
    stopping = asyncio.ensure_future(stop.wait())
    becoming_ready = asyncio.ensure_future(node.become_ready())
    removal = asyncio.ensure_future(node.removed.wait())
    waits = {stopping, becoming_ready, removal}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if becoming_ready.done() and not removal.done():
            becoming_ready.result()
            spare_what_is_built()
            await asyncio.wait({stopping, removal}, return_when=asyncio.FIRST_COMPLETED)
        return removal.done()
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _take_leave(stop: asyncio.Event, gone: asyncio.Event) -> None:
    """Having been removed, serve nobody, but go on answering for Raft for a while.

    Until the removal is sealed a restart may have others ask for this node's vote again; the leader lets the
    record go afterwards. A signal ends the waiting, too.
    """
    _log.info("taking_leave", at_most_s=TAKE_LEAVE_S_MAX)
    waits = {asyncio.ensure_future(stop.wait()), asyncio.ensure_future(gone.wait())}
    try:
        await asyncio.wait(waits, timeout=TAKE_LEAVE_S_MAX, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def _on_signal(number: signal.Signals, stop: asyncio.Event) -> None:
    if stop.is_set():
        _log.critical("ended_by_a_second_signal", signal=number.name)
        os._exit(EXIT_KILLED)
    _log.info("stopping", signal=number.name)
    stop.set()


def die(error: BaseException) -> Never:
    """End the process now: a part of the node met what it cannot survive, and must not go on wrongly."""
    code = EXIT_BUG
    match error:
        case DiskFailed():
            _log.critical("disk_failed", reason=str(error))
            code = EXIT_DISK
        case EntryTooNew() | StorageRefused():
            _log.critical("too_new" if isinstance(error, EntryTooNew) else "storage_refused", reason=str(error))
            code = EXIT_DAMAGED
        case FoundedTwice():
            _log.critical("refused", reason=str(error))
            code = EXIT_REFUSED
        case StateDiverged():
            _log.critical("state_diverged", reason=str(error))
        case EntryNotApplied():
            _log.error("entry_not_applied", index=error.index, exc_info=error.__cause__)
            _log.critical("node_died", reason=str(error))
        case _:
            _log.critical("node_died", reason=str(error) or type(error).__name__, exc_info=error)
    _end(code)


def _end(code: int) -> Never:
    """End the process now, and with it its connections: what was started and is not stopped needs no farewell."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def collect_rarely() -> None:
    """Before anything is read: a collector that looks at a state again and again while it grows takes a quarter of the time."""
    gc.set_threshold(*GC_THRESHOLDS)


def spare_what_is_built() -> None:
    """Leave what has been built so far out of every later collection: pauses stop heartbeats."""
    gc.collect()
    gc.freeze()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
