"""The composition root: the one place that knows every part of a node and joins them.

Duty: build a node from its settings and identity. Nothing is started here, nothing is opened.
Invariants: every part gets its clock, randomness, threads and peers from here; whatever a part meets that it cannot
survive comes back to one `on_fatal`.
Must not know: in what order things start and stop (`server_node`), signals, exit codes (`lifecycle`).
"""

import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import garbagetruck
from garbagetruck.cluster.api.calls import CallInterceptor, CallLimits
from garbagetruck.cluster.api.door import Door, DoorLimits
from garbagetruck.cluster.api.server import ApiServer, ServerOptions, public_services
from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.running import RunBlocking
from garbagetruck.cluster.cleanup.settings import ExecutorSettings
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.node.applier import NS_PER_S, Applier
from garbagetruck.cluster.node.bootstrap import Enrolment
from garbagetruck.cluster.node.cleanup_ledger import NodeLedger
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.config.checks import raft_settings
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.gateway import NodeGateway
from garbagetruck.cluster.node.handlers import RegistryDoor, registry_of
from garbagetruck.cluster.node.health import Core, Health, LeadershipJournal, facts_of
from garbagetruck.cluster.node.identity import DataFolder, NodeIdentity
from garbagetruck.cluster.node.ids import id_source
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.node.machine_snapshots import MachineSnapshots
from garbagetruck.cluster.node.majority_watch import MajorityWatch
from garbagetruck.cluster.node.peers.connection import MessageBounds
from garbagetruck.cluster.node.peers.forwarding import Forwarder, ForwardHandler
from garbagetruck.cluster.node.peers.mesh import MemberDisks, PeerMesh
from garbagetruck.cluster.node.peers.status import NodeStatusBoard
from garbagetruck.cluster.node.proposer import Proposer
from garbagetruck.cluster.node.reads import ReadIndex
from garbagetruck.cluster.node.server_node import Cleaning, Forwarding, ServerNode
from garbagetruck.cluster.observe.http import HttpServer
from garbagetruck.cluster.observe.metrics import NodeMetrics
from garbagetruck.cluster.raft.replica import Replica
from garbagetruck.cluster.raft.settings import Identity, Member
from garbagetruck.cluster.raft.snapshots.port import Snapshots

FORWARDS_OUTSTANDING_MAX = 4_096
"""Requests under way between two nodes; more wait at the sender's door."""
FORWARD_BYTES_MAX = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside the process's own memory, as far as a node uses it."""

    monotonic_ns: Callable[[], int]
    boottime_ns: Callable[[], int]
    """Monotonic, and counts suspend: for deadlines of effects outside the cluster."""
    random: random.Random
    """A `random.SystemRandom`: lease ids are drawn from it."""
    make_thread: Callable[[Callable[[], None], str], threading.Thread]
    run_blocking: RunBlocking
    snapshot_executor: Executor
    """Of one thread: writes, reads and decodes snapshots."""
    environ: Mapping[str, str]
    on_fatal: Callable[[BaseException], None]
    """Ends the process, promptly and with a failure."""


def compose(settings: NodeSettings, identity: NodeIdentity, folder: DataFolder, world: World) -> ServerNode:
    """Build a node. Raises `HandlerSettingsError` for handlers that cannot be made."""
    machine = Machine()
    # The parts that the metrics look at are counted by them, too: so they are looked up when asked for.
    metrics = NodeMetrics(lambda: facts_of(identity, core, health), lambda: machine)
    core = _core(settings, identity, folder, machine, metrics, world)
    health = Health(core)
    cleaning = _cleaning(settings, identity, core, metrics, world)
    core.leadership.observe(LeadershipJournal(), cleaning.executor)
    core.applier.listen(core.leadership, cleaning.ledger, metrics.log)
    forwarding = _forwarding(settings, identity, core, metrics, world)
    api = _api(
        settings=settings,
        core=core,
        cleaning=cleaning,
        forwarding=forwarding,
        health=health,
        metrics=metrics,
        world=world,
    )
    http = HttpServer(
        settings.http_listen.host,
        settings.http_listen.port,
        lambda: facts_of(identity, core, health),
        lambda: core.machine,
        metrics.exposition,
    )
    return ServerNode(
        settings=settings,
        core=core,
        cleaning=cleaning,
        forwarding=forwarding,
        health=health,
        api=api,
        http=http,
        watch=MajorityWatch(
            node_id=identity.node_id,
            status=lambda: core.log.status,
            data_dir=folder.path,
            monotonic_ns=world.monotonic_ns,
        ),
        on_fatal=world.on_fatal,
    )


