"""Feature levels: what waits for every member, who holds it back, and what an older node makes of newer bytes."""

import msgspec
import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import capture, codec, features, snapshot
from garbagetruck.cluster.machine.codec import FormatTooNew
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.machine.operations import (
    BATCH_FORMAT,
    Batch,
    CreateCluster,
    EnterEpoch,
    NameIncarnation,
    NoteDigest,
    Operation,
    RegisterMember,
    SettleMember,
)
from garbagetruck.cluster.machine.outcomes import Acknowledged, MemberChanged, Reason
from tests.unit.machine import integrity
from tests.unit.machine.integrity import state_of
from tests.unit.machine.scribe import MEMBER, Scribe, accepted, file, refused

NOTE = NoteDigest(4, 7)
NAME = NameIncarnation("0123abcd")
OLDEST, NEWEST = features.LEVEL_OLDEST, features.LEVEL_NEWEST


def member(name: str, level: int) -> Member:
    own = {part: f"{name}:{port}" for port, part in enumerate(("api", "http", "raft"), 1)}
    return replace(MEMBER, id=name, disk_id=f"disk of {name}", feature_level=level, **own)


def cluster(*levels: int, machine: Machine | None = None) -> Scribe:
    log = Scribe(machine=machine or Machine())
    log.at_ms = 1_000
    log.enter_epoch()
    members = tuple(member(f"n{number}", level) for number, level in enumerate(levels, 1))
    accepted(log.one(CreateCluster("c1", 1, members)), Acknowledged)
    return log


def test_every_operation_above_the_oldest_level_names_one_that_there_is() -> None:
    operations = set(Operation.__args__)
    assert set(features.LEVELS) <= operations
    assert set(features.LEVELS.values()) <= set(features.NAMES)
    assert set(features.NAMES) == set(range(OLDEST, NEWEST + 1))
    assert NEWEST == BATCH_FORMAT


@pytest.mark.parametrize(("levels", "level"), [((1, 1, 1), 1), ((2, 2, 1), 1), ((2, 0, 2), 1), ((2, 2, 2), 2)])
def test_the_cluster_has_the_lowest_level_of_its_members(levels: tuple[int, ...], level: int) -> None:
    assert cluster(*levels).machine.feature_level == level


def test_an_operation_above_the_clusters_level_is_refused_and_names_who_holds_it_back() -> None:
    log = cluster(2, 0, 1)
    digest = log.machine.digest()
    why = refused(log.one(NOTE), Reason.FEATURE_NOT_ENABLED)
    assert why.message == (
        "membership changes, digest checkpoints and restores need feature level 2 on every member, and n2, n3 hold the cluster at "
        "feature level 1"
    )
    assert dict(why.metadata) == {"level": "1", "needed": "2", "members": "n2,n3"}
    assert log.machine.digest() == digest, "I11: a refusal changes nothing"


def test_it_is_taken_from_the_entry_on_that_raises_the_last_member() -> None:
    log = cluster(2, 2, 1)
    raised, lowered = RegisterMember(member("n3", 2)), RegisterMember(member("n1", 1))
    outcomes = log.many(NOTE, raised, lowered, NOTE, RegisterMember(member("n1", 2)), NOTE)
    assert [isinstance(each, Acknowledged) for each in outcomes] == [False, True, True, False, True, True]


def test_once_it_was_used_the_level_falls_no_more() -> None:
    """Who is behind ends at the entry; and a member that was just added must not keep the others from removing it."""
    log = cluster(2, 2)
    accepted(log.one(NOTE), Acknowledged)
    log.many(RegisterMember(member("n1", 1)))
    assert log.machine.feature_level == 2
    accepted(log.one(NoteDigest(8, 7)), Acknowledged)
    assert integrity.restored(log.machine).feature_level == 2


@pytest.mark.parametrize("level", [0, 1])
def test_a_member_that_cannot_read_of_its_removal_is_removed_all_the_same(level: int) -> None:
    """A founder that never came, or one that died before its upgrade."""
    log = cluster(2, 2, level)
    refused(log.one(SettleMember("n3", "gone")), Reason.FEATURE_NOT_ENABLED)
    refused(log.one(log.removing("n1")), Reason.FEATURE_NOT_ENABLED)
    assert log.machine.not_enabled((log.removing("n3"),)) is None, "the commit queue asks the same"
    accepted(log.one(log.removing("n3")), MemberChanged)
    assert log.machine.feature_level == 2, "and from then on the rest of the removal can be written, too"
    accepted(log.one(SettleMember("n3", "gone")), Acknowledged)


def test_a_leader_that_could_not_read_of_its_own_removal_does_not_write_it() -> None:
    log = cluster(1, 2, machine=Machine(level=OLDEST))
    why = log.machine.not_enabled((log.removing("n1"),))
    assert why is not None
    assert "let another one lead first" in why.message


def test_of_two_that_cannot_read_neither_is_removed_and_the_refusal_names_the_other() -> None:
    log = cluster(2, 2, 2, 1, 0)
    why = refused(log.one(log.removing("n5")), Reason.FEATURE_NOT_ENABLED)
    assert dict(why.metadata)["members"] == "n4"


def test_nothing_of_a_higher_level_comes_before_the_cluster_itself() -> None:
    log = Scribe()
    log.enter_epoch()
    refused(log.one(NOTE), Reason.FEATURE_NOT_ENABLED)


# -- bytes --------------------------------------------------------------------------------------------------------


