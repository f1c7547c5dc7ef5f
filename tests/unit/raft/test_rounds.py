"""Rounds of confirmation and transfers of leadership, without a network: the engine's part and the replica's."""

import asyncio
import random
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.changing import Changing
from garbagetruck.cluster.raft.disk import RealDisk
from garbagetruck.cluster.raft.engine import Engine
from garbagetruck.cluster.raft.exchange import (
    Confirm,
    Confirmed,
    Exchange,
    HandOff,
    Propose,
    Request,
    Transfer,
    Transferred,
)
from garbagetruck.cluster.raft.log import Confirmation, Entry, LogStatus, Role
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.storage import Storage
from tests.unit.raft.links import VirtualTime, voting
from tests.unit.raft.stage import SETTINGS

MEMBERS = [Member(f"n{i}", f"127.0.0.1:{7300 + i}") for i in (1, 2, 3)]
IDENTITY = Identity("c", "n1", "d")
LEADING = LogStatus(Role.LEADER, 4, "n1", 9, 9, 9, frozenset({"n2", "n3"}))


class FakeConsensus:
    """As much of pysyncobj as the engine looks at."""

    def __init__(self) -> None:
        self.role, self.term = Role.LEADER, 4
        self.leader: str | None = "n1"
        self.commit_index = self.applied_index = 9
        self.journal = SimpleNamespace(last_index=9, is_space_low=False)
        self.applied: list[Entry] = []
        self.proposed: list[bytes] = []
        self.asked_to_stand: list[str | None] = []
        self.target_is_caught_up = True

    def propose(self, payload: bytes) -> None:
        self.proposed.append(payload)

    def send_timeout_now(self, node_id: str | None) -> bool:
        if self.target_is_caught_up:
            self.asked_to_stand.append(node_id)
        return self.target_is_caught_up

    def depose(self, leader: str | None = "n2") -> None:
        self.role, self.term, self.leader = Role.FOLLOWER, self.term + 1, leader


class FakeTransport:
    def __init__(self) -> None:
        self.connected = frozenset({"n2", "n3"})
        self.probes: list[tuple[str, wire.Probe]] = []

    def probe(self, node_id: str, probe: wire.Probe) -> None:
        self.probes.append((node_id, probe))

    def hears(self, leader: str) -> bool:
        return leader != "n1"


class Unmet:
    """Nobody's disk is known."""

    def disk_of(self, _node_id: str) -> str:
        return ""

    def was_removed(self, _node_id: str, _disk_id: str) -> bool:
        return False


