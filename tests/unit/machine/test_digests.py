"""Digests through the log (I3): the first difference pauses cleanups, whoever is right; a majority tells who is."""

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import digests
from garbagetruck.cluster.machine.digest_notes import DigestNote
from garbagetruck.cluster.machine.model import Event, EventType, MemberRole
from garbagetruck.cluster.machine.operations import (
    ClaimCleanup,
    CreateCluster,
    NoteDigest,
    PauseCleanups,
    ReportDigest,
    ResumeCleanups,
)
from garbagetruck.cluster.machine.outcomes import Acknowledged, CleanupClaimed, Reason
from tests.unit.machine import integrity
from tests.unit.machine.integrity import state_of
from tests.unit.machine.scribe import AT_ONCE, MEMBER, NO_BRAKE, Scribe, accepted, file, refused

RIGHT, WRONG, OTHER = 0x1111, 0x2222, 0x3333


@pytest.fixture
def log() -> Scribe:
    log = Scribe()
    log.at_ms = 1_000
    log.enter_epoch()
    members = tuple(replace(MEMBER, id=each, feature_level=2) for each in ("n1", "n2", "n3"))
    accepted(log.one(CreateCluster("c1", 1, members)), Acknowledged)
    log.settings(cleanup=AT_ONCE, brake=NO_BRAKE)
    return log


def note(log: Scribe, index: int, digest: int = RIGHT) -> None:
    accepted(log.one(NoteDigest(index, digest)), Acknowledged)


def report(log: Scribe, index: int, node_id: str, digest: int) -> None:
    accepted(log.one(ReportDigest(index, node_id, digest)), Acknowledged)


def events(log: Scribe, kind: EventType) -> list[Event]:
    return [each for each in log.machine.events_after(0, 1_000) if each.type is kind]


def resume(log: Scribe) -> None:
    accepted(log.one(ResumeCleanups(log.at_ms, "", "", "op", "looked at it")), Acknowledged)


def due(log: Scribe) -> ClaimCleanup:
    lease = log.lease("r", "ann", 60_000, cleanup=file("a"))
    log.release(lease.id)
    log.advance(1)
    return log.claiming("r")


def test_as_long_as_all_agree_nothing_pauses(log: Scribe) -> None:
    note(log, 32)
    digest = log.machine.digest()
    report(log, 32, "n2", RIGHT)
    assert log.machine.digest() == digest, "there is nothing to remember"
    assert not log.machine.cleanups_paused
    assert log.machine.open_difference() is None


def test_i3_the_first_difference_pauses_every_cleanup_in_the_same_entry(log: Scribe) -> None:
    claiming = due(log)
    note(log, 32)
    outcomes = log.many(ReportDigest(32, "n3", WRONG), claiming)
    accepted(outcomes[0], Acknowledged)
    refused(outcomes[1], Reason.CLEANUPS_PAUSED)
    told = "digests differ at entry 32: n1, which led, has 0000000000001111, n3 has 0000000000002222"
    assert log.machine.cleanups_pause_reason == told
    assert [each.detail for each in events(log, EventType.DIGESTS_DIFFER)] == [told]
    assert [each.detail for each in events(log, EventType.CLEANUPS_PAUSED)] == [told]
    assert log.machine.open_difference() == DigestNote(32, RIGHT, "n1", (("n3", WRONG),))


def test_an_operators_resume_lifts_it_and_the_next_difference_pauses_again(log: Scribe) -> None:
    claiming = due(log)
    note(log, 32)
    report(log, 32, "n3", WRONG)
    resume(log)
    assert log.machine.open_difference() is None
    refused(log.one(ReportDigest(32, "n2", WRONG)), Reason.DIGEST_NOT_NOTED)
    accepted(log.one(claiming), CleanupClaimed)
    note(log, 64)
    report(log, 64, "n3", WRONG)
    assert log.machine.cleanups_paused


def test_an_operators_pause_keeps_its_reason_behind_the_difference(log: Scribe) -> None:
    log.one(PauseCleanups(log.at_ms, "", "", "op", "a migration"))
    note(log, 32)
    report(log, 32, "n3", WRONG)
    report(log, 32, "n2", OTHER)
    assert log.machine.cleanups_pause_reason.endswith("n3 has 0000000000002222; paused before: a migration")
    assert len(events(log, EventType.DIGESTS_DIFFER)) == 2


@pytest.mark.parametrize(
    ("reports", "majority"),
    [
        ({"n3": WRONG}, None),
        ({"n3": WRONG, "n2": RIGHT}, RIGHT),
        ({"n3": WRONG, "n2": WRONG}, WRONG),
        ({"n3": WRONG, "n2": OTHER}, None),
        ({"n3": WRONG, "n9": WRONG}, None),
    ],
)
def test_a_majority_of_the_voters_tells_who_is_right(reports: dict[str, int], majority: int | None) -> None:
    noted = DigestNote(32, RIGHT, "n1", tuple(reports.items()))
    assert digests.majority(noted, frozenset({"n1", "n2", "n3"})) == majority


def test_whoever_only_learns_has_no_voice_and_whoever_leaves_has_it_until_then(log: Scribe) -> None:
    members = state_of(log.machine).members
    members.put("n2", replace(members["n2"], role=MemberRole.LEAVING))
    members.put("n4", replace(members["n1"], id="n4", role=MemberRole.LEARNER))
    assert log.machine.voters() == {"n1", "n2", "n3"}


def test_of_two_voters_that_differ_neither_is_a_majority() -> None:
    assert digests.majority(DigestNote(32, RIGHT, "n1", (("n2", WRONG),)), frozenset({"n1", "n2"})) is None


def test_what_is_remembered_is_bounded(log: Scribe) -> None:
    for index in range(1, 3 * digests.NOTES_MAX):
        note(log, index)
    assert [each.index for each in log.machine.digest_notes()] == list(
        range(2 * digests.NOTES_MAX, 3 * digests.NOTES_MAX)
    )
    refused(log.one(ReportDigest(1, "n2", WRONG)), Reason.DIGEST_NOT_NOTED)


def test_what_makes_no_sense_is_refused_and_changes_nothing(log: Scribe) -> None:
    note(log, 32)
    digest = log.machine.digest()
    for index, told in ((32, RIGHT), (31, RIGHT), (0, RIGHT), (-1, RIGHT), (1 << 63, RIGHT), (64, -1)):
        refused(log.one(NoteDigest(index, told)), Reason.INVALID_ARGUMENT)
    refused(log.one(ReportDigest(32, "n9", WRONG)), Reason.MEMBER_UNKNOWN)
    refused(log.one(ReportDigest(32, "n2", -1)), Reason.DIGEST_NOT_NOTED)
    assert log.machine.digest() == digest


def test_i3_notes_and_reports_are_in_the_digest_and_in_snapshots(log: Scribe) -> None:
    note(log, 32)
    report(log, 32, "n3", WRONG)
    integrity.check(log.machine)
    back = integrity.restored(log.machine)
    assert back.digest() == log.machine.digest()
    assert back.open_difference() == log.machine.open_difference()
    state_of(back).digest_notes.pop(32)
    assert back.digest() != log.machine.digest()
