"""What the leader does about members that come and go: step by step, and on from wherever the last leader stopped."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.api.ports import PeerUnreachable
from garbagetruck.cluster.machine.model import MemberRole
from garbagetruck.cluster.machine.operations import AddMember, CreateCluster, RegisterMember, RemoveMember
from garbagetruck.cluster.node import membership
from garbagetruck.cluster.node.membership import MembershipDriver
from garbagetruck.cluster.node.peers.wire import StatusResponse
from garbagetruck.cluster.raft.errors import ChangeRefused, ChangeUnknown
from garbagetruck.cluster.raft.log import AddVoter, RemoveVoter, SealVoters
from tests.unit.machine.scribe import member
from tests.unit.node.rig import PEERS, Rig, turns

NOBODY_CAME = "n4 joins: no node has come under this name yet; start it with `garbagetruck serve --join`"


class Heard:
    """Peers that answer with how far they are; the silent do not."""

    def __init__(self) -> None:
        self.applied: dict[str, int] = {}
        self.asked: list[str] = []

    async def ask_status(self, node_id: str) -> StatusResponse:
        self.asked.append(node_id)
        if node_id not in self.applied:
            raise PeerUnreachable(node_id)
        return StatusResponse(1, "follower", 1, self.applied[node_id], 0, "1", 0, 0)


class Stage(Rig):
    """A leader of three, and what drives its members."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = Heard()
        self.driver = MembershipDriver(
            node_id="n1",
            log=self.log,
            machine=self.machine,
            queue=self.queue,
            leadership=self.leadership,
            peers=self.heard,
            on_fatal=self.fatal.append,
        )
        self.leadership.observe(self.driver)
        self.applier.listen(self.leadership, self.driver)

    async def begin(self) -> None:
        await self.start()
        await self.lead()
        founders = tuple(member(number, version="1", disk_id=f"disk-{number}") for number in (1, 2, 3))
        await self.queue.submit((CreateCluster("c1", 1, founders),), timeout_s=20)

    async def add(self, number: int = 4) -> None:
        await self.queue.submit((AddMember(self.machine.clock_ms, "", "op", member(number)),), timeout_s=20)
        await turns()

    async def remove(self, member_id: str) -> None:
        await self.queue.submit((RemoveMember(self.machine.clock_ms, "", "op", member_id),), timeout_s=20)
        await turns(30)

    async def come(self, number: int = 4) -> None:
        """The new node connects and registers."""
        self.log.connect(*PEERS, f"n{number}")
        record = member(number, version="1", disk_id=f"disk-{number}")
        await self.queue.submit((RegisterMember(record),), timeout_s=20)
        await turns(30)

    def role(self, member_id: str) -> MemberRole | None:
        found = self.machine.member(member_id)
        return None if found is None else found.role

    async def end(self) -> None:
        await self.driver.stop()
        await self.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(membership, "PAUSE_S_MIN", 0.001)
    monkeypatch.setattr(membership, "FAREWELL_POLL_S", 0.001)
    return Stage()


async def test_a_learner_gets_its_vote_once_it_has_come(stage: Stage) -> None:
    await stage.begin()
    await stage.add()
    assert stage.driver.waits == NOBODY_CAME
    assert stage.log.changes == []
    await stage.come()
    assert stage.log.changes == [AddVoter("n4", "disk-4"), SealVoters()]
    assert stage.role("n4") is MemberRole.VOTER
    assert stage.driver.waits == ""
    await stage.end()


async def test_a_learner_that_registered_and_left_again_waits_for_its_connection(stage: Stage) -> None:
    await stage.begin()
    await stage.add()
    await stage.queue.submit((RegisterMember(member(4, version="1", disk_id="disk-4")),), timeout_s=20)
    await turns()
    assert stage.driver.waits == "n4 joins: it is not connected to the leader, n1; only its disk disk-4 is let in"
    stage.log.connect(*PEERS, "n4")
    await turns(30)
    assert stage.role("n4") is MemberRole.VOTER
    await stage.end()


async def test_what_raft_refuses_is_told_and_tried_again_after_a_pause(stage: Stage) -> None:
    await stage.begin()
    await stage.add()
    stage.log.change_error = ChangeRefused("it is 5000 entries behind")
    await stage.come()
    assert stage.driver.waits == "n4 joins: it is 5000 entries behind"
    stage.log.change_error = None
    await until(lambda: stage.role("n4") is MemberRole.VOTER)
    await stage.end()


async def test_a_member_that_leaves_loses_its_vote_and_then_its_record(stage: Stage) -> None:
    await stage.begin()
    stage.heard.applied["n3"] = 1_000
    await stage.remove("n3")
    assert stage.log.changes == [RemoveVoter("n3"), SealVoters()]
    assert stage.role("n3") is None
    assert stage.heard.asked == ["n3"], "it was seen off"
    await stage.end()


