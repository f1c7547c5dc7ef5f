"""A log that began with a snapshot has two entries in name only: nobody may have them in place of what was committed there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from garbagetruck.cluster.raft import transport, wire
from garbagetruck.cluster.raft.guard import begins_hollow, in_parts
from garbagetruck.cluster.raft.snapshots.format import COMMAND
from tests.unit.raft.stage import Stage, StageNode, appending, opened


class SnapshotsToSend:
    """Who was to have one."""

    def __init__(self, node: StageNode) -> None:
        self._node = node
        self.begun: list[str] = []

    def begin(self, peer_id: str) -> None:
        self.begun.append(peer_id)
        self._node.guard.withdraw(peer_id)

    def acknowledged(self, _peer_id: str, _message: wire.NextIndex) -> bool:
        return False

    def turn(self) -> None:
        """Nothing is sent here."""

    def ended(self, peer_id: str) -> None: ...


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(tmp_path, monkeypatch)
    yield stage
    stage.close()


def leading_from_a_snapshot(stage: Stage, tmp_path: Path) -> tuple[StageNode, SnapshotsToSend]:
    """n1 went on from a snapshot up to entry 2 of term 1, and leads term 2."""
    journal = opened(tmp_path / "n1", "n1")
    journal.align((COMMAND, 1, 1), (COMMAND, 2, 1))
    journal.close()
    node = stage.node("n1", folder="n1")
    snapshots: Any = SnapshotsToSend(node)
    node.guard.attach_snapshots(snapshots)
    node.elect("n2")
    assert node.log == [(1, 1), (2, 1), (3, 2)]
    return node, snapshots


def entries_sent(node: StageNode, peer_id: str) -> list[wire.LogEntry]:
    return [entry for each in node.sent(peer_id) if isinstance(each, wire.AppendEntries) for entry in each.entries]


def lacks_the_last_of_it(node: StageNode) -> None:
    """n3 has the entry before, and not that one."""
    node.hear("n3", wire.NextIndex(2, 2, reset=True, success=False))
    node.propose(b"x")


def test_i3_whoever_has_all_but_the_snapshots_last_entry_gets_the_snapshot(stage: Stage, tmp_path: Path) -> None:
    """Found by the simulator: raft world, corrupt, seed 10."""
    node, snapshots = leading_from_a_snapshot(stage, tmp_path)
    node.sent("n3")
    lacks_the_last_of_it(node)
    assert snapshots.begun == ["n3"]
    assert entries_sent(node, "n3") == []
    assert [index for _, index, _ in entries_sent(node, "n2")] == [3, 4], "who has it goes on"


def test_without_that_it_would_apply_nothing_where_something_was_committed(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "begins_hollow", lambda _message: False)
    node, _ = leading_from_a_snapshot(stage, tmp_path)
    node.sent("n3")
    lacks_the_last_of_it(node)
    assert (COMMAND, 2, 1) in entries_sent(node, "n3")


def test_an_entry_that_opens_a_term_is_what_it_is() -> None:
    opening = wire.AppendEntries(3, 1, 7, 2, [(COMMAND, 8, 3)])
    assert not begins_hollow(opening)
    assert begins_hollow(wire.AppendEntries(3, 1, 7, 3, [(COMMAND, 8, 3)]))
    assert not begins_hollow(wire.AppendEntries(3, 1, 7, 3, []))


def test_parts_of_a_message_follow_each_other_and_are_all_of_it() -> None:
    whole = appending(3, 9, 2, [2, 2, 3, 3, 3])
    parts = [*in_parts(whole, 2)]
    assert [(each.prev_index, each.prev_term, len(each.entries)) for each in parts] == [
        (9, 2, 2),
        (11, 2, 2),
        (13, 3, 1),
    ]
    assert [entry for each in parts for entry in each.entries] == whole.entries
    assert [*in_parts(whole, 5)] == [whole]
