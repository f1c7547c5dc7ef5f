"""How members come and go: one change at a time, each step one that a crash may fall behind."""

import msgspec
import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.model import Bounds, EventType, Member, MemberRole
from garbagetruck.cluster.machine.operations import (
    Batch,
    CreateCluster,
    EnterEpoch,
    Operation,
    RegisterMember,
    SettleMember,
)
from garbagetruck.cluster.machine.outcomes import Acknowledged, MemberChanged, Reason, Refused
from tests.unit.machine import integrity
from tests.unit.machine.scribe import MEMBER, Scribe, accepted, founder, member, refused

VOTER, LEARNER, LEAVING = MemberRole.VOTER, MemberRole.LEARNER, MemberRole.LEAVING
TABLE = """
operation   NONE                        BLANK                       LEARNER                     VOTER           LEAVING
add         learner                     MEMBERSHIP_CHANGE_PENDING   MEMBERSHIP_CHANGE_PENDING   MEMBER_EXISTS   MEMBERSHIP_CHANGE_PENDING
remove      MEMBER_UNKNOWN              none                        leaving                     leaving         MEMBERSHIP_CHANGE_PENDING
register    MEMBER_UNKNOWN              learner                     learner                     voter           leaving
wiped       MEMBER_UNKNOWN              learner                     MEMBER_UNKNOWN              MEMBER_UNKNOWN  MEMBER_UNKNOWN
votes       MEMBER_UNKNOWN              voter                       voter                       voter           MEMBER_UNKNOWN
gone        none                        MEMBER_UNKNOWN              MEMBER_UNKNOWN              MEMBER_UNKNOWN  none
take back   learner                     MEMBERSHIP_CHANGE_PENDING   MEMBERSHIP_CHANGE_PENDING   MEMBER_EXISTS   learner
add n5      learner                     MEMBERSHIP_CHANGE_PENDING   MEMBERSHIP_CHANGE_PENDING   voter           MEMBERSHIP_CHANGE_PENDING
remove n2   none                        MEMBERSHIP_CHANGE_PENDING   MEMBERSHIP_CHANGE_PENDING   voter           MEMBERSHIP_CHANGE_PENDING
"""
"""What becomes of n4 in each of its states. BLANK: added, and nobody has come under its name yet."""


def rows() -> list[tuple[str, str, str]]:
    header, *lines = (line.split("  ") for line in TABLE.strip().splitlines())
    columns = [each.strip() for each in header if each][1:]
    return [
        (cells[0], column, cell)
        for line in lines
        for cells in ([each.strip() for each in line if each.strip()],)
        for column, cell in zip(columns, cells[1:], strict=True)
    ]


@pytest.fixture
def log() -> Scribe:
    """Three nodes that vote, in a cluster of their own."""
    written = Scribe()
    written.at_ms = 1_000
    written.enter_epoch()
    written.one(CreateCluster("cluster-1", 1, tuple(founder(number) for number in (1, 2, 3))))
    return written


def record(log: Scribe, member_id: str) -> Member | None:
    return next((each for each in log.machine.members() if each.id == member_id), None)


def role(log: Scribe, member_id: str) -> str:
    found = record(log, member_id)
    return "none" if found is None else found.role.value


def bring_about(log: Scribe, column: str) -> None:
    if column == "NONE":
        return
    accepted(log.one(log.adding(member(4))), MemberChanged)
    if column == "BLANK":
        return
    accepted(log.one(RegisterMember(member(4, version="1", disk_id="disk-4"))), Acknowledged)
    if column in ("VOTER", "LEAVING"):
        accepted(log.one(SettleMember("n4", "voter")), Acknowledged)
    if column == "LEAVING":
        accepted(log.one(log.removing("n4")), MemberChanged)


@pytest.mark.parametrize(("operation", "column", "cell"), rows())
def test_each_word_about_a_member_in_each_of_its_states(log: Scribe, operation: str, column: str, cell: str) -> None:
    bring_about(log, column)
    digest = log.machine.digest()
    words: dict[str, Operation] = {
        "add": log.adding(member(4)),
        "take back": log.adding(member(4, disk_id="disk-4")),
        "remove": log.removing("n4"),
        "register": RegisterMember(member(4, version="1", disk_id="disk-4")),
        "wiped": RegisterMember(member(4, version="1", disk_id="wiped")),
        "votes": SettleMember("n4", "voter"),
        "gone": SettleMember("n4", "gone"),
        "add n5": log.adding(member(5)),
        "remove n2": log.removing("n2"),
    }
    outcome = log.one(words[operation])
    if cell.isupper():
        refused(outcome, Reason(cell))
        assert log.machine.digest() == digest, "I11: a refusal changes nothing"
    else:
        assert not isinstance(outcome, Refused)
        asked = operation.removeprefix("add ") if operation == "add n5" and cell == "learner" else "n4"
        assert role(log, asked) == cell
    integrity.check(log.machine)


