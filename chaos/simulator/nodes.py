"""A node of the simulation: the real core, around it what the world models.

Duty: build the parts as the composition root does, start them in the node's process, and let it die and come back with
what its disk kept.
Must not know: clients, faults, what is right.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import override

from garbagetruck.chaos.simulator.links import LinkFabric
from garbagetruck.chaos.simulator.log import SimulatedLog
from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.raft_model import Disk, History, RaftNode
from garbagetruck.chaos.simulator.store import STORE, ObjectStore, StoreHandler
from garbagetruck.chaos.simulator.world import Process, ProcessClock, World
from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.registry import HandlerRegistry, Registered
from garbagetruck.cluster.cleanup.settings import ExecutorSettings, HandlerSettings
from garbagetruck.cluster.machine.features import LEVEL_NEWEST
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.model import Bounds, Member
from garbagetruck.cluster.machine.operations import CreateCluster, Operation, SetBounds
from garbagetruck.cluster.node.applier import Applier, ApplyListener
from garbagetruck.cluster.node.cleanup_ledger import NodeLedger
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.config.settings import ClockSection, QueueSection
from garbagetruck.cluster.node.digests import EVERY_ENTRIES, DigestWatch
from garbagetruck.cluster.node.gateway import NodeGateway
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.node.peers.connection import MessageBounds
from garbagetruck.cluster.node.peers.forwarding import Forwarder, ForwardHandler
from garbagetruck.cluster.node.proposer import Proposer
from garbagetruck.cluster.node.reads import ReadIndex
from garbagetruck.cluster.raft.log import LogStatus

CLOCK_DRIFT_PPM_MAX = 500
CLUSTER_ID = "simulated"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all nodes share."""

    world: World
    network: Network
    fabric: LinkFabric
    store: ObjectStore
    history: History
    rafts: dict[str, RaftNode]
    forwards: bool
    names: tuple[str, ...]
    bounds: Bounds
    clock: ClockSection
    queue: QueueSection
    on_proposed: Callable[[bytes], None]
    on_applied: Callable[["SimulatedNode", Applied], None]


