"""Whoever reads the log of a node that cannot find its cluster is told so, and what to do; nobody else is."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from garbagetruck.cluster.node.majority_watch import TOLD_AFTER_MS, TOLD_AGAIN_MS, MajorityWatch
from garbagetruck.cluster.raft.log import LogStatus, Role

ALONE = LogStatus(Role.FOLLOWER, 3, None, 0, 0, 0, frozenset(), voters=frozenset({"n1", "n2", "n3"}))


@dataclass
class Node:
    status: LogStatus = ALONE
    now_ms: int = 1_000

    def __post_init__(self) -> None:
        self.watch = MajorityWatch(
            node_id="n1",
            status=lambda: self.status,
            data_dir=Path("/srv/n1"),
            monotonic_ns=lambda: self.now_ms * 1_000_000,
        )

    def looks(self, after_ms: int) -> list[str]:
        """The events that it logs."""
        self.now_ms += after_ms
        with capture_logs() as lines:
            self.watch.look()
        self.lines = lines
        return [line["event"] for line in lines]


def test_a_node_alone_says_after_a_while_who_is_missing_and_names_the_way() -> None:
    node = Node()
    assert node.looks(0) == []
    assert node.looks(TOLD_AFTER_MS - 1) == []
    assert node.looks(1) == ["no_majority"]
    (line,) = node.lines
    assert (line["not_connected"], line["needed"], line["of"]) == (["n2", "n3"], 2, 3)
    assert "garbagetruck snapshot restore --from /srv/n1" in line["what_to_do"]
    assert line["log_level"] == "warning"


def test_it_is_said_again_but_not_all_the_time_and_its_end_is_said_once() -> None:
    node = Node()
    node.looks(0)
    assert node.looks(TOLD_AFTER_MS) == ["no_majority"]
    assert node.looks(TOLD_AGAIN_MS - 1) == []
    assert node.looks(1) == ["no_majority"]
    node.status = replace(ALONE, connected=frozenset({"n2"}))
    assert node.looks(1) == ["majority_found_again"]
    assert node.looks(TOLD_AFTER_MS) == []
    node.status = ALONE
    assert node.looks(0) == []
    assert node.looks(TOLD_AFTER_MS) == ["no_majority"]


@pytest.mark.parametrize(
    ("connected", "leader", "voters"),
    [
        ({"n2"}, None, {"n1", "n2", "n3"}),
        (set(), "n1", {"n1", "n2", "n3"}),
        (set(), None, {"n1"}),
        ({"n2", "n3"}, None, {"n1", "n2", "n3", "n4", "n5"}),
    ],
)
def test_who_has_a_majority_or_a_leader_says_nothing(connected: set[str], leader: str | None, voters: set[str]) -> None:
    node = Node(replace(ALONE, connected=frozenset(connected), leader=leader, voters=frozenset(voters)))
    assert node.looks(0) == []
    assert node.looks(TOLD_AFTER_MS) == []


@pytest.mark.parametrize("voters", [{"n2", "n3"}, set()])
def test_a_node_that_does_not_vote_says_nothing(voters: set[str]) -> None:
    """It was removed, or waits to be let in: what is to be done then is another thing."""
    node = Node(replace(ALONE, voters=frozenset(voters)))
    node.looks(0)
    assert node.looks(TOLD_AFTER_MS) == []


@pytest.mark.parametrize(
    ("connected", "voters", "missing"),
    [
        ({"n2"}, {"n1", "n2", "n3", "n4"}, ["n3", "n4"]),
        ({"learner"}, {"n1", "n2"}, ["n2"]),
    ],
)
def test_only_voters_count(connected: set[str], voters: set[str], missing: list[str]) -> None:
    node = Node(replace(ALONE, connected=frozenset(connected), voters=frozenset(voters)))
    node.looks(0)
    assert node.looks(TOLD_AFTER_MS) == ["no_majority"]
    assert node.lines[0]["not_connected"] == missing