def test_a_batch_has_the_format_of_what_is_in_it() -> None:
    assert features.format_of(()) == OLDEST
    assert features.format_of((EnterEpoch("n1"),)) == OLDEST
    assert features.format_of((EnterEpoch("n1"), NOTE)) == 2
    assert features.format_of((NOTE, NAME)) == 3


def test_a_node_of_a_lower_level_reads_what_it_can_and_refuses_the_rest_by_name() -> None:
    machine = Machine(level=OLDEST)
    log = cluster(2, machine=machine)
    plain = Batch(OLDEST, log.epoch, 1_000, "n1", 90, (log.acquiring(),))
    assert machine.apply(codec.encode_batch(plain)).refused is None
    digest = machine.digest()
    newer = Batch(2, log.epoch, 2_000, "n1", 91, (NOTE,))
    with pytest.raises(FormatTooNew, match="batch of format 2, this node reads up to 1"):
        machine.apply(codec.encode_batch(newer))
    assert machine.digest() == digest


def test_i3_a_batch_that_says_less_than_it_needs_is_none_on_every_node() -> None:
    """A node of a lower level, to which the operation is an unknown tag, could not tell it from damage."""
    payload = codec.encode_batch(Batch(OLDEST, 1, 2_000, "n1", 91, (NOTE,)))
    for level in (OLDEST, NEWEST):
        machine = cluster(2, machine=Machine(level=level)).machine
        digest = machine.digest()
        assert machine.apply(payload).refused is not None
        assert machine.digest() == digest


def test_i3_without_anything_newer_the_state_has_the_digest_that_the_oldest_level_gives_it() -> None:
    """Written down when there was no other level: nodes of both levels compare it in `status` and in snapshots."""
    log = Scribe().begin()
    log.lease("r", "ann", 600_000, cleanup=file("a"))
    log.outlast(1_000)
    assert f"{log.machine.digest():016x}" == "ef8707f775310753"


def chunks_of(machine: Machine) -> list[bytes]:
    return list(capture.write(state_of(machine), 9, 1))


def test_a_snapshot_tells_the_level_of_what_was_ever_used() -> None:
    log = cluster(2, 2)
    older = chunks_of(log.machine)
    refused(log.one(NoteDigest(0, 7)), Reason.INVALID_ARGUMENT)
    assert snapshot.read(chunks_of(log.machine), OLDEST)[0].format == OLDEST, "what was refused left nothing to read"
    accepted(log.one(NOTE), Acknowledged)
    log.many(RegisterMember(member("n1", 1)))
    newer = chunks_of(log.machine)
    assert snapshot.read(older, OLDEST)[0].format == OLDEST
    assert snapshot.read(newer)[0].format == 2
    with pytest.raises(FormatTooNew, match="snapshot of format 2, this node reads up to 1"):
        snapshot.read(newer, OLDEST)
    back = integrity.restored(log.machine)
    assert (back.digest(), back.digest_notes()) == (log.machine.digest(), log.machine.digest_notes())


def test_an_incarnation_gets_one_id_which_its_snapshots_carry_and_its_digest_counts() -> None:
    log, other = cluster(3, 3), cluster(3, 3)
    older, digest = chunks_of(log.machine), log.machine.digest()
    assert snapshot.read(older, OLDEST)[0].incarnation_id == ""
    for wrong in ("", "a-b", "x" * 65):
        refused(log.one(NameIncarnation(wrong)), Reason.INVALID_ARGUMENT)
    accepted(log.one(NAME), Acknowledged)
    accepted(other.one(NameIncarnation("another")), Acknowledged)
    refused(log.one(NameIncarnation("another")), Reason.INVALID_ARGUMENT)
    assert log.machine.incarnation_id == NAME.id
    assert log.machine.digest() not in (digest, other.machine.digest()), "which one it is counts (I3)"
    back = integrity.restored(log.machine)
    assert (back.incarnation_id, back.digest()) == (NAME.id, log.machine.digest())
    with pytest.raises(FormatTooNew, match="snapshot of format 3, this node reads up to 2"):
        snapshot.read(chunks_of(log.machine), 2)


def test_an_incarnation_gets_its_id_only_when_every_member_can_read_it() -> None:
    log = cluster(3, 2, 3)
    assert "n2 holds the cluster at feature level 2" in refused(log.one(NAME), Reason.FEATURE_NOT_ENABLED).message
    refused(Scribe().one(NAME), Reason.FEATURE_NOT_ENABLED)


# -- what no node can apply ---------------------------------------------------------------------------------------


def test_i3_a_skipped_entry_is_told_in_an_event_and_is_part_of_the_digest() -> None:
    log, other = cluster(1), cluster(1)
    digest = log.machine.digest()
    applied = log.machine.skip(12, 0xABCD)
    assert applied.refused is not None
    assert applied.outcomes == ()
    assert log.machine.digest() != digest
    event = log.machine.events_after(log.machine.event_index - 1, 1)[0]
    assert (event.type, event.detail) == (
        "entry_skipped",
        "entry 12, checksum 0000abcd, was skipped by order of an operator",
    )
    other.machine.skip(12, 0xABCE)
    assert other.machine.digest() != log.machine.digest(), "which one it was counts"
    assert integrity.restored(log.machine).digest() == log.machine.digest()
    assert msgspec.msgpack.encode(state_of(log.machine).skipped) == msgspec.msgpack.encode(((12, 0xABCD),))
