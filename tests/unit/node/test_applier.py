"""The applier: every entry once, in order, in slices; a bug ends the node."""

import asyncio
import re
from collections.abc import Mapping
from zlib import crc32

import pytest
from typing_extensions import override

from garbagetruck.cluster.machine.codec import encode_batch
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.model import EventType
from garbagetruck.cluster.machine.operations import BATCH_FORMAT, Batch, EnterEpoch, NoteDigest
from garbagetruck.cluster.node.applier import NOTHING_SKIPPED, SLICE_NS_MAX, Applier
from garbagetruck.cluster.node.config.skips import SkippedEntries
from garbagetruck.cluster.node.endings import EntryNotApplied, EntryTooNew
from garbagetruck.cluster.raft.log import Entry, LogStatus, Role
from tests.unit.node.rig import Monotonic, turns


class SlowMachine(Machine):
    """Takes a millisecond of the test's clock for each entry."""

    def __init__(self, monotonic: Monotonic) -> None:
        super().__init__()
        self.monotonic = monotonic
        self.seen: list[bytes] = []

    @override
    def apply(self, payload: bytes) -> Applied:
        if payload == b"bug":
            raise ZeroDivisionError("a bug")
        self.monotonic.advance_ms(1)
        self.seen.append(payload)
        return super().apply(payload)


def payload(sequence: int) -> bytes:
    return encode_batch(Batch(BATCH_FORMAT, sequence, 0, "other", sequence, (EnterEpoch("n2"),)))


def status(applied_index: int, leader: str | None = "n2") -> LogStatus:
    return LogStatus(Role.FOLLOWER, 1, leader, applied_index, applied_index, applied_index, frozenset())


class Rig:
    def __init__(self, skip: Mapping[int, int] = NOTHING_SKIPPED) -> None:
        self.monotonic = Monotonic()
        self.machine = SlowMachine(self.monotonic)
        self.fatal: list[BaseException] = []
        self.applier = Applier(machine=self.machine, monotonic_ns=self.monotonic, on_fatal=self.fatal.append, skip=skip)

    def entries(self, first: int, last: int) -> None:
        entries = [Entry(index, payload(index)) for index in range(first, last + 1)]
        self.applier.on_entries(entries, last)


async def test_a_few_entries_are_applied_at_once() -> None:
    rig = Rig()
    rig.entries(1, 3)
    assert rig.applier.applied_index == 3


async def test_a_backlog_is_applied_in_slices_between_which_the_loop_turns() -> None:
    rig = Rig()
    rig.entries(1, 100)
    slice_entries = SLICE_NS_MAX // 1_000_000
    assert rig.applier.applied_index == slice_entries
    rig.entries(101, 120)
    assert rig.applier.applied_index == slice_entries, "what comes later waits its turn"
    await asyncio.sleep(0)
    assert rig.applier.applied_index == 2 * slice_entries
    await turns(20)
    assert rig.applier.applied_index == 120
    assert rig.machine.seen == [payload(index) for index in range(1, 121)]


async def test_entries_without_a_payload_count_once_those_before_them_are_applied() -> None:
    rig = Rig()
    rig.entries(1, 30)
    rig.applier.on_status(status(31))
    assert rig.applier.applied_index < 30
    await turns()
    assert rig.applier.applied_index == 31


async def test_waiters_wake_when_their_index_is_applied_and_not_before() -> None:
    rig = Rig()
    early, late = (asyncio.create_task(rig.applier.wait_applied(index)) for index in (2, 5))
    await turns()
    rig.entries(1, 3)
    await turns()
    assert early.done()
    assert not late.done()
    rig.applier.on_status(status(5))
    await late
    await rig.applier.wait_applied(5)


async def test_watchers_wake_when_there_are_more_events() -> None:
    rig = Rig()
    before = rig.machine.event_index
    watcher = asyncio.create_task(rig.applier.wait_applied_past(before))
    cancelled = asyncio.create_task(rig.applier.wait_applied_past(before))
    await turns()
    cancelled.cancel()
    assert not watcher.done()
    rig.entries(1, 1)
    await watcher
    assert rig.machine.event_index > before