class Bench:
    """An exchange whose surroundings are fakes; `step` is what happens once in each turn."""

    def __init__(self, settings: RaftSettings = SETTINGS) -> None:
        self.clock = VirtualTime()
        self.consensus, self.transport = FakeConsensus(), FakeTransport()
        self.hand_offs: list[HandOff] = []
        self.exchange = Exchange(
            node_id="n1",
            voters=voting("n1", "n2", "n3"),
            changing=Changing("n1", Unmet()),
            settings=settings,
            monotonic_ns=self.clock.monotonic_ns,
            hand_over=self.hand_offs.append,
        )

    @property
    def low_on_space(self) -> frozenset[str]:
        """As last handed over."""
        return next(each.status.low_on_space for each in reversed(self.hand_offs) if each.status is not None)

    def step(self, *requests: Request, after_ms: int = 0) -> list[object]:
        self.clock.advance(after_ms)
        for request in requests:
            self.exchange.put(request)
        before = len(self.hand_offs)
        surroundings: Any = self.consensus, self.transport
        self.exchange.between(*surroundings)
        return [reply for hand_off in self.hand_offs[before:] for reply in hand_off.replies]


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestRounds:
    def test_a_round_asks_every_peer_and_ends_with_the_majoritys_echo(self, bench: Bench) -> None:
        assert bench.step(Confirm(1)) == []
        assert bench.transport.probes == [("n2", wire.Probe(4, 1)), ("n3", wire.Probe(4, 1))]
        bench.consensus.commit_index = 12
        bench.exchange.on_echo("n3", wire.Echo(4, 1))
        assert bench.step() == [Confirmed(Confirmation(4, 9))], "the commit index is that of the asking"
        bench.exchange.on_echo("n2", wire.Echo(4, 1))
        assert bench.step() == []

    def test_i8_a_leader_that_was_deposed_meanwhile_confirms_nothing(self, bench: Bench) -> None:
        bench.step(Confirm(1))
        bench.exchange.on_echo("n3", wire.Echo(4, 1))
        bench.consensus.depose()
        assert bench.step() == [Confirmed(None)]

    def test_i8_a_leader_of_a_later_term_does_not_confirm_for_an_earlier(self, bench: Bench) -> None:
        bench.step(Confirm(1))
        bench.exchange.on_echo("n3", wire.Echo(4, 1))
        bench.consensus.term = 6
        assert bench.step() == [Confirmed(None)]

    def test_a_follower_confirms_nothing_and_asks_nobody(self, bench: Bench) -> None:
        bench.consensus.depose()
        assert bench.step(Confirm(1)) == [Confirmed(None)]
        assert bench.transport.probes == []

    def test_an_echo_to_an_earlier_round_does_not_end_a_later(self, bench: Bench) -> None:
        bench.step(Confirm(1))
        bench.exchange.on_echo("n3", wire.Echo(4, 1))
        bench.step()
        bench.step(Confirm(2))
        bench.exchange.on_echo("n2", wire.Echo(4, 1))
        assert bench.step() == []

    def test_the_status_names_those_whose_disks_are_almost_full_while_they_are_there(self, bench: Bench) -> None:
        bench.step(Confirm(1))
        bench.exchange.on_echo("n3", wire.Echo(4, 1, space_low=True))
        bench.step()
        assert bench.low_on_space == {"n3"}
        bench.exchange.on_echo("n3", wire.Echo(4, 1))
        bench.consensus.journal.is_space_low = True
        bench.step()
        assert bench.low_on_space == {"n1"}

    def test_whoever_is_silent_is_asked_again(self, bench: Bench) -> None:
        bench.step(Confirm(1))
        bench.transport.probes.clear()
        bench.step(after_ms=SETTINGS.heartbeat_ms - 1)
        assert bench.transport.probes == []
        bench.step(after_ms=1)
        assert [node_id for node_id, _ in bench.transport.probes] == ["n2", "n3"]


class TestTransfers:
    def test_nothing_is_proposed_from_the_asking_to_the_end(self, bench: Bench) -> None:
        assert bench.step(Propose(b"a", 4), Transfer("n2"), Propose(b"b", 4)) == []
        assert bench.consensus.proposed == [b"a"]
        assert bench.consensus.asked_to_stand == ["n2"]
        bench.consensus.depose("n2")
        assert bench.step() == [Transferred(done=True)]

    def test_the_target_first_catches_up(self, bench: Bench) -> None:
        bench.consensus.target_is_caught_up = False
        bench.step(Transfer("n2"))
        bench.step(after_ms=50)
        assert bench.consensus.asked_to_stand == []
        bench.consensus.target_is_caught_up = True
        bench.step(after_ms=50)
        assert bench.consensus.asked_to_stand == ["n2"]

    def test_a_target_that_does_not_stand_is_asked_again_with_every_heartbeat(self, bench: Bench) -> None:
        """It may have been made a voter just now, and not have heard of it when it was asked first."""
        bench.step(Transfer("n2"))
        bench.step(after_ms=SETTINGS.heartbeat_ms - 1)
        assert bench.consensus.asked_to_stand == ["n2"]
        bench.step(after_ms=1)
        assert bench.consensus.asked_to_stand == ["n2", "n2"]
        bench.consensus.depose(None)
        bench.step(after_ms=SETTINGS.heartbeat_ms)
        assert bench.consensus.asked_to_stand == ["n2", "n2"], "who leads no more asks nobody"

    def test_a_transfer_that_does_not_happen_is_given_up(self, bench: Bench) -> None:
        bench.step(Transfer("n2"))
        assert bench.step(after_ms=SETTINGS.transfer_ms_max - 1) == []
        assert bench.step(after_ms=1) == [Transferred(done=False)]
        bench.step(Propose(b"again", 4))
        assert bench.consensus.proposed == [b"again"]

    def test_a_higher_term_without_a_leader_is_not_yet_the_end(self, bench: Bench) -> None:
        bench.step(Transfer("n2"))
        bench.consensus.depose(None)
        assert bench.step() == []

    def test_a_leader_that_is_elected_again_takes_proposals_again(self, bench: Bench) -> None:
        bench.step(Transfer("n2"))
        bench.consensus.term = 6
        assert bench.step() == [Transferred(done=False)]

    @pytest.mark.parametrize("to", ["n1", "n9", ""])
    def test_whoever_is_not_connected_gets_nothing(self, bench: Bench, to: str) -> None:
        assert bench.step(Transfer(to)) == [Transferred(done=False)]
        bench.transport.connected = frozenset()
        assert bench.step(Transfer(None)) == [Transferred(done=False)]


