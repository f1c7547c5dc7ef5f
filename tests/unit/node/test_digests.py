"""A node whose state went another way (I3): found by the others' digests, stopped from cleaning, and ended if few agree."""

import pytest

from garbagetruck.cluster.machine.digests import NOTES_MAX
from garbagetruck.cluster.machine.operations import ReportDigest, ResumeCleanups
from garbagetruck.cluster.node import digests
from garbagetruck.cluster.node.digests import EVERY_ENTRIES, NOTED_AFTER_ENTRIES, RING_MAX
from garbagetruck.cluster.node.endings import StateDiverged
from tests.unit.node.digest_trio import Trio
from tests.unit.node.rig import turns


async def test_a_leader_notes_its_digest_and_all_agree() -> None:
    trio = Trio()
    index = await trio.until_noted()
    assert index == EVERY_ENTRIES
    assert [node.watch.agreed_index for node in trio.nodes.values()] == [0, index, index]
    assert (trio.paused(), trio.held(), trio.ended(), trio.reports) == ([], [], [], [])


async def test_it_notes_again_after_enough_entries_however_little_time_has_passed() -> None:
    trio = Trio()
    await trio.until_noted()
    while len(trio.payloads) < NOTED_AFTER_ENTRIES + EVERY_ENTRIES:
        trio.commit()
    assert trio.last_note == EVERY_ENTRIES
    trio.monotonic.advance_ms(1_001)
    await trio.settle(1)
    assert trio.last_note == NOTED_AFTER_ENTRIES + EVERY_ENTRIES


async def test_nothing_is_noted_before_every_member_can_read_it() -> None:
    trio = Trio(level=1)
    for _ in range(4 * EVERY_ENTRIES):
        trio.commit()
    trio.monotonic.advance_ms(120_000)
    await trio.settle()
    assert trio.last_note == 0


async def test_i3_a_follower_that_went_another_way_stops_cleaning_at_once_then_all_do_then_it_ends() -> None:
    trio = Trio()
    await trio.until_noted()
    wrong = trio.nodes["n3"]
    wrong.go_wrong()
    trio.unreachable = True
    trio.note_by_hand()
    assert wrong.watch.holds_cleanups, "by its own sight, before anybody heard of it"
    assert trio.paused() == []
    trio.unreachable = False
    trio.let_through.clear()
    await trio.settle(2)
    assert [each.node_id for each in trio.reports] == ["n3"]
    assert "n1" in trio.held(), "the leader heard of it, and it is not in the log yet"
    assert trio.ended() == []
    trio.let_through.set()
    await trio.settle()
    assert trio.paused() == ["n1", "n2", "n3"], "the machine paused, and that of n3 applied it, too"
    assert trio.ended() == ["n3"]
    (ending,) = wrong.fatal
    assert isinstance(ending, StateDiverged)
    assert "the state of n3 behind entry 64" in str(ending)
    assert "that of the others, n1, n2, has" in str(ending)
    assert "bring the node back with an empty one" in str(ending)


async def test_i3_the_leader_itself_can_be_the_wrong_one_and_then_it_is_the_one_that_ends() -> None:
    trio = Trio()
    trio.nodes["n1"].go_wrong()
    await trio.until_noted()
    await trio.settle()
    assert trio.ended() == ["n1"]
    assert trio.paused() == ["n1", "n2", "n3"]
    assert trio.held() == ["n1", "n2", "n3"]
    assert {each.node_id for each in trio.reports} == {"n2", "n3"}


async def test_i3_without_a_majority_all_stay_up_and_paused_until_an_operator_resumes() -> None:
    trio = Trio()
    trio.nodes["n2"].go_wrong(1)
    trio.nodes["n3"].go_wrong(2)
    first = await trio.until_noted()
    assert trio.ended() == []
    assert trio.paused() == trio.held() == ["n1", "n2", "n3"]
    assert await trio.until_noted() > first, "the next note may tell more: noting goes on until something is decided"
    trio.nodes["n2"].go_wrong(-1)
    trio.nodes["n3"].go_wrong(-2)
    trio.commit(ResumeCleanups(10, "", "", "op", "looked at it"))
    assert trio.paused() == trio.held() == []
    await trio.until_noted()
    assert trio.paused() == trio.held() == []


async def test_a_node_that_still_differs_after_a_resume_is_found_again() -> None:
    trio = Trio()
    for name, by in (("n2", 1), ("n3", 2)):
        trio.nodes[name].go_wrong(by)
    await trio.until_noted()
    trio.commit(ResumeCleanups(10, "", "", "op", "did not look"))
    assert trio.paused() == []
    await trio.until_noted()
    assert trio.paused() == ["n1", "n2", "n3"]


