"""One seed, one history of a log: let it go wrong, let it recover, and judge.

Duty: the phases of a run, and those who propose.
Must not know: how any part works.
"""

from collections.abc import Sequence
from functools import partial

from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.raft.electorate import Seen
from garbagetruck.chaos.simulator.raft.faults import Faults
from garbagetruck.chaos.simulator.raft.host import Host
from garbagetruck.chaos.simulator.raft.latecomer import Latecomer
from garbagetruck.chaos.simulator.raft.life import Cluster, Life
from garbagetruck.chaos.simulator.raft.operator import Operator
from garbagetruck.chaos.simulator.raft.oracle import RaftOracle
from garbagetruck.chaos.simulator.raft.refounding import Refounding
from garbagetruck.chaos.simulator.raft.wires import Wires
from garbagetruck.chaos.simulator.result import Result, Verdict
from garbagetruck.chaos.simulator.world import NS_PER_MS, NS_PER_S, World
from garbagetruck.cluster.raft.seams import virtual_time
from garbagetruck.cluster.raft.settings import RaftSettings

MEMBERS, LATECOMER, CORRUPT, REFOUNDED = "members", "latecomer", "corrupt", "refounded"
OPERATORS = (MEMBERS, LATECOMER, CORRUPT, REFOUNDED)
"""Kinds of faults that are an operator's."""
THREE, FIVE = ("n1", "n2", "n3"), ("n1", "n2", "n3", "n4", "n5")
LATE_SHARE, AGAIN_SHARE = 0.2, 0.2
"""Of the storms of three with members that come and go: in so many a founder starts late, or is bootstrapped again."""
FAULTS_MS = 12_000
"""Until then things go wrong."""
RECOVERED_MS = 15_000
"""By then somebody leads, and what is proposed from then on is acknowledged."""
QUIT_MS = 16_500
"""Until then something is proposed now and then."""
END_MS = 18_500
PROPOSALS_MS = (5, 60)
PAYLOAD_BYTES = (20, 20, 20, 200, 3_000)
SEGMENT_BYTES = 64 * 1024


