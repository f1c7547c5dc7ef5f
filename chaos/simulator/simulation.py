"""One seed, one history: build the world, let it go wrong, let it recover, and judge.

Duty: the phases of a run, and the wires between what happens and the oracle that hears of it.
Must not know: how any part works.
"""

import asyncio
from collections.abc import Sequence

from garbagetruck.chaos.simulator.archiving import Keeping
from garbagetruck.chaos.simulator.clients import Client
from garbagetruck.chaos.simulator.curator import Curator
from garbagetruck.chaos.simulator.faults import ClusterFaults
from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.nodes import SimulatedNode, node_of
from garbagetruck.chaos.simulator.oracle import Oracle
from garbagetruck.chaos.simulator.raft.electorate import Seen
from garbagetruck.chaos.simulator.raft.host import DRIFT_PPM_MAX, Host
from garbagetruck.chaos.simulator.raft.life import Cluster
from garbagetruck.chaos.simulator.raft.oracle import RaftOracle
from garbagetruck.chaos.simulator.raft.wires import Wires
from garbagetruck.chaos.simulator.reader import Reader
from garbagetruck.chaos.simulator.recruiter import Recruiter
from garbagetruck.chaos.simulator.result import Result, Verdict
from garbagetruck.chaos.simulator.rpc import Build, Port
from garbagetruck.chaos.simulator.store import ObjectStore
from garbagetruck.chaos.simulator.surroundings import Surroundings
from garbagetruck.chaos.simulator.world import NS_PER_MS, NS_PER_S, Process, ProcessClock, World
from garbagetruck.cluster.machine.brake_operations import SetFleetBrake
from garbagetruck.cluster.machine.brake_records import FleetSettings
from garbagetruck.cluster.machine.codec import decode_batch
from garbagetruck.cluster.machine.machine import Applied
from garbagetruck.cluster.machine.model import (
    DEFAULT_NAMESPACE,
    Bounds,
    BrakeSettings,
    CleanupSettings,
    EventType,
    NamespaceLimits,
)
from garbagetruck.cluster.machine.operations import ClientOperation, EnterEpoch, ResumeCleanups, SetNamespace
from garbagetruck.cluster.node.config.settings import ClockSection, QueueSection
from garbagetruck.cluster.raft.seams import virtual_time
from garbagetruck.cluster.raft.settings import RaftSettings
from garbagetruck.storage.memory import Vault

THREE, FIVE = ("n1", "n2", "n3"), ("n1", "n2", "n3", "n4", "n5")
CLIENTS = ("c1", "c2", "c3", "c4", "c5", "c6")
OPERATOR = "operator"
READER = "reader"
FAULTS_MS = 16_000
"""Until then things go wrong."""
QUIT_MS = 19_000
"""Until then clients go on."""
END_MS = 19_000 + 5_000 + 14_000
"""The longest TTL later, and what reclaiming may take after that (I4)."""
MEMBERS, CORRUPT, STORAGE = "members", "corrupt", "storage"
NO_KINDS = (MEMBERS, CORRUPT, STORAGE)
"""What is named as faults are, and is no episode."""
LOOK_MS = (1_500, 4_000)
"""How often somebody looks into the storage outside the nodes."""
HAND_OFF_MS = (0.05, 4.0)
SEGMENT_BYTES = 64 * 1024
ARCHIVE_LAG_MS = 10_000
"""Nothing waits longer to be archived when all is well, but for calls that get no answer."""
LAG_MS = 1_000  # no node is further behind when all is well
KEYS = ("a", "b", "b/inner", "c", "d/x", "d/y", "e", "f", "g", "h")
"""Leased by everybody; `b` contains `b/inner`, so that never both have an owner."""
FOREIGN = ("foreign", "d/foreign", "e-not", "kept/foreign")