def _core(
    settings: NodeSettings,
    identity: NodeIdentity,
    folder: DataFolder,
    machine: Machine,
    metrics: NodeMetrics,
    world: World,
) -> Core:
    """Log, machine, and what decides when this node leads."""
    applier = Applier(
        machine=machine,
        monotonic_ns=world.monotonic_ns,
        on_fatal=world.on_fatal,
        meter=metrics.log.applied_entry,
    )
    log = Replica(
        identity=_raft_identity(identity),
        members=[
            Member(identity.node_id, str(settings.raft_listen)),
            *(Member(peer.id, str(peer.raft)) for peer in settings.peers),
        ],
        founders=[each.id for each in settings.cluster.members],
        folder=folder.raft,
        settings=raft_settings(settings),
        thread_factory=world.make_thread,
        monotonic_ns=world.monotonic_ns,
        random=world.random,
        snapshots=Snapshots(MachineSnapshots(machine, applier, world.snapshot_executor), world.snapshot_executor),
    )
    clock = ClusterClock(
        monotonic_ns=world.monotonic_ns, step_ms=settings.clock.step_ms, drift_ppm=settings.clock.drift_ppm_max
    )
    proposer = Proposer(node_id=identity.node_id, log=log, random=world.random)
    queue = CommitQueue(
        proposer=proposer,
        clock=clock,
        bounds=settings.queue,
        on_fatal=world.on_fatal,
        meter=lambda: _stopwatch(world.monotonic_ns, metrics.log.committed),
        low_on_space=lambda: log.status.low_on_space,
    )
    leadership = Leadership(
        node_id=identity.node_id,
        log=log,
        machine=machine,
        proposer=proposer,
        clock=clock,
        queue=queue,
        settings=settings.clock,
        monotonic_ns=world.monotonic_ns,
        on_fatal=world.on_fatal,
    )
    enrolment = Enrolment(settings=settings, identity=identity, machine=machine, version=garbagetruck.__version__)
    leadership.open_with(enrolment.opening)
    return Core(log, machine, applier, clock, queue, leadership, enrolment)


def _cleaning(
    settings: NodeSettings, identity: NodeIdentity, core: Core, metrics: NodeMetrics, world: World
) -> Cleaning:
    """Handlers, and the executor that runs them while this node leads."""
    registry = registry_of(settings, run_blocking=world.run_blocking, environ=world.environ)
    ledger = NodeLedger(
        machine=core.machine,
        queue=core.queue,
        leadership=core.leadership,
        clock=core.clock,
        proved_within_ms=settings.raft.election_timeout_ms_max,
    )
    executor = CleanupExecutor(
        node_id=identity.node_id,
        ledger=ledger,
        registry=registry,
        settings=ExecutorSettings(
            slots_max=settings.cleanup.slots, attempt_timeout_ms=settings.cleanup.attempt_timeout_ms
        ),
        monotonic_ns=world.boottime_ns,
        random=world.random,
        on_fatal=world.on_fatal,
        meter=metrics.cleanups,
    )
    return Cleaning(registry, ledger, executor)