async def test_without_a_digest_of_its_own_a_node_says_nothing_until_the_next_note() -> None:
    trio = Trio()
    wrong = trio.nodes["n3"]
    wrong.go_wrong()
    while len(trio.payloads) % EVERY_ENTRIES:
        trio.commit()
    wrong.watch.on_restored()
    await trio.until_noted()
    assert (trio.reports, trio.held(), trio.ended()) == ([], [], [])
    await trio.until_noted()
    await trio.settle()
    assert trio.ended() == ["n3"]


async def test_a_node_that_came_back_whole_does_not_end_of_what_was_reported_of_it_before() -> None:
    trio = Trio()
    trio.nodes["n3"].go_wrong()
    await trio.until_noted()
    await trio.settle()
    assert trio.ended() == ["n3"]
    trio.nodes["n3"].fatal.clear()
    trio.nodes["n3"].restart()
    await trio.settle()
    assert trio.ended() == []
    assert trio.nodes["n3"].machine.digest() == trio.nodes["n1"].machine.digest()


async def test_a_report_that_finds_no_leader_is_sent_again_and_not_without_a_pause() -> None:
    trio = Trio()
    trio.nodes["n3"].go_wrong()
    trio.unreachable = True
    trio.note_by_hand()
    await turns()
    trio.unreachable = False
    trio.commit()
    await turns()
    assert trio.reports == [], "not at once"
    trio.monotonic.advance_ms(1_001)
    trio.commit()
    await turns()
    assert trio.reports[0].node_id == "n3"


@pytest.mark.parametrize("leads", ["n1", "n2"], ids=["it leads on", "another one leads by then"])
async def test_i3_a_report_that_was_heard_gets_into_the_log_though_who_sent_it_is_gone(leads: str) -> None:
    """Else the leader would hold its cleanups for ever, and nobody would know why (I4)."""
    trio = Trio()
    wrong = trio.nodes["n3"]
    wrong.go_wrong()
    trio.let_through.clear()
    trio.note_by_hand()
    await turns()
    assert trio.held() == ["n1", "n3"], "n1 has heard of it"
    await wrong.watch.stop()
    wrong.restart()
    trio.let_through.set()
    trio.nodes["n1"].leading, trio.nodes[leads].leading = False, True
    assert trio.paused() == []
    await trio.settle()
    assert [each.node_id for each in trio.reports][:2] == ["n3", "n3"], "once by itself, once by who heard it"
    assert trio.paused() == trio.held() == ["n1", "n2", "n3"]
    trio.commit(ResumeCleanups(10, "", "", "op", "looked at it"))
    assert trio.paused() == trio.held() == []


async def test_i4_a_leader_lets_go_when_what_it_heard_can_get_into_the_log_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that reported is no member any more, so that the log refuses its word; and nobody else differs."""
    trio = Trio()
    monkeypatch.setattr(digests, "HEARD_MS", 1 << 40)
    await trio.until_noted()
    trio.nodes["n1"].watch.hear(ReportDigest(trio.last_note, "n9", 7))
    assert trio.held() == ["n1"]
    for _ in range(NOTES_MAX):
        assert trio.held() == ["n1"]
        await trio.until_noted()
    assert trio.held() == trio.paused() == trio.ended() == []


async def test_a_node_that_differs_is_held_on_though_the_note_that_told_it_has_gone() -> None:
    trio = Trio()
    trio.nodes["n3"].go_wrong()
    trio.nodes["n3"].watch.report_through(trio.silent)
    for _ in range(NOTES_MAX + 2):
        await trio.until_noted()
        assert trio.held() == ["n3"]


async def test_what_a_node_keeps_is_bounded() -> None:
    trio = Trio(level=1)
    for _ in range((RING_MAX + 3) * EVERY_ENTRIES):
        trio.nodes["n1"].meet(trio.payloads[0])
    ring = trio.nodes["n1"].watch._ring
    assert len(ring) == RING_MAX
    assert max(ring) - min(ring) == (RING_MAX - 1) * EVERY_ENTRIES


async def test_nothing_is_sent_any_more_once_stopped() -> None:
    trio = Trio()
    trio.nodes["n3"].go_wrong()
    await trio.nodes["n3"].watch.stop()
    await trio.nodes["n3"].watch.stop()
    await trio.until_noted()
    assert [each.node_id for each in trio.reports] == []


@pytest.mark.parametrize("name", ["n1", "n2"])
async def test_a_bug_on_the_way_ends_the_node(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trio = Trio()

    async def submit(*_: object, **__: object) -> None:
        raise AssertionError("a bug")

    trio.nodes["n2"].go_wrong()
    monkeypatch.setattr(trio.nodes[name], "submit", submit)
    if name == "n2":
        trio.note_by_hand()
    while len(trio.payloads) % EVERY_ENTRIES:
        trio.commit()
    trio.monotonic.advance_ms(31_000)
    await trio.settle()
    assert isinstance(trio.nodes[name].fatal[0], AssertionError)
