"""The composition root: the one place that knows every part of a node and joins them.

Duty: build a node from its settings and identity. Nothing is started here, nothing is opened.
Invariants: every part gets its clock, randomness, threads and peers from here; whatever a part meets that it cannot
survive comes back to one `on_fatal`.
Must not know: in what order things start and stop (`server_node`), signals, exit codes (`lifecycle`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import garbagetruck
from garbagetruck.cluster.api.calls import CallInterceptor, CallLimits
from garbagetruck.cluster.api.door import Door, DoorLimits
from garbagetruck.cluster.api.server import ApiServer, ServerOptions, public_services
from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.settings import ExecutorSettings
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.node.address_book import AddressBook, Page, Place
from garbagetruck.cluster.node.applier import NS_PER_S, Applier
from garbagetruck.cluster.node.archiving.desk import NodeSnapshots
from garbagetruck.cluster.node.archiving.parts import storage_service, tell_of
from garbagetruck.cluster.node.archiving.service import StorageService
from garbagetruck.cluster.node.bootstrap import Enrolment
from garbagetruck.cluster.node.chronicling import Chronicler
from garbagetruck.cluster.node.cleanup_ledger import NodeLedger
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.config.checks import raft_settings
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.config.tables import MemberSettings
from garbagetruck.cluster.node.digests import DigestWatch
from garbagetruck.cluster.node.directory import MemberDirectory, members_at
from garbagetruck.cluster.node.finding import MemberFinder
from garbagetruck.cluster.node.fleet_brake import FleetBrakeMaker
from garbagetruck.cluster.node.handlers import RegistryDoor, registry_of
from garbagetruck.cluster.node.health import Core, Health, LeadershipJournal, facts_of
from garbagetruck.cluster.node.identity import DataFolder, NodeIdentity
from garbagetruck.cluster.node.ids import id_source
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.node.links import forwarding_of, raft_identity
from garbagetruck.cluster.node.machine_snapshots import MachineSnapshots
from garbagetruck.cluster.node.majority_watch import MajorityWatch
from garbagetruck.cluster.node.member_door import SettingsDoor
from garbagetruck.cluster.node.proposer import Proposer
from garbagetruck.cluster.node.server_node import Cleaning, Forwarding, Membership, ServerNode
from garbagetruck.cluster.node.world import World
from garbagetruck.cluster.observe.http import HttpServer
from garbagetruck.cluster.observe.metrics import NodeMetrics
from garbagetruck.cluster.raft.replica import Replica
from garbagetruck.cluster.raft.settings import Member
from garbagetruck.cluster.raft.snapshots.port import Snapshots


def compose(
    settings: NodeSettings, identity: NodeIdentity, folder: DataFolder, world: World, page: Page | None = None
) -> ServerNode:
    """Build a node. `page` is what its address book holds. Raises `HandlerSettingsError` for handlers that cannot be made."""
    machine = Machine(level=settings.node.feature_level)
    # The parts that the metrics look at are counted by them, too: so they are looked up when asked for.
    metrics = NodeMetrics(lambda: facts_of(identity, core, health), lambda: machine)
    applier = Applier(
        machine=machine,
        monotonic_ns=world.monotonic_ns,
        on_fatal=world.on_fatal,
        meter=metrics.log.applied_entry,
        skip={each.index: each.checksum for each in settings.node.skip_entries},
    )
    directory = MemberDirectory(
        node_id=identity.node_id,
        machine=machine,
        applied_index=lambda: applier.applied_index,
        configured=[_place(each) for each in settings.cluster.members],
        page=page,
        book=AddressBook(folder.path),
        run_blocking=world.run_blocking,
    )
    core = _core(settings, identity, _Log(folder, machine, applier, directory), metrics, world)
    health = Health(core)
    storage = storage_service(settings, folder, core, world)
    cleaning = _cleaning(settings, identity, core, storage, metrics, world)
    forwarding, driver = forwarding_of(settings, identity, core, directory, metrics, world)
    core.leadership.observe(LeadershipJournal(), cleaning.executor, driver)
    health.unknown_handlers = forwarding.status.unknown_handlers = lambda: cleaning.executor.unknown_handlers
    tell_of(storage, health, forwarding.status)
    snapshots = NodeSnapshots(node_id=identity.node_id, service=storage, peers=forwarding.forwarder)
    forwarding.handler.take_snapshot = snapshots.create_own
    core.applier.listen(
        *core.listeners, cleaning.ledger, cleaning.fleet, metrics.log, core.enrolment, directory, driver
    )
    core.digests.report_through(forwarding.gateway)
    api = _api(settings, core, cleaning, forwarding, health, metrics=metrics, snapshots=snapshots, world=world)
    return ServerNode(
        settings=settings,
        core=core,
        cleaning=cleaning,
        forwarding=forwarding,
        health=health,
        api=api,
        http=_http(settings, identity, core, health, metrics),
        watch=_majority_watch(identity, core, folder, world),
        membership=Membership(directory, driver, _finder(core, forwarding, directory)),
        storage=storage,
        on_fatal=world.on_fatal,
    )


def _http(
    settings: NodeSettings, identity: NodeIdentity, core: Core, health: Health, metrics: NodeMetrics
) -> HttpServer:
    """The pages of metrics, probes and status."""
    return HttpServer(
        settings.http_listen.host,
        settings.http_listen.port,
        lambda: facts_of(identity, core, health),
        lambda: core.machine,
        metrics.exposition,
    )


def _finder(core: Core, forwarding: Forwarding, directory: MemberDirectory) -> MemberFinder:
    mesh = forwarding.mesh
    return MemberFinder(
        status=lambda: core.log.status, connected=lambda: mesh.connected, peers=mesh.calls, directory=directory
    )


class _Log(NamedTuple):
    """What the log is built around."""

    folder: DataFolder
    machine: Machine
    applier: Applier
    directory: MemberDirectory


def _core(settings: NodeSettings, identity: NodeIdentity, around: _Log, metrics: NodeMetrics, world: World) -> Core:
    """Log, machine, and what decides when this node leads."""
    folder, machine, applier, directory = around
    own, routes = Member(identity.node_id, str(settings.raft_listen)), settings.node.raft_routes

    def at_raft(places: Sequence[Place]) -> list[Member]:
        return members_at(own, places, lambda place: place.raft, routes, directory.disks)

    log = Replica(
        identity=raft_identity(identity),
        members=at_raft(directory.places),
        founders=None if identity.joined else [each.id for each in settings.cluster.members],
        folder=folder.raft,
        settings=raft_settings(settings),
        thread_factory=world.make_thread,
        monotonic_ns=world.monotonic_ns,
        random=world.random,
        snapshots=Snapshots(MachineSnapshots(machine, applier, world.snapshot_executor), world.snapshot_executor),
        disk=world.disk,
    )
    directory.listen(lambda places: log.set_members(at_raft(places)))
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
        not_enabled=machine.not_enabled,
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
    watch = _watch(identity, machine, applier, queue, leadership, world)
    chronicler = Chronicler(machine=machine, leading=leadership, queue=queue, monotonic_ns=world.monotonic_ns)
    return Core(log, machine, applier, clock, queue, leadership, enrolment, watch, chronicler, log.cursor)


def _watch(
    identity: NodeIdentity,
    machine: Machine,
    applier: Applier,
    queue: CommitQueue,
    leadership: Leadership,
    world: World,
) -> DigestWatch:
    """What compares this node's digests with the others'."""
    return DigestWatch(
        node_id=identity.node_id,
        machine=machine,
        applied_index=lambda: applier.applied_index,
        leading=leadership,
        queue=queue,
        monotonic_ns=world.monotonic_ns,
        on_fatal=world.on_fatal,
    )


def _cleaning(
    settings: NodeSettings,
    identity: NodeIdentity,
    core: Core,
    storage: StorageService | None,
    metrics: NodeMetrics,
    world: World,
) -> Cleaning:
    """Handlers, and the executor that runs them while this node leads."""
    registry = registry_of(
        settings, run_blocking=world.run_blocking, environ=world.environ, make_thread=world.make_thread
    )
    ledger = NodeLedger(
        machine=core.machine,
        queue=core.queue,
        leadership=core.leadership,
        clock=core.clock,
        proved_within_ms=settings.raft.election_timeout_ms_max,
        held=lambda: core.digests.holds_cleanups or (storage is not None and storage.holds_cleanups),
    )
    executor = CleanupExecutor(
        node_id=identity.node_id,
        ledger=ledger,
        registry=registry,
        settings=ExecutorSettings(
            slots_max=settings.cleanup.slots,
            attempt_timeout_ms=settings.cleanup.attempt_timeout_ms,
            breaker=settings.cleanup.breaker,
        ),
        monotonic_ns=world.boottime_ns,
        random=world.random,
        on_fatal=world.on_fatal,
        meter=metrics.cleanups,
    )
    fleet = FleetBrakeMaker(machine=core.machine, queue=core.queue, leadership=core.leadership, clock=core.clock)
    return Cleaning(registry, ledger, executor, fleet)


def _api(
    settings: NodeSettings,
    core: Core,
    cleaning: Cleaning,
    forwarding: Forwarding,
    health: Health,
    *,
    metrics: NodeMetrics,
    snapshots: NodeSnapshots,
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
        forwarding.gateway.header,
        CallLimits(concurrent_requests_max=limits.calls_max, concurrent_streams_max=limits.streams_max),
        world.monotonic_ns,
    )
    return ApiServer(
        str(settings.api_listen),
        public_services(door, forwarding.status, SettingsDoor(settings), snapshots),
        calls,
        lambda: health.ready,
        ServerOptions(message_bytes_max=limits.message_bytes_max),
    )


def _majority_watch(identity: NodeIdentity, core: Core, folder: DataFolder, world: World) -> MajorityWatch:
    return MajorityWatch(
        node_id=identity.node_id,
        status=lambda: core.log.status,
        data_dir=folder.path,
        monotonic_ns=world.monotonic_ns,
    )


def _stopwatch(monotonic_ns: Callable[[], int], observe: Callable[[float], None]) -> Callable[[], None]:
    """Start one; calling the answer stops it."""
    began_ns = monotonic_ns()
    return lambda: observe((monotonic_ns() - began_ns) / NS_PER_S)


def _place(member: MemberSettings) -> Place:
    return Place(member.id, str(member.api), str(member.http), str(member.raft), str(member.peer))