def _forwarding(
    settings: NodeSettings, identity: NodeIdentity, core: Core, metrics: NodeMetrics, world: World
) -> Forwarding:
    """The ways between nodes, and the gateway over them."""
    api_addresses = _api_addresses(settings)
    bounds = MessageBounds(
        operations_max=settings.queue.batch_operations_max,
        bytes_max=FORWARD_BYTES_MAX,
        outstanding_max=FORWARDS_OUTSTANDING_MAX,
    )
    mesh = _mesh(settings, identity, core, world)
    read_index = ReadIndex(log=core.log, leadership=core.leadership, clock=core.clock)
    forwarder = Forwarder(link=mesh.calls, bounds=bounds, on_fatal=world.on_fatal)
    handler = ForwardHandler(
        machine=core.machine,
        queue=core.queue,
        leadership=core.leadership,
        read_index=read_index,
        api_addresses=api_addresses,
    )
    gateway = NodeGateway(
        node_id=identity.node_id,
        log=core.log,
        machine=core.machine,
        applier=core.applier,
        clock=core.clock,
        queue=core.queue,
        leadership=core.leadership,
        read_index=read_index,
        forwarder=forwarder,
        api_addresses=api_addresses,
    )
    gateway.count_failures(metrics.log.proposal_failed)
    status = NodeStatusBoard(
        node_id=identity.node_id,
        version=garbagetruck.__version__,
        log=core.log,
        machine=core.machine,
        applier=core.applier,
        clock=core.clock,
        leadership=core.leadership,
        peers=mesh.calls,
    )
    mesh.serve(handler, status.own)
    return Forwarding(mesh, forwarder, handler, gateway, status)


def _mesh(settings: NodeSettings, identity: NodeIdentity, core: Core, world: World) -> PeerMesh:
    """The connections between the nodes' main loops."""
    return PeerMesh(
        identity=_raft_identity(identity),
        members=[
            Member(identity.node_id, str(settings.peer_listen)),
            *(Member(peer.id, str(peer.peer)) for peer in settings.peers),
        ],
        disks=MemberDisks(core.machine.members),
        settings=raft_settings(settings),
        outstanding_max=FORWARDS_OUTSTANDING_MAX,
        monotonic_ns=world.monotonic_ns,
        random=world.random,
        on_fatal=world.on_fatal,
    )


def _api(
    *,
    settings: NodeSettings,
    core: Core,
    cleaning: Cleaning,
    forwarding: Forwarding,
    health: Health,
    metrics: NodeMetrics,
    world: World,
) -> ApiServer:
    """The gRPC server."""
    limits = settings.api
    door = Door(
        forwarding.gateway,
        lambda: core.machine,
        RegistryDoor(cleaning.registry),
        id_source(world.random),
        DoorLimits(request_timeout_ms_default=limits.timeout_ms, request_timeout_ms_max=limits.timeout_ms_max),
    )
    calls = CallInterceptor(
        metrics.calls,
        lambda: forwarding.gateway.header().leader_api,
        CallLimits(concurrent_requests_max=limits.calls_max, concurrent_streams_max=limits.streams_max),
        world.monotonic_ns,
    )
    return ApiServer(
        str(settings.api_listen),
        public_services(door, forwarding.status),
        calls,
        lambda: health.ready,
        ServerOptions(message_bytes_max=limits.message_bytes_max),
    )


def _raft_identity(identity: NodeIdentity) -> Identity:
    return Identity(identity.cluster_id, identity.node_id, identity.disk_id, identity.incarnation)


def _stopwatch(monotonic_ns: Callable[[], int], observe: Callable[[float], None]) -> Callable[[], None]:
    """Start one; calling the answer stops it."""
    began_ns = monotonic_ns()
    return lambda: observe((monotonic_ns() - began_ns) / NS_PER_S)


def _api_addresses(settings: NodeSettings) -> dict[str, str]:
    return {member.id: str(member.api) for member in settings.cluster.members}
