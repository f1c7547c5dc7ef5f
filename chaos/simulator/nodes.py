"""A whole node of the simulation: the real core, over the real log, with the real connections to its peers.

Duty: build the parts as the composition root does, above a life of the log, and start them in the node's process.
Must not know: clients, faults, what is right.
"""

import random
from collections.abc import Mapping, Sequence

from typing_extensions import override

from garbagetruck.chaos.simulator.archiving import Keeper
from garbagetruck.chaos.simulator.enlisting import VERSION, Enlisting
from garbagetruck.chaos.simulator.raft.host import Host
from garbagetruck.chaos.simulator.raft.life import Cluster, Life
from garbagetruck.chaos.simulator.raft.network import WireNetwork
from garbagetruck.chaos.simulator.store import STORE, StoreHandler
from garbagetruck.chaos.simulator.surroundings import Surroundings
from garbagetruck.chaos.simulator.world import Process
from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.registry import HandlerRegistry, Registered
from garbagetruck.cluster.cleanup.settings import BreakerSettings, ExecutorSettings, HandlerSettings
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.operations import CreateCluster, Operation, SetBounds
from garbagetruck.cluster.node.applier import Applier, ApplyListener
from garbagetruck.cluster.node.archiving.service import StorageService
from garbagetruck.cluster.node.chronicling import Chronicler
from garbagetruck.cluster.node.cleanup_ledger import NodeLedger
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.digests import EVERY_ENTRIES, DigestWatch
from garbagetruck.cluster.node.directory import ApiAddresses
from garbagetruck.cluster.node.fleet_brake import FleetBrakeMaker
from garbagetruck.cluster.node.gateway import NodeGateway
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.node.machine_snapshots import MachineSnapshots
from garbagetruck.cluster.node.membership import MembershipDriver
from garbagetruck.cluster.node.peers.connection import MessageBounds
from garbagetruck.cluster.node.peers.forwarding import Forwarder, ForwardHandler
from garbagetruck.cluster.node.peers.mesh import MemberDisks, PeerMesh
from garbagetruck.cluster.node.peers.status import NodeStatusBoard
from garbagetruck.cluster.node.peers.wire import PEER
from garbagetruck.cluster.node.proposer import Proposer
from garbagetruck.cluster.node.reads import ReadIndex
from garbagetruck.cluster.raft.log import Entry, LogStatus
from garbagetruck.cluster.raft.settings import Member
from garbagetruck.cluster.raft.snapshots.port import StateMachine

OUTSTANDING_MAX = 256