class RaftSimulation:
    """One run; `run` is called once. `faults` names the kinds of faults to draw from; empty: all. `members` among them has
    nodes come and go, `latecomer` has a founder of three start late, when another has lost its disk, `corrupt` has disks give
    back other bytes than were written, and nodes replaced for that, `refounded` has a founder that lost its disk bootstrapped
    again; by default that is so in some storms.
    """

    def __init__(self, seed: int, faults: Sequence[str] = ()) -> None:
        self._world = World(seed)
        self._chance = self._world.random("setup")
        weather = Network(self._world)
        self._wires = Wires(self._world, weather)
        self._oracle = RaftOracle(self._world.fail, self._look)
        self._wires.tap = self._oracle.said
        heartbeat_ms = self._chance.choice((50, 100, 100))
        self._cluster = Cluster(
            world=self._world,
            wires=self._wires,
            peer_wires=Wires(self._world, weather, "peer-wire"),
            make_life=Life,
            oracle=self._oracle,
            settings=RaftSettings(
                heartbeat_ms=heartbeat_ms,
                election_timeout_ms_min=5 * heartbeat_ms,
                election_timeout_ms_max=10 * heartbeat_ms,
                leader_fallback_ms=5 * heartbeat_ms,
                segment_bytes=SEGMENT_BYTES,
                snapshot_entries=self._chance.choice((24, 120, 100_000)),
            ),
        )
        names = self._chance.choice((THREE,) * 5 + (FIVE,)) if not {LATECOMER, REFOUNDED} & {*faults} else THREE
        self._hosts = [Host(self._cluster, name, founders=names) for name in names]
        self._cluster.hosts.update({host.name: host for host in self._hosts})
        only = [each for each in faults if each not in OPERATORS]
        self._faults = Faults(
            world=self._world,
            weather=weather,
            hosts=self._hosts,
            oracle=self._oracle,
            only=only,
            never_calm=bool({*OPERATORS} & {*faults}),
        )
        by_chance = not faults and not self._faults.calm and self._world.random("members").happens(0.6)
        self._members_change = bool({*OPERATORS} & {*faults}) or by_chance
        corrupts = CORRUPT in faults or (by_chance and self._world.random("corrupt").happens(0.5))
        self._operator = Operator(self._cluster, self._hosts, self._oracle.electorate, corrupts=corrupts)
        self._latecomer, self._refounding = self._draw_founders_fate(faults)
        self._clients = self._world.random("clients")
        self._acknowledged_by_recovery = 0

    def _draw_founders_fate(self, faults: Sequence[str]) -> tuple[Latecomer | None, Refounding | None]:
        """Of three: one starts late, or one is bootstrapped again; or, mostly, neither."""
        world, hosts, operator = self._world, self._hosts, self._operator
        drawn = world.random("founders").random() if self._members_change and not faults else 1.0
        if len(hosts) != len(THREE):
            return None, None
        if LATECOMER in faults or drawn < LATE_SHARE:
            return Latecomer(world, hosts, operator), None
        if REFOUNDED in faults or drawn < LATE_SHARE + AGAIN_SHARE:
            return None, Refounding(world, hosts, operator, lambda: self._oracle.acknowledgements > 0)
        return None, None

    def run(self) -> Result:
        """Let everything happen, and judge it."""
        with virtual_time(self._loop_time_s, self._world.random("pysyncobj")):
            try:
                return self._run()
            finally:
                self._world.bury()

    def _look(self, name: str) -> tuple[int, Seen | None]:
        host = self._cluster.hosts[name]
        return host.generation, None if host.life is None else host.life.replica.seen

    def _loop_time_s(self) -> float:
        return self._world.running_s()

    def _run(self) -> Result:
        world = self._world
        for host in self._hosts:
            begins_ms = self._chance.randrange(300)
            if self._latecomer is None or host is not self._latecomer.late:
                world.after(begins_ms * NS_PER_MS, host.start)
        if self._latecomer is not None:
            self._latecomer.schedule()
        if self._refounding is not None:
            self._refounding.schedule()
        world.after(NS_PER_S, self._propose)
        world.after(NS_PER_S, self._confirm)
        self._faults.schedule(FAULTS_MS)
        if self._members_change:
            self._operator.schedule(FAULTS_MS)
        world.after(RECOVERED_MS * NS_PER_MS, self._on_recovered)
        world.run_until(END_MS * NS_PER_MS)
        if not world.failures:
            self._judge_end()
        return self._result()

    # --- clients ----------------------------------------------------------------------------------------------------

    def _propose(self) -> None:
        """At every node that believes to lead, as clients would that know no better."""
        world, chance = self._world, self._clients
        for host in self._hosts:
            life, size_bytes = host.life, chance.choice(PAYLOAD_BYTES)
            if life is not None:
                life.main.post(0, partial(life.main.loop.call_soon, life.propose, size_bytes))
        if world.now_ns < QUIT_MS * NS_PER_MS:
            world.after(chance.randint(*PROPOSALS_MS) * NS_PER_MS, self._propose)

    def _confirm(self) -> None:
        life = self._clients.choice(self._hosts).life
        if life is not None:
            life.main.post(0, lambda: life.main.loop.start(life.confirm()))
        self._world.after(self._clients.randint(10, 200) * NS_PER_MS, self._confirm)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _on_recovered(self) -> None:
        self._acknowledged_by_recovery = self._oracle.acknowledgements

    def _judge_end(self) -> None:
        applied = {host.name: host.life.checksums.index for host in self._hosts if host.life is not None}
        if len(applied) < len(self._hosts):
            self._world.fail(f"I4: only {sorted(applied)} run, long after all was healed")
        self._oracle.judge_end(applied)
        if self._operator.is_busy:
            self._world.fail("I4: a change of the voters has not come to its end, long after all was healed")
        if self._oracle.acknowledgements == self._acknowledged_by_recovery:
            self._world.fail("I4: nothing is acknowledged, long after all was healed")

    def _result(self) -> Result:
        oracle, faults = self._oracle, self._faults
        summary = (
            f"{len(self._hosts)} in {'calm' if faults.calm else 'storm'} acknowledged={oracle.acknowledgements} entries={oracle.applied_max}"
            f" terms={oracle.term_max} confirmed={oracle.confirmations} restored={oracle.restored_count}"
            f" changes={oracle.electorate.changes} corrupted={self._operator.corrupted} dark={sum(host.power_losses for host in self._hosts)} faults={dict(sorted(faults.bitten.items()))}"
        )
        self._world.note(f"end {summary}")
        if self._world.failures:
            verdict = Verdict.VIOLATED
        elif oracle.acknowledgements and (faults.bitten or self._operator.done):
            verdict = Verdict.PASSED
        else:
            verdict = Verdict.UNDECIDED
        return Result(self._world.seed, verdict, tuple(self._world.failures), tuple(self._world.history), summary)


def simulate_raft(seed: int, faults: Sequence[str] = ()) -> Result:
    """Run one seed, with all kinds of faults or with some."""
    return RaftSimulation(seed, faults).run()
