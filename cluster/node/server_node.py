"""A node that serves: its parts started in order, drained, and stopped in the reverse order.

Duty: the order of things, and readiness.

- Start: handlers, the log (which replays what was applied before), then the listeners, then the node's place in the
  cluster. Clients may knock from the moment the listeners stand; health says when they should.
- Drain: readiness off, no new work, running cleanups to their end, leadership to another node, and then a last copy to
  the storage outside. What is bounded is bounded by `node.drain_timeout`.
- Stop: listeners, then what stands behind them; the log last.

Must not know: signals and exit codes (`lifecycle`), how parts are built (`compose`).
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from garbagetruck.cluster.api.server import ApiServer
from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.registry import HandlerRegistry
from garbagetruck.cluster.node.archiving.service import StorageService
from garbagetruck.cluster.node.cleanup_ledger import NodeLedger
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.directory import MemberDirectory
from garbagetruck.cluster.node.finding import MemberFinder
from garbagetruck.cluster.node.fleet_brake import FleetBrakeMaker
from garbagetruck.cluster.node.gateway import NodeGateway
from garbagetruck.cluster.node.health import Core, Health
from garbagetruck.cluster.node.majority_watch import MajorityWatch
from garbagetruck.cluster.node.membership import MembershipDriver
from garbagetruck.cluster.node.peers.forwarding import Forwarder, ForwardHandler
from garbagetruck.cluster.node.peers.mesh import PeerMesh
from garbagetruck.cluster.node.peers.status import NodeStatusBoard
from garbagetruck.cluster.observe.http import HttpServer

READY_POLL_S = 0.05
STORAGE_DRAIN_S = 5.0
"""How long a draining node tries to leave a copy of everything outside: what it leaves out, the others have."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Handlers, and the executor that runs them while this node leads."""

    registry: HandlerRegistry
    ledger: NodeLedger
    executor: CleanupExecutor
    fleet: FleetBrakeMaker


@dataclass(frozen=True, slots=True)
class Forwarding:
    """The ways between nodes, and the gateway over them."""

    mesh: PeerMesh
    forwarder: Forwarder
    handler: ForwardHandler
    gateway: NodeGateway
    status: NodeStatusBoard


@dataclass(frozen=True, slots=True)
class Membership:
    """Who belongs to the cluster, as this node follows and, while it leads, changes it."""

    directory: MemberDirectory
    driver: MembershipDriver
    finder: MemberFinder


class ServerNode:
    """One node. `start`, then `drain`, then `stop`; `stop` alone is enough, and may be repeated."""

    def __init__(  # noqa: PLR0913  # the whole node comes in here
        self,
        *,
        settings: NodeSettings,
        core: Core,
        cleaning: Cleaning,
        forwarding: Forwarding,
        health: Health,
        api: ApiServer,
        http: HttpServer,
        watch: MajorityWatch,
        membership: Membership,
        storage: StorageService | None,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._settings = settings
        self.core = core
        self.cleaning = cleaning
        self.forwarding = forwarding
        self.health = health
        self.api = api
        self.http = http
        self._watch = watch
        self._on_fatal = on_fatal
        self.membership = membership
        self.storage = storage
        self.removed = core.enrolment.removed
        """Set when the cluster is without this node."""
        self.gone = core.enrolment.gone
        """Set while this node's record is gone, and nobody counts on its vote any more."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: list[Callable[[], Coroutine[Any, Any, None]]] = []
        """How to stop what was started, in the order of starting."""

    async def start(self) -> None:
        """Start everything up to the listeners, and begin to enrol. Raises what opening disk or ports raises."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        core = self.core
        await self.cleaning.registry.start()
        self._started.append(self.cleaning.registry.stop)
        try:
            await core.log.start(core.applier)
        except OSError as error:
            where = f"raft at {self._settings.raft_listen}, journal in {self._settings.node.data_dir}"
            raise OSError(f"{where}: {error}") from error
        self._started.append(core.log.stop)
        self._started.append(core.digests.stop)
        self._started.append(core.chronicler.stop)
        self._started.append(core.leadership.stop)
        if self.storage is not None:
            await self.storage.start()
            self._started.append(self.storage.stop)
        self._started.append(self.cleaning.executor.stop)
        self._started.append(self.membership.driver.stop)
        self._run(self.membership.directory.run(), "address-book")
        try:
            await self.forwarding.mesh.start()
        except OSError as error:
            raise OSError(f"peers at {self._settings.peer_listen}: {error}") from error
        self._started.append(self.forwarding.mesh.stop)
        self._started.append(self.forwarding.forwarder.stop)
        await self.http.start()
        self._started.append(self.http.stop)
        await self.api.start()
        self._started.append(self._stop_api)
        settings = self._settings
        _log.info(
            "listening",
            api=str(settings.api_listen),
            http=str(settings.http_listen),
            raft=str(settings.raft_listen),
            peer=str(settings.peer_listen),
        )
        self._run(self.api.follow_readiness(), "follow-readiness")
        self._run(self._watch.run(), "majority-watch")
        self._run(self.cleaning.fleet.run(), "fleet-brake")
        self._run(self.membership.finder.run(), "member-finder")

    async def become_ready(self) -> None:
        """Return when the cluster has this node's record, and the node can answer. Raises `NotThisClusterError`."""
        await self.core.enrolment.register(self.forwarding.gateway)
        self.membership.directory.settle()
        self._run(self.core.enrolment.keep(self.forwarding.gateway), "tell-more")
        while not self.health.ready:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READY_POLL_S):
                    await self.core.leadership.wait_changed()
        status = self.core.log.status
        _log.info("ready", leader=status.leader, term=status.term, applied_index=self.core.applier.applied_index)

    async def drain(self) -> None:
        """Leave the cluster without anybody noticing, as far as that can be done in a bounded time."""
        timeout_s = self._settings.node.drain_timeout_ms / 1_000
        _log.info("draining", leading=self.core.leadership.leading)
        self.health.drain()
        self.forwarding.gateway.drain()
        await self.api.drain()
        if not await self.cleaning.executor.drain(timeout_s):
            _log.warning("cleanups_cut_off", running=self.cleaning.executor.running)
        if self.core.leadership.leading and len(self.core.log.status.voters) > 1:
            handed_over = await self.core.leadership.hand_over()
            _log.info("leadership_handed_over" if handed_over else "leadership_not_handed_over")
        if self.storage is not None:  # the cluster waits for nobody's copy: it has another leader by now, as a rule
            await self.storage.drain(min(timeout_s, STORAGE_DRAIN_S))
        self.forwarding.handler.drain()

    async def leave(self) -> None:
        """`stop` all but the API, which turns callers away until the process ends, as it must do next."""
        await self.api.leave(self._settings.node.drain_timeout_ms / 1_000)
        self._started.remove(self._stop_api)
        await self.stop()

    async def stop(self) -> None:
        """Stop everything that was started, in reverse order; what one part raises does not keep the others from it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        errors: list[Exception] = []
        while self._started:
            stop = self._started.pop()
            try:
                await stop()
            except Exception as error:  # noqa: BLE001 - raised again below, together
                errors.append(error)
        if errors:
            raise ExceptionGroup("the node did not stop cleanly", errors)

    async def _stop_api(self) -> None:
        await self.api.stop(self._settings.node.drain_timeout_ms / 1_000)

    def _run(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run something for as long as the node does. It must not end by itself: then the node does, too."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_fatal(error)