class SimulatedNode(Life):
    """One life of one node."""

    def __init__(self, around: Surroundings, host: Host, cluster: Cluster, number: int) -> None:
        self._around = around
        self._log_settings = cluster.settings
        self.monotonic_ns = host.clock.monotonic_ns
        self.machine = Machine()
        self.applier = Applier(machine=self.machine, monotonic_ns=self.monotonic_ns, on_fatal=self._fatal)
        self._enlisting = Enlisting(host, self.machine, self.applier)
        super().__init__(host, cluster, number)
        self._chance = self._stream("node")
        self._build_core()
        self._build_cleaning()
        self._build_joints(cluster, host)
        self._build_gateway()
        self.archive = self._build_archive(host)
        self.digests.report_through(self.gateway)
        self._enlisting.follow(self.replica.set_members, self.mesh.set_members)
        enrolment, directory = self._enlisting.enrolment, self._enlisting.directory
        first = (self.digests, self.leadership, self.chronicler, self.ledger, self.fleet)
        self.applier.listen(*first, enrolment, directory, self._driver, _Ear(self))

    @property
    def process(self) -> Process:
        """What the node's main loop runs in."""
        return self.main

    def fresh_id(self) -> str:
        """An id as a door draws it."""
        return f"{self.name}-{self._chance.getrandbits(80):020x}"

    def target_of(self, parameters: Mapping[str, str]) -> str:
        """The canonical target, as a door completes a cleanup with it."""
        return self.registry.canonical_target(STORE, parameters)

    # --- the parts --------------------------------------------------------------------------------------------------

    @override
    def _state_machine(self) -> StateMachine:
        return MachineSnapshots(self.machine, self.applier, self.executor)

    @override
    def _members(self) -> list[Member]:
        return self._enlisting.at_raft()

    def _build_core(self) -> None:
        around = self._around
        self.clock = ClusterClock(
            monotonic_ns=self.monotonic_ns, step_ms=around.clock.step_ms, drift_ppm=around.clock.drift_ppm_max
        )
        proposer = Proposer(node_id=self.name, log=self.replica, random=self._chance)
        self.queue = CommitQueue(
            proposer=proposer,
            clock=self.clock,
            bounds=around.queue,
            on_fatal=self._fatal,
            low_on_space=lambda: self.replica.status.low_on_space,
            not_enabled=self.machine.not_enabled,
        )
        self.leadership = Leadership(
            node_id=self.name,
            log=self.replica,
            machine=self.machine,
            proposer=proposer,
            clock=self.clock,
            queue=self.queue,
            settings=around.clock,
            monotonic_ns=self.monotonic_ns,
            on_fatal=self._fatal,
        )
        self.leadership.open_with(self._opening)
        self.digests = DigestWatch(
            node_id=self.name,
            machine=self.machine,
            applied_index=lambda: self.applier.applied_index,
            leading=self.leadership,
            queue=self.queue,
            monotonic_ns=self.monotonic_ns,
            on_fatal=self._fatal,
            noted_after_entries=EVERY_ENTRIES,
        )
        self.chronicler = Chronicler(
            machine=self.machine, leading=self.leadership, queue=self.queue, monotonic_ns=self.monotonic_ns
        )

    def _build_cleaning(self) -> None:
        around = self._around
        handler = StoreHandler(world=self.main.world, network=around.network, process=self.main, store=around.store)
        self.registry = HandlerRegistry([Registered(HandlerSettings(name=STORE, kind=STORE, options={}), handler)])
        self.ledger = NodeLedger(
            machine=self.machine,
            queue=self.queue,
            leadership=self.leadership,
            clock=self.clock,
            proved_within_ms=self._log_settings.election_timeout_ms_max,
            held=lambda: self.digests.holds_cleanups,
        )
        self.cleanups = CleanupExecutor(
            node_id=self.name,
            ledger=self.ledger,
            registry=self.registry,
            settings=ExecutorSettings(
                slots_max=4,
                attempt_timeout_ms=1_500,
                observe_timeout_ms=1_000,
                rest_ms=50,
                breaker=BreakerSettings(failures_min=2, window_ms=5_000, pause_ms=200, pause_ms_max=1_000),
            ),
            monotonic_ns=self.monotonic_ns,
            random=self._chance,
            on_fatal=self._fatal,
        )
        self.leadership.observe(self.cleanups)
        self.fleet = FleetBrakeMaker(
            machine=self.machine, queue=self.queue, leadership=self.leadership, clock=self.clock
        )

    def _build_joints(self, cluster: Cluster, host: Host) -> None:
        """What joins this node with the others."""
        self.mesh = PeerMesh(
            identity=self.identity,
            members=self._enlisting.at_peer(),
            disks=MemberDisks(self.machine.members),
            settings=cluster.settings,
            outstanding_max=OUTSTANDING_MAX,
            monotonic_ns=self.monotonic_ns,
            random=random.Random(self._chance.getrandbits(64)),
            on_fatal=self._fatal,
            network=WireNetwork(
                wires=cluster.peer_wires,
                station=host.peer_station,
                process=self.main,
                handshake_s=cluster.settings.handshake_ms_max / 1_000,
                on_bug=self._fatal,
                language=PEER,
            ),
        )
        self._driver = MembershipDriver(
            node_id=self.name,
            log=self.replica,
            machine=self.machine,
            queue=self.queue,
            leadership=self.leadership,
            peers=self.mesh.calls,
            on_fatal=self._fatal,
        )
        self.leadership.observe(self._driver)

    def _build_gateway(self) -> None:
        around, addresses = self._around, ApiAddresses(self._enlisting.directory)
        read_index = ReadIndex(log=self.replica, leadership=self.leadership, clock=self.clock)
        bounds = MessageBounds(around.queue.batch_operations_max, around.queue.batch_bytes_max, OUTSTANDING_MAX)
        forwarder = Forwarder(link=self.mesh.calls, bounds=bounds, on_fatal=self._fatal)
        handler = ForwardHandler(
            machine=self.machine,
            queue=self.queue,
            leadership=self.leadership,
            read_index=read_index,
            api_addresses=addresses,
            on_report=self.digests.hear,
        )
        self.gateway = NodeGateway(
            node_id=self.name,
            log=self.replica,
            machine=self.machine,
            applier=self.applier,
            clock=self.clock,
            queue=self.queue,
            leadership=self.leadership,
            read_index=read_index,
            forwarder=forwarder,
            api_addresses=addresses,
        )
        status = NodeStatusBoard(
            node_id=self.name,
            version=VERSION,
            log=self.replica,
            machine=self.machine,
            applier=self.applier,
            clock=self.clock,
            leadership=self.leadership,
            peers=self.mesh.calls,
        )
        self.mesh.serve(handler, status.own)

    def _build_archive(self, host: Host) -> StorageService | None:
        around = self._around
        keeper = Keeper(
            host=host,
            process=self.main,
            executor=self.executor,
            network=around.network,
            chance=self._stream("archive"),
            machine=self.machine,
            queue=self.queue,
            clock=self.clock,
            leadership=self.leadership,
            cursor=self.replica.cursor,
        )
        return None if around.keeping is None else keeper.service(around.keeping)

    def _opening(self) -> Sequence[Operation]:
        opening = self._enlisting.enrolment.opening()
        if not any(isinstance(each, CreateCluster) for each in opening):
            return opening
        return (*opening, SetBounds(self._around.bounds))

    @override
    async def _start_parts(self) -> None:
        await self.registry.start()
        await super()._start_parts()
        await self.mesh.start()
        self.main.loop.start(self.fleet.run())
        if self.archive is not None:
            await self.archive.start()
        self.main.loop.start(self._enlisting.take_part(self.gateway, self._host.exited))

    def _fatal(self, error: BaseException) -> None:
        super().on_fatal(error)

    # --- the log says -----------------------------------------------------------------------------------------------

    @override
    def on_restored(self, state: object, index: int) -> None:
        super().on_restored((index, self._cluster.oracle.checksum_at(index), ()), index)
        self.applier.on_restored(state, index)

    @override
    def on_entries(self, entries: Sequence[Entry], applied_index: int) -> None:
        super().on_entries(entries, applied_index)
        self.applier.on_entries(entries, applied_index)

    @override
    def on_status(self, status: LogStatus) -> None:
        super().on_status(status)
        self.applier.on_status(status)

    @override
    def on_fatal(self, error: BaseException) -> None:
        self.applier.on_fatal(error)

    # --- the applier says -------------------------------------------------------------------------------------------

    def on_applied(self, applied: Applied) -> None:
        self._around.on_applied(self, applied)

    def on_machine_restored(self) -> None:
        self._around.on_restored(self)

    def on_progress(self) -> None:
        if self.digests.holds_cleanups:
            self.main.world.fail(f"I3: {self.name} took what is one history for two")

    # --- whoever disturbs says --------------------------------------------------------------------------------------

    @override
    def _proposed(self, payload: bytes, term: int) -> None:
        super()._proposed(payload, term)
        self._around.on_proposed(payload)

    @override
    async def hand_over(self) -> None:
        if self.leadership.leading:
            await self.leadership.hand_over()


class _Ear(ApplyListener):
    """Tells a node what its applier tells."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node

    @override
    def on_applied(self, applied: Applied) -> None:
        self._node.on_applied(applied)

    @override
    def on_restored(self) -> None:
        self._node.on_machine_restored()

    @override
    def on_progress(self) -> None:
        self._node.on_progress()

    @override
    def on_status(self, status: LogStatus) -> None:
        """The log tells the node by itself."""


def node_of(host: Host) -> SimulatedNode | None:
    """The node that lives there at the moment."""
    life = host.life
    assert life is None or isinstance(life, SimulatedNode)
    return life