def test_a_learner_is_what_was_asked_for_until_it_tells_more(log: Scribe) -> None:
    boasting = replace(member(4), version="9.9", feature_level=99, role=VOTER)
    added = accepted(log.one(log.adding(boasting)), MemberChanged).member
    assert added == record(log, "n4") == replace(member(4), feature_level=0, role=LEARNER)
    told = member(4, version="1.1", disk_id="disk-4")
    log.one(RegisterMember(told))
    assert record(log, "n4") == replace(told, role=LEARNER), "a node does not say of itself that it votes"


def test_a_disk_that_was_named_when_it_was_added_is_the_only_one_let_in(log: Scribe) -> None:
    log.one(log.adding(member(4, disk_id="disk-4")))
    refused(log.one(RegisterMember(member(4, disk_id="other"))), Reason.MEMBER_UNKNOWN)
    accepted(log.one(RegisterMember(member(4, disk_id="disk-4"))), Acknowledged)


@pytest.mark.parametrize("part", ["api", "http", "raft", "peer"])
def test_an_address_belongs_to_one_node_under_whatever_name(log: Scribe, part: str) -> None:
    for taken in ("127.0.0.1:7302", "localhost:7302"):
        why = refused(log.one(log.adding(replace(member(4), **{part: taken}))), Reason.MEMBER_EXISTS)
        assert why.field == f"member.{part}"
        assert "n2" in why.message


@pytest.mark.parametrize("part", ["api", "http", "raft", "peer"])
def test_a_node_cannot_announce_an_address_that_is_anothers(log: Scribe, part: str) -> None:
    """Whoever looked for the other one there would find this one, or nobody."""
    for number in (1, 2, 3):
        log.one(RegisterMember(member(number, version="1", disk_id=f"disk-{number}")))
    digest = log.machine.digest()
    record = member(1, version="2", disk_id="disk-1")
    for taken in ("127.0.0.1:7303", "localhost:7303"):
        why = refused(log.one(RegisterMember(replace(record, **{part: taken}))), Reason.MEMBER_EXISTS)
        assert (why.field, "n3" in why.message) == (f"member.{part}", True)
    assert log.machine.digest() == digest, "I11: a refusal changes nothing"
    accepted(log.one(RegisterMember(replace(record, **{part: record.api}))), Acknowledged)


def test_i3_while_a_member_reads_the_oldest_level_only_any_address_is_taken_as_there() -> None:
    log = Scribe()
    log.enter_epoch()
    log.one(CreateCluster("c", 1, (replace(founder(1), feature_level=1), founder(2))))
    taken = replace(founder(2), raft=founder(1).raft)
    accepted(log.one(RegisterMember(taken)), Acknowledged)


def test_a_member_that_leaves_is_taken_back_with_its_disk_and_votes_again(log: Scribe) -> None:
    """The way out when a removal can never be done: another one died meanwhile."""
    log.one(log.removing("n3"))
    other = refused(log.one(log.adding(member(3, disk_id="other"))), Reason.MEMBERSHIP_CHANGE_PENDING)
    assert "to take it back, name its data folder, disk-3, as disk_id" in other.message
    elsewhere = replace(member(3, disk_id="disk-3"), raft="127.0.0.1:9303")
    back = accepted(log.one(log.adding(elsewhere)), MemberChanged).member
    assert back == record(log, "n3") == replace(elsewhere, version="1.0.0", feature_level=2, role=LEARNER)
    assert [each.detail for each in log.events(EventType.MEMBER_CHANGED)][-1] == "n3 taken back, at 127.0.0.1:9303"
    refused(log.one(SettleMember("n3", "gone")), Reason.MEMBER_UNKNOWN)
    accepted(log.one(SettleMember("n3", "voter")), Acknowledged)
    accepted(log.one(log.removing("n2")), MemberChanged)


def test_taking_back_needs_an_address_of_its_own_and_no_further_room(log: Scribe) -> None:
    log.one(log.removing("n3"))
    taken = replace(member(3, disk_id="disk-3"), peer=member(2).raft)
    assert refused(log.one(log.adding(taken)), Reason.MEMBER_EXISTS).field == "member.peer"
    log.bounds(Bounds(members_max=3))
    accepted(log.one(log.adding(member(3, disk_id="disk-3"))), MemberChanged)


def test_there_are_no_more_members_than_the_bound(log: Scribe) -> None:
    log.bounds(Bounds(members_max=3))
    why = refused(log.one(log.adding(member(4))), Reason.QUOTA_EXCEEDED)
    assert why.metadata == (("limit", "members_max"), ("value", "3"))