class TestTheQueue:
    def test_a_proposal_for_another_term_is_dropped(self, bench: Bench) -> None:
        """Hazard 16."""
        bench.step(Propose(b"a", 3), Propose(b"b", 4), Propose(b"c", 5))
        assert bench.consensus.proposed == [b"b"]
        assert bench.exchange.dropped_proposals == 2

    def test_a_leader_that_stepped_down_within_its_term_proposes_nothing(self, bench: Bench) -> None:
        bench.consensus.role, bench.consensus.leader = Role.FOLLOWER, None
        bench.step(Propose(b"a", 4))
        assert bench.consensus.proposed == []

    def test_leadership_lost_before_the_log_gets_to_it_drops_a_proposal(self, bench: Bench) -> None:
        bench.exchange.put(Propose(b"a", 4))
        bench.consensus.depose()
        bench.step()
        assert bench.consensus.proposed == []

    def test_proposals_past_the_bound_are_dropped(self) -> None:
        bench = Bench(RaftSettings(proposals_waiting_max=2))
        bench.step(*(Propose(b"%d" % number, 4) for number in range(5)))
        assert bench.consensus.proposed == [b"0", b"1"]
        assert bench.exchange.dropped_proposals == 3

    def test_a_long_history_comes_in_several_hand_offs_and_the_status_with_the_last(self, bench: Bench) -> None:
        bench.consensus.applied = [Entry(index, b"") for index in range(2, 2_503)]
        bench.consensus.applied_index = bench.consensus.commit_index = 2_502
        bench.step()
        assert [len(each.entries) for each in bench.hand_offs] == [1_000, 1_000, 501]
        assert [each.applied_index for each in bench.hand_offs] == [1_001, 2_001, 2_502]
        assert [each.status is None for each in bench.hand_offs] == [True, True, False]

    def test_nothing_new_is_not_handed_over(self, bench: Bench) -> None:
        bench.step()
        bench.step()
        assert len(bench.hand_offs) == 1


class TestTheEngine:
    """Hazard 13, in part: what a process that stood still concludes from the silence it slept through."""

    @pytest.mark.parametrize(("passed_ms", "deadline_moves"), [(SETTINGS.heartbeat_ms + 1, True), (1, False)])
    async def test_a_process_that_stood_still_listens_before_it_concludes_anything(
        self, tmp_path: Path, passed_ms: int, deadline_moves: bool
    ) -> None:
        clock = VirtualTime()
        engine = Engine(
            identity=IDENTITY,
            members=MEMBERS,
            founders=[member.node_id for member in MEMBERS],
            storage=Storage(tmp_path, RealDisk()),
            settings=SETTINGS,
            thread_factory=lambda target, name: threading.Thread(target=target, name=name, daemon=True),
            monotonic_ns=clock.monotonic_ns,
            random=random.Random(1),
            hand_over=lambda _: None,
        )
        engine._loop = asyncio.get_running_loop()
        engine._open_log()
        engine._turned_ns = clock.now_ns
        clock.advance(SETTINGS.election_timeout_ms_max)
        engine._turned_ns = clock.now_ns - passed_ms * 1_000_000
        engine._turn_over()
        assert (engine._election._deadline_ns > clock.now_ns) is deadline_moves
        assert engine._consensus is not None
        engine._consensus.destroy()