async def test_i4_a_record_stays_until_the_removal_is_sealed(stage: Stage) -> None:
    """Who was removed may end when its record is gone: no restart may need its vote then."""
    await stage.begin()
    stage.log.voters -= {"n3"}
    stage.log.change_error = ChangeUnknown()
    await stage.remove("n3")
    assert stage.role("n3") is MemberRole.LEAVING
    stage.log.change_error = None
    await until(lambda: stage.role("n3") is None)
    assert stage.log.changes == [SealVoters()]
    await stage.end()


async def test_a_dead_node_is_not_waited_for(stage: Stage) -> None:
    await stage.begin()
    await stage.remove("n3")
    assert stage.role("n3") is None
    await stage.end()


async def test_a_removed_node_is_given_the_time_to_hear_of_it_and_not_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "FAREWELL_S", 0.05)
    await stage.begin()
    stage.heard.applied["n3"] = 0
    await stage.remove("n3")
    assert stage.role("n3") is MemberRole.LEAVING
    await until(lambda: stage.role("n3") is None)
    await stage.end()


async def test_a_leader_that_is_removed_hands_over_and_the_next_one_goes_on(stage: Stage) -> None:
    await stage.begin()
    await stage.remove("n1")
    await until(lambda: stage.log.status.leader == "n2")
    assert not stage.leadership.leading
    assert stage.log.changes == [], "it proposes nothing about itself"
    assert stage.role("n1") is MemberRole.LEAVING
    await stage.end()


async def test_a_leader_that_nobody_relieves_says_so_and_leads_on(stage: Stage) -> None:
    await stage.begin()
    stage.log.connect()
    await stage.remove("n1")
    await until(lambda: bool(stage.driver.waits))
    assert stage.driver.waits == "n1 leaves: it leads, and nobody took leadership over"
    assert stage.leadership.leading
    await stage.end()


@pytest.mark.parametrize("when", ["before its vote", "after its vote"])
async def test_the_next_leader_goes_on_with_a_learner_wherever_the_last_one_stopped(stage: Stage, when: str) -> None:
    await stage.begin()
    await stage.add()
    stage.log.change_error = ChangeUnknown()
    await stage.come()
    assert stage.role("n4") is MemberRole.LEARNER
    stage.log.follow(2, "n2")
    assert stage.driver.waits == "", "only the leader tells"
    if when == "after its vote":
        stage.log.voters |= {"n4"}
    stage.log.change_error = None
    await stage.lead(3)
    await turns(30)
    assert stage.role("n4") is MemberRole.VOTER
    promotion = [AddVoter("n4", "disk-4")] if when == "before its vote" else []
    assert stage.log.changes == [*promotion, SealVoters()], "sealed by whoever settles the record"
    await stage.end()


@pytest.mark.parametrize("when", ["before it lost its vote", "afterwards"])
async def test_the_next_leader_goes_on_with_a_member_that_leaves(stage: Stage, when: str) -> None:
    await stage.begin()
    stage.log.change_error = ChangeUnknown()
    await stage.remove("n3")
    assert stage.role("n3") is MemberRole.LEAVING
    stage.log.follow(2, "n2")
    if when == "afterwards":
        stage.log.voters -= {"n3"}
    stage.log.change_error = None
    await stage.lead(3)
    await turns(30)
    assert stage.role("n3") is None
    removal = [] if when == "afterwards" else [RemoveVoter("n3")]
    assert stage.log.changes == [*removal, SealVoters()], "sealed by whoever lets the record go"
    await stage.end()


@pytest.mark.parametrize("votes", [True, False], ids=["it votes still", "it votes no more"])
async def test_a_member_that_is_taken_back_votes_again(stage: Stage, *, votes: bool) -> None:
    """The way out when its removal can never be done, because another one died meanwhile."""
    await stage.begin()
    stage.log.change_error = ChangeRefused("of the 2 voters that there would be, only 1 are connected")
    await stage.remove("n3")
    assert stage.driver.waits.startswith("n3 leaves: of the 2 voters")
    if not votes:
        stage.log.voters -= {"n3"}
    stage.log.change_error = None  # to let it go was refused, and nothing else
    back = member(3, disk_id="disk-3")
    await stage.queue.submit((AddMember(stage.machine.clock_ms, "", "op", back),), timeout_s=20)
    await until(lambda: stage.role("n3") is MemberRole.VOTER)
    assert "n3" in stage.log.voters
    await stage.end()


async def test_a_learner_that_is_removed_before_its_vote_never_gets_one(stage: Stage) -> None:
    await stage.begin()
    await stage.add()
    stage.log.change_error = ChangeRefused("it is 5000 entries behind")
    await stage.come()
    await stage.remove("n4")
    stage.log.change_error = None
    await until(lambda: stage.role("n4") is None)
    assert stage.log.changes == [SealVoters()]
    assert replace(member(4), role=MemberRole.LEARNER) not in stage.machine.members()
    await stage.end()