def test_a_refusal_of_a_second_change_names_the_first(log: Scribe) -> None:
    log.one(log.adding(member(4)))
    why = refused(log.one(log.removing("n2")), Reason.MEMBERSHIP_CHANGE_PENDING)
    assert why.metadata == (("member", "n4"), ("role", "learner"))
    assert "n4 is joining" in why.message


def test_the_last_member_that_votes_stays() -> None:
    log = Scribe().begin()
    log.one(RegisterMember(founder(1)))
    assert refused(log.one(log.removing("n1")), Reason.LAST_VOTER).field == "member_id"
    assert log.machine.members() == (founder(1),)


def test_nobody_comes_or_goes_while_a_member_could_not_read_of_it() -> None:
    log = Scribe().begin()
    refused(log.one(log.adding(member(4))), Reason.FEATURE_NOT_ENABLED)
    refused(log.one(log.removing("n1")), Reason.FEATURE_NOT_ENABLED)
    refused(log.one(SettleMember("n1", "gone")), Reason.FEATURE_NOT_ENABLED)
    refused(log.one(RegisterMember(member(1, version="1.0.0", disk_id="disk-1"))), Reason.FEATURE_NOT_ENABLED)
    assert log.machine.members() == (MEMBER,), "and no record tells what it could not read"


def test_a_learner_holds_nobody_back(log: Scribe) -> None:
    log.one(log.adding(member(4)))
    assert log.machine.feature_level == 2
    accepted(log.one(log.removing("n4")), MemberChanged)


def test_i3_records_are_written_as_before_while_they_say_nothing_new() -> None:
    """A node of feature level 1 reads them, and counts them into the same digest."""
    old = ["n1", "127.0.0.1:7101", "127.0.0.1:7201", "127.0.0.1:7301", "1.0.0", "disk-1", 1]
    assert MEMBER.written() == old
    batch = Batch(1, 1, 0, "n1", 1, (EnterEpoch("n1"), CreateCluster("c", 1, (MEMBER,)), RegisterMember(MEMBER)))
    assert msgspec.msgpack.decode(codec.encode_batch(batch))[5] == [[1, "n1"], [2, "c", 1, [old]], [3, old]]
    assert codec.decode_batch(codec.encode_batch(batch)) == batch
    assert replace(MEMBER, peer="127.0.0.1:7401").written() == [*old, "127.0.0.1:7401"]
    assert replace(MEMBER, role=LEARNER).written() == [*old, "", "learner"]


def test_a_removed_member_keeps_its_record_until_raft_is_without_it(log: Scribe) -> None:
    """What the next leader needs in order to go on, whenever the last one died."""
    before = record(log, "n3")
    assert accepted(log.one(log.removing("n3")), MemberChanged).member == before
    assert role(log, "n3") == "leaving"
    accepted(log.one(SettleMember("n3", "gone")), Acknowledged)
    assert record(log, "n3") is None
    digest = log.machine.digest()
    accepted(log.one(SettleMember("n3", "gone")), Acknowledged)
    assert log.machine.digest() == digest, "the next leader may say it again"


def test_a_name_may_come_back_with_another_disk(log: Scribe) -> None:
    log.one(log.removing("n3"))
    log.one(SettleMember("n3", "gone"))
    refused(log.one(RegisterMember(member(3, version="1", disk_id="disk-3"))), Reason.MEMBER_UNKNOWN)
    log.one(log.adding(member(3)))
    accepted(log.one(RegisterMember(member(3, version="1", disk_id="new"))), Acknowledged)
    refused(log.one(RegisterMember(member(3, version="1", disk_id="disk-3"))), Reason.MEMBER_UNKNOWN)


def test_every_step_is_told_and_an_operators_by_whom(log: Scribe) -> None:
    bring_about(log, "LEAVING")
    log.one(SettleMember("n4", "gone"))
    told = [(each.detail, each.holder) for each in log.events(EventType.MEMBER_CHANGED)]
    assert told == [
        ("n4 added, at 127.0.0.1:7304", "operator"),
        ("n4 at 127.0.0.1:7104, version 1", ""),
        ("n4 votes", ""),
        ("n4 removed", "operator"),
        ("n4 is gone", ""),
    ]


def test_records_that_are_older_than_their_new_fields_are_read() -> None:
    """A log or a snapshot of before tells seven fields."""
    old = msgspec.msgpack.encode(["n1", "a:1", "h:1", "r:1", "1.0.0", "disk-1", 1])
    read = msgspec.msgpack.decode(old, type=Member)
    assert (read.peer, read.role) == ("", VOTER)
    assert LEAVING.value == "leaving"