@pytest.mark.parametrize("raising", ["apply", "listener"])
async def test_a_bug_ends_the_node_and_nothing_more_is_applied(raising: str) -> None:
    rig = Rig()

    class Listener:
        def on_applied(self, applied: Applied) -> None:
            if raising == "listener":
                raise AssertionError("a bug")

        def on_restored(self) -> None: ...

        def on_progress(self) -> None: ...

        def on_status(self, status: LogStatus) -> None: ...

    rig.applier.listen(Listener())
    rig.applier.on_entries([Entry(1, b"bug" if raising == "apply" else payload(1)), Entry(2, payload(2))], 2)
    assert len(rig.fatal) == 1
    assert isinstance(rig.fatal[0], EntryNotApplied if raising == "apply" else AssertionError)
    seen = list(rig.machine.seen)
    rig.entries(3, 4)
    rig.applier.on_fatal(OSError("later"))
    await turns()
    assert rig.machine.seen == seen
    assert len(rig.fatal) == 1


async def test_the_last_line_of_a_node_that_an_entry_ends_holds_what_skips_it() -> None:
    rig = Rig()
    rig.applier.on_entries([Entry(1, payload(1)), Entry(2, b"bug"), Entry(3, payload(3))], 3)
    (ending,) = rig.fatal
    told = re.search(r'node\.skip_entries = (\["[^"]*"\])$', str(ending))
    assert told is not None
    assert "ZeroDivisionError: a bug" in str(ending)
    (entry,) = SkippedEntries(meaning="").parse(told[1])
    again = Rig({entry.index: entry.checksum})
    again.applier.on_entries([Entry(1, payload(1)), Entry(2, b"bug"), Entry(3, payload(3))], 3)
    assert again.fatal == []
    assert again.machine.seen == [payload(1), payload(3)]
    assert again.applier.applied_index == 3
    (event,) = [each for each in again.machine.events_after(0, 9) if each.type is EventType.ENTRY_SKIPPED]
    assert f"entry 2, checksum {crc32(b'bug'):08x}" in event.detail


@pytest.mark.parametrize("skip", [{1: 0}, {2: crc32(b"bug")}, {1: crc32(payload(2))}])
async def test_i3_an_entry_is_skipped_only_for_its_own_bytes_at_its_own_index(skip: dict[int, int]) -> None:
    rig, plain = Rig(skip), Rig()
    for each in (rig, plain):
        each.entries(1, 3)
    assert rig.machine.digest() == plain.machine.digest()


async def test_an_entry_of_a_higher_level_ends_the_node_by_name_and_unapplied() -> None:
    rig = Rig()
    rig.machine.level = 1
    newer = encode_batch(Batch(2, 2, 0, "other", 2, (EnterEpoch("n2"), NoteDigest(1, 7))))
    rig.applier.on_entries(
        [Entry(1, encode_batch(Batch(1, 1, 0, "other", 1, (EnterEpoch("n2"),)))), Entry(2, newer)], 2
    )
    (ending,) = rig.fatal
    assert isinstance(ending, EntryTooNew)
    assert str(ending) == (
        "entry 2 of the log is too new: batch of format 2, this node reads up to 1. The node ends before it, for it would "
        "have to guess. To go on, set node.feature_level to 2, or more"
    )
    assert (rig.applier.applied_index, rig.machine.epoch) == (1, 1)


async def test_age_is_unknown_until_a_leader_was_heard_and_grows_from_then_on() -> None:
    rig = Rig()
    rig.entries(1, 2)
    assert rig.applier.age_ms() == -1, "a history replayed from disk says nothing of its age"
    rig.applier.on_status(status(2, leader=None))
    assert rig.applier.age_ms() == -1
    rig.applier.on_status(status(3))
    assert rig.applier.age_ms() == 0
    rig.monotonic.advance_ms(700)
    assert rig.applier.age_ms() == 700