class SimulatedNode(ApplyListener):
    """One life of one node. After `crash`, another one begins with the same disk."""

    def __init__(self, around: Surroundings, name: str, disk: Disk, clock: ProcessClock) -> None:
        self.name = name
        self.disk = disk
        self._around = around
        world = around.world
        self.process = Process(world, name, clock)
        chance = world.random(f"node-{name}-{world.now_ns}")
        self.raft = RaftNode(
            world=world,
            process=self.process,
            network=around.network,
            disk=disk,
            history=around.history,
            peers=around.rafts,
            forwards=around.forwards,
        )
        around.rafts[name] = self.raft
        monotonic_ns = clock.monotonic_ns
        self.log = SimulatedLog(
            process=self.process, raft=self.raft, peers=around.names, on_proposed=around.on_proposed
        )
        self.machine = Machine()
        self.applier = Applier(machine=self.machine, monotonic_ns=monotonic_ns, on_fatal=self._fatal)
        self.clock = ClusterClock(
            monotonic_ns=monotonic_ns, step_ms=around.clock.step_ms, drift_ppm=around.clock.drift_ppm_max
        )
        proposer = Proposer(node_id=name, log=self.log, random=chance)
        self.queue = CommitQueue(
            proposer=proposer,
            clock=self.clock,
            bounds=around.queue,
            on_fatal=self._fatal,
            not_enabled=self.machine.not_enabled,
        )
        self.leadership = Leadership(
            node_id=name,
            log=self.log,
            machine=self.machine,
            proposer=proposer,
            clock=self.clock,
            queue=self.queue,
            settings=around.clock,
            monotonic_ns=monotonic_ns,
            on_fatal=self._fatal,
        )
        self.leadership.open_with(self._opening)
        self.digests = self._watch()
        self._build_cleaning(chance)
        self._build_gateway()
        self.digests.report_through(self.gateway)
        self.applier.listen(self.digests, self.leadership, self.ledger, self)
        self.process.loop.start(self._start())

    @property
    def up(self) -> bool:
        """Whether the process runs: neither dead nor stopped."""
        return self.process.alive and not self.process.paused

    def crash(self) -> None:
        """Die at once: what was not on disk is gone."""
        self.process.kill()
        self.raft.crash()
        self._around.fabric.killed(self.process)

    def fresh_id(self) -> str:
        """An id as a door draws it."""
        return f"{self.name}-{self._ids.getrandbits(80):020x}"

    def target_of(self, parameters: Mapping[str, str]) -> str:
        """The canonical target, as a door completes a cleanup with it."""
        return self.registry.canonical_target(STORE, parameters)

    def _watch(self) -> DigestWatch:
        return DigestWatch(
            node_id=self.name,
            machine=self.machine,
            applied_index=lambda: self.applier.applied_index,
            leading=self.leadership,
            queue=self.queue,
            monotonic_ns=self.process.clock.monotonic_ns,
            on_fatal=self._fatal,
            noted_after_entries=EVERY_ENTRIES,
        )

    def _build_cleaning(self, chance: random.Random) -> None:
        around, monotonic_ns = self._around, self.process.clock.monotonic_ns
        handler = StoreHandler(world=around.world, network=around.network, process=self.process, store=around.store)
        self.registry = HandlerRegistry([Registered(HandlerSettings(name=STORE, kind=STORE, options={}), handler)])
        self.ledger = NodeLedger(
            machine=self.machine,
            queue=self.queue,
            leadership=self.leadership,
            clock=self.clock,
            held=lambda: self.digests.holds_cleanups,
        )
        self.executor = CleanupExecutor(
            node_id=self.name,
            ledger=self.ledger,
            registry=self.registry,
            settings=ExecutorSettings(slots_max=4, attempt_timeout_ms=1_500, observe_timeout_ms=1_000, rest_ms=50),
            monotonic_ns=monotonic_ns,
            random=chance,
            on_fatal=self._fatal,
        )
        self.leadership.observe(self.executor)
        self._ids = chance

    def _build_gateway(self) -> None:
        around = self._around
        addresses = {name: name for name in around.names}
        read_index = ReadIndex(log=self.log, leadership=self.leadership, clock=self.clock)
        bounds = MessageBounds(around.queue.batch_operations_max, around.queue.batch_bytes_max, 256)
        forwarder = Forwarder(link=around.fabric.link(self.process), bounds=bounds, on_fatal=self._fatal)
        handler = ForwardHandler(
            machine=self.machine,
            queue=self.queue,
            leadership=self.leadership,
            read_index=read_index,
            api_addresses=addresses,
            on_report=self.digests.hear,
        )
        around.fabric.handlers[self.name] = (self.process, handler)
        self.gateway = NodeGateway(
            node_id=self.name,
            log=self.log,
            machine=self.machine,
            applier=self.applier,
            clock=self.clock,
            queue=self.queue,
            leadership=self.leadership,
            read_index=read_index,
            forwarder=forwarder,
            api_addresses=addresses,
        )

    async def _start(self) -> None:
        await self.registry.start()
        await self.log.start(self.applier)

    def _opening(self) -> Sequence[Operation]:
        if self.machine.cluster_id:
            return ()
        members = tuple(Member(name, name, name, name, "0", name, LEVEL_NEWEST) for name in self._around.names)
        return (CreateCluster(CLUSTER_ID, 1, members), SetBounds(self._around.bounds))

    def _fatal(self, error: BaseException) -> None:
        self._around.world.fail(f"{self.name} died of a bug: {error!r}")

    @override
    def on_applied(self, applied: Applied) -> None:
        self._around.on_applied(self, applied)

    @override
    def on_restored(self) -> None:
        """The model's log has no snapshots."""

    @override
    def on_progress(self) -> None:
        if self.digests.holds_cleanups:
            self._around.world.fail(f"I3: {self.name} took what is one history for two")

    @override
    def on_status(self, status: LogStatus) -> None:
        """The model tells by itself."""
