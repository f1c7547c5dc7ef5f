"""The log is kept until it was copied elsewhere, within bounds; and is read as it was proposed, never what stands for it."""

import asyncio
import random
from concurrent.futures import Future
from types import SimpleNamespace
from typing import cast

import pytest

from garbagetruck.cluster.raft.compaction import Compaction
from garbagetruck.cluster.raft.cursor import Cursor
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.replay import LogTuple
from garbagetruck.cluster.raft.settings import Identity, RaftSettings
from garbagetruck.cluster.raft.snapshots.format import COMMAND, SnapshotHeader
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore
from garbagetruck.cluster.raft.snapshots.taking import Taking
from garbagetruck.cluster.raft.voters import Voters

HEADER = SnapshotHeader("c", 1, "s", 50, 1, 1)


@pytest.fixture
def forgot() -> list[int]:
    return []


@pytest.fixture
def journal() -> SimpleNamespace:
    return SimpleNamespace(payload_bytes=0, size_bytes=100)


@pytest.fixture
def taking(forgot: list[int], journal: SimpleNamespace) -> Taking:
    return Taking(
        identity=Identity("c", "n1", "d"),
        settings=RaftSettings(),
        store=cast("SnapshotStore", SimpleNamespace(newest=HEADER, keep_from=40)),
        journal=cast("Journal", journal),
        compaction=cast("Compaction", SimpleNamespace(forget_before=forgot.append)),
        voters=cast("Voters", SimpleNamespace(is_certain=True, forget_before=lambda _: None)),
        random=random.Random(1),
        monotonic_ns=lambda: 7,
        begin=lambda: None,
    )


def test_without_somebody_who_copies_the_log_is_let_go_of_at_once(taking: Taking, forgot: list[int]) -> None:
    taking.taken(HEADER)
    assert forgot == [40]


def test_what_is_not_copied_yet_is_kept_until_it_is(taking: Taking, forgot: list[int]) -> None:
    taking.keep_from(30, 1_000)
    taking.taken(HEADER)
    taking.turn(60)
    assert forgot == []
    taking.keep_from(40, 1_000)
    taking.turn(60)
    taking.turn(60)
    assert forgot == [40]


def test_a_journal_that_is_too_large_is_not_kept_for_that(
    taking: Taking, forgot: list[int], journal: SimpleNamespace
) -> None:
    taking.keep_from(30, 1_000)
    taking.taken(HEADER)
    journal.size_bytes = 1_001
    taking.turn(60)
    assert forgot == [40]


def test_who_waits_for_a_snapshot_gets_the_one_that_was_begun_after_it_asked(taking: Taking) -> None:
    early, late = Future[SnapshotHeader | None](), Future[SnapshotHeader | None]()
    taking.want(early)
    taking.turn(60)
    taking.want(late)
    taking.taken(HEADER)
    assert (early.done(), late.done()) == (True, False)
    taking.turn(60)
    taking.dropped()
    assert late.result(0) == HEADER


def test_who_wants_a_snapshot_of_what_the_newest_has_gets_that(taking: Taking) -> None:
    waiting = Future[SnapshotHeader | None]()
    taking.want(waiting)
    taking.turn(HEADER.index)
    assert waiting.result(0) == HEADER


class FakeJournal:
    """Entries from an index on."""

    def __init__(self, *entries: LogTuple) -> None:
        self.entries = {index: (command, index, term) for command, index, term in entries}
        self.last_index = max(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def entry_at(self, index: int) -> LogTuple:
        return self.entries[index]

    def term_at(self, index: int) -> int | None:
        found = self.entries.get(index)
        return None if found is None else found[2]


def read(from_index: int, *entries: LogTuple, applied_index: int = 99) -> tuple[list[tuple[int, int, bytes]], int]:
    cursor = Cursor(lambda call: call())
    journal = cast("Journal", FakeJournal(*entries))
    cursor.join(journal, cast("Taking", None), lambda: applied_index, lambda: None)
    run = asyncio.run(cursor.read(from_index))
    return [(each.index, each.term, each.payload) for each in run.entries], run.available_from


def test_what_was_proposed_is_read_and_raft_s_own_entries_have_no_payload() -> None:
    log = (COMMAND, 1, 1), (b"\0a", 2, 1), (b"\2voters", 3, 1), (COMMAND, 4, 2), (b"\0b", 5, 2)
    assert read(1, *log) == ([(1, 1, b""), (2, 1, b"a"), (3, 1, b""), (4, 2, b""), (5, 2, b"b")], 1)
    assert read(2, *log, applied_index=2) == ([(2, 1, b"a")], 2)
    assert read(6, *log) == ([], 6)


def test_an_entry_that_stands_for_what_a_snapshot_holds_is_gone() -> None:
    """Behind a snapshot the log begins with two such, which look like the entry that opens a term."""
    log = (COMMAND, 7, 3), (COMMAND, 8, 3), (b"\0c", 9, 3)
    for asked in (1, 7, 8):
        assert read(asked, *log) == ([], 9)
    assert read(9, *log) == ([(9, 3, b"c")], 9)
    opening = (COMMAND, 7, 3), (COMMAND, 8, 4), (b"\0c", 9, 4)
    assert read(8, *opening) == ([(8, 4, b""), (9, 4, b"c")], 8), "that one does open a term"
    within = (b"\0a", 5, 3), (COMMAND, 6, 3), (b"\0c", 7, 3)
    assert read(5, *within) == ([(5, 3, b"a")], 5), "a run ends before it"
    assert read(6, *within) == ([], 7)