class Simulation:
    """One run; `run` is called once. `faults` names the kinds of faults to draw from; empty: all. By default some runs have
    what `members` (nodes come and go), `corrupt` (disks rot) and `storage` (nodes archive outside) always have.
    """

    def __init__(self, seed: int, faults: Sequence[str] = ()) -> None:
        self._world = World(seed)
        self._chance = self._world.random("setup")
        self._oracle = Oracle(now_ns=lambda: self._world.now_ns, fail=self._world.fail)
        self._store = ObjectStore(self._world, self._oracle.removed)
        network = self._network = Network(self._world)
        self._stamped_at: dict[bytes, int] = {}
        self._heard_index = 0
        self._events_heard = 0
        self._known_near_end = self._known_long = 0
        self._brake = self._chance.happens(0.25)
        self._names = self._chance.choice((THREE,) * 4 + (FIVE,))
        self._log_oracle = RaftOracle(self._world.fail, self._look)
        self._cluster = self._make_cluster(network)
        self._keeping = self._make_keeping(faults)
        self._curator = None if self._keeping is None else self._make_curator(self._keeping)
        self._around = Surroundings(
            network=network,
            store=self._store,
            bounds=Bounds(expirations_per_batch_max=self._chance.choice((2, 1_000))),
            clock=ClockSection(drift_ppm_max=DRIFT_PPM_MAX, tick_ms=self._chance.choice((200, 1_000))),
            queue=QueueSection(),
            keeping=self._keeping,
            on_proposed=self._proposed,
            on_applied=self._applied,
            on_restored=self._restored,
        )
        self._hosts = [Host(self._cluster, name, founders=self._names) for name in self._names]
        self._cluster.hosts.update({host.name: host for host in self._hosts})
        self._clocks = {name: self._clock() for name in (*CLIENTS, OPERATOR, READER)}
        self._port = Port(self._world, network, self._cluster.hosts)
        self._faults = ClusterFaults(
            world=self._world,
            weather=network,
            hosts=self._hosts,
            oracle=self._log_oracle,
            clients=CLIENTS,
            only=[each for each in faults if each not in NO_KINDS],
            keeps=self._keeping is not None,
        )
        by_chance = not faults and self._world.random("members").happens(0.4)
        self._members_change = by_chance or bool({MEMBERS, CORRUPT} & {*faults})
        corrupts = CORRUPT in faults or (by_chance and self._world.random("corrupt").happens(0.5))
        self._recruiter = Recruiter(self._cluster, self._hosts, self._log_oracle.electorate, corrupts=corrupts)

    def run(self) -> Result:
        """Let everything happen, and judge it. Raises `ValueError` for kinds of faults that there are not."""
        with virtual_time(self._world.running_s, self._world.random("pysyncobj")):
            try:
                return self._run()
            finally:
                self._world.bury()

    def _run(self) -> Result:
        world = self._world
        for key in FOREIGN:
            self._store.write(key, 1)
            self._oracle.foreign.add(key)
        for host in self._hosts:
            world.after(self._chance.randrange(300) * NS_PER_MS, host.start)
        operator = Process(world, OPERATOR, self._clocks[OPERATOR])
        operator.loop.start(self._administer(operator))
        clients = [self._client(name) for name in CLIENTS]
        readers = Reader(self._world, self._port, self._oracle, Process(self._world, READER, self._clocks[READER]))
        world.after(1_200 * NS_PER_MS, readers.start)
        for client in clients:
            world.after(1_200 * NS_PER_MS, client.start)
            world.after(QUIT_MS * NS_PER_MS, client.stop)
        self._faults.schedule(FAULTS_MS)
        if self._members_change:
            self._recruiter.schedule(FAULTS_MS)
        world.after(LOOK_MS[1] * NS_PER_MS, self._look_outside)
        world.run_until((END_MS - ARCHIVE_LAG_MS) * NS_PER_MS)
        self._known_long = self._log_oracle.applied_max
        world.run_until((END_MS - LAG_MS) * NS_PER_MS)
        self._known_near_end = self._log_oracle.applied_max
        world.run_until(END_MS * NS_PER_MS)
        if not world.failures:
            self._judge_end()
        return self._result(clients)

    # -- the parts --------------------------------------------------------------------------------------------

    def _make_cluster(self, network: Network) -> Cluster:
        wires = Wires(self._world, network)
        wires.tap = self._log_oracle.said
        heartbeat_ms = self._chance.choice((50, 100, 100))
        return Cluster(
            world=self._world,
            wires=wires,
            peer_wires=Wires(self._world, network, "peer-wire"),
            make_life=lambda host, cluster, number: SimulatedNode(self._around, host, cluster, number),
            oracle=self._log_oracle,
            hand_off_ms=HAND_OFF_MS,
            settings=RaftSettings(
                heartbeat_ms=heartbeat_ms,
                election_timeout_ms_min=5 * heartbeat_ms,
                election_timeout_ms_max=10 * heartbeat_ms,
                leader_fallback_ms=5 * heartbeat_ms,
                segment_bytes=SEGMENT_BYTES,
                snapshot_entries=self._chance.choice((24, 120, 100_000)),
            ),
        )

    def _make_keeping(self, faults: Sequence[str]) -> Keeping | None:
        chance = self._world.random("storage")
        if STORAGE not in faults and (faults or not chance.happens(0.4)):
            return None
        return Keeping(
            Vault(),
            interval_s=chance.choice((0.1, 1.0)),
            snapshot_interval_s=chance.choice((3.0, 8.0, 1_000.0)),
            backlog_bytes_max=chance.choice((2 * SEGMENT_BYTES, 1 << 30)),
        )

    def _make_curator(self, keeping: Keeping) -> Curator:
        log = self._log_oracle

        def digest_behind(index: int) -> int | None:
            if index > log.applied_max:
                return None
            while index and log.payload_at(index) is None:
                index -= 1
            return self._oracle.digest_at(index)

        return Curator(
            keeping.storage,
            known=lambda: log.applied_max,
            payload_at=log.payload_at,
            digest_behind=digest_behind,
            fail=self._world.fail,
        )

    def _look_outside(self) -> None:
        if self._curator is None:
            return
        self._curator.look()
        for node in self._nodes():
            if node.archive is not None and node.archive.failure.endswith("see the log"):
                self._world.fail(f"I10: {node.name} cannot archive for a bug: {node.archive.failure}")
        self._world.after(self._chance.randint(*LOOK_MS) * NS_PER_MS, self._look_outside)

    def _look(self, name: str) -> tuple[int, Seen | None]:
        host = self._cluster.hosts[name]
        return host.generation, None if host.life is None else host.life.replica.seen

    def _clock(self) -> ProcessClock:
        drift_ppm = self._chance.randint(-DRIFT_PPM_MAX, DRIFT_PPM_MAX)
        return ProcessClock(self._world, offset_ns=self._chance.randrange(1_000) * NS_PER_S, drift_ppm=drift_ppm)

    def _client(self, name: str) -> Client:
        process = Process(self._world, name, self._clocks[name])
        return Client(
            world=self._world,
            name=name,
            port=self._port,
            oracle=self._oracle,
            store=self._store,
            process=process,
            keys=KEYS,
        )

    async def _administer(self, operator: Process) -> None:
        """Set the namespace up; where brakes are on, let go of them once everything is healed."""
        brake = BrakeSettings(enabled=self._brake, holders_min=2, window_ms=2_000)
        cleanup = CleanupSettings(self._chance.choice((0, 50, 500)), 1_000, 20, 500)

        def set_up(node: SimulatedNode) -> tuple[ClientOperation, ...]:
            now_ms = node.gateway.entered_ms()
            return (SetNamespace(now_ms, DEFAULT_NAMESPACE, "setup", OPERATOR, NamespaceLimits(), cleanup, brake),)

        def set_fleet(node: SimulatedNode) -> tuple[ClientOperation, ...]:
            settings = FleetSettings(holders_min=2, share=0.3)
            return (SetFleetBrake(node.gateway.entered_ms(), "fleet", OPERATOR, settings, ("holders_min", "share")),)

        def let_go(node: SimulatedNode) -> tuple[ClientOperation, ...]:
            now_ms = node.gateway.entered_ms()
            return tuple(ResumeCleanups(now_ms, name, "", OPERATOR, "healed", True) for name in (DEFAULT_NAMESPACE, ""))

        await self._insist(operator, set_up)
        if self._brake:
            await self._insist(operator, set_fleet)
        await asyncio.sleep(QUIT_MS / 1_000)
        while self._brake:
            await self._insist(operator, let_go)
            await asyncio.sleep(1.0)

    async def _insist(self, operator: Process, build: Build) -> None:
        reply = await self._port.call(operator, self._chance.choice(sorted(self._port.hosts)), build)
        while reply.error:
            await asyncio.sleep(0.1)
            reply = await self._port.call(operator, self._chance.choice(sorted(self._port.hosts)), build)

    # -- what the oracle hears --------------------------------------------------------------------------------

    def _proposed(self, payload: bytes) -> None:
        self._stamped_at[payload] = self._world.now_ns

    def _applied(self, node: SimulatedNode, applied: Applied) -> None:
        machine, index = node.machine, node.applier.applied_index
        self._oracle.applied(node.name, index, machine.digest())
        if index <= self._heard_index:
            return
        self._heard_index = index
        payload = self._log_oracle.payload_at(index)
        assert payload is not None
        batch = decode_batch(payload)
        kinds = ",".join(type(each).__name__ for each in batch.operations)
        self._world.note(
            f"apply {index} epoch={batch.epoch} at={batch.at_ms} [{kinds}] {'refused' if applied.refused else ''}"
            f" digest={machine.digest():016x}"
        )
        if applied.refused is None and not any(isinstance(each, EnterEpoch) for each in batch.operations):
            self._oracle.stamped(batch.at_ms, self._stamped_at[payload])
        for event in machine.events_after(self._events_heard, 1_000_000):
            self._events_heard = event.index
            if event.type is EventType.LEASE_ACQUIRED:
                self._oracle.created(event.lease_id)

    def _restored(self, node: SimulatedNode) -> None:
        self._oracle.restored(node.name, node.applier.applied_index, node.machine.digest())

    # -- the end ----------------------------------------------------------------------------------------------

    def _judge_end(self) -> None:
        allowance_ms = 2 * self._around.clock.step_ms + self._around.clock.tick_ms + 50
        if self._recruiter.is_busy:
            self._world.fail("I4: a change of the members has not come to its end, long after all was healed")
        for from_ns, to_ns in () if self._members_change else self._faults.windows:
            self._oracle.no_majority(from_ns, to_ns, allowance_ms)
        applied = {node.name: node.applier.applied_index for node in self._nodes()}
        if len(applied) < len(self._hosts):
            self._world.fail(f"I4: only {sorted(applied)} run, long after all was healed")
        self._log_oracle.judge_end(applied, self._known_near_end)
        if self._curator is not None:
            self._curator.judge_end(self._known_long)
        left = self._oracle.orphans(sorted(self._store.objects))
        if left:
            self._world.fail(f"I4: {left} were orphaned and not reclaimed; {self._why_not()}")
        gone = [key for key in FOREIGN if key not in self._store.objects]
        assert not gone, "the oracle hears of every removal"
        if not self._oracle.kept <= set(self._store.objects):
            self._world.fail(f"I1: kept keys are gone: {sorted(self._oracle.kept - set(self._store.objects))}")

    def _nodes(self) -> list[SimulatedNode]:
        return [node for node in map(node_of, self._hosts) if node is not None]

    def _why_not(self) -> str:
        node = next((each for each in self._nodes() if each.leadership.leading), None)
        return "no node leads" if node is None else f"{node.name} says {node.machine.summary()}"

    def _result(self, clients: Sequence[Client]) -> Result:
        oracle, faults = self._oracle, self._faults
        granted = sum(client.granted for client in clients)
        log = self._log_oracle
        summary = (
            f"granted={granted} removed={len(oracle.removals)} checks={oracle.checks} entries={log.applied_max}"
            f" terms={log.term_max} restored={log.restored_count} outside={self._curator.restores if self._curator is not None else 0} changes={log.electorate.changes} corrupted={self._recruiter.corrupted} dark={sum(host.power_losses for host in self._hosts)} lost={self._network.lost} unanswered={self._port.unanswered} fenced={self._store.fenced}"
            f" faults={dict(sorted(faults.bitten.items()))}"
        )
        self._world.note(f"end {summary}")
        bitten = self._network.lost or log.term_max > 1 or self._port.unanswered or self._world.deferred
        if self._world.failures:
            verdict = Verdict.VIOLATED
        elif bitten and granted and oracle.removals:
            verdict = Verdict.PASSED
        else:
            verdict = Verdict.UNDECIDED
        return Result(self._world.seed, verdict, tuple(self._world.failures), tuple(self._world.history), summary)


def simulate(seed: int, faults: Sequence[str] = ()) -> Result:
    """Run one seed, with all kinds of faults or with some."""
    return Simulation(seed, faults).run()
