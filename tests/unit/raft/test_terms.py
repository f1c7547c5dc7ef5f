"""Hazards 8, 12, 15 and 16: what belongs to one term does not leak into another."""

from pathlib import Path

import pytest
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.seams import Consensus
from tests.unit.raft.links import BareTransport, voting
from tests.unit.raft.stage import SETTINGS, Stage, StageNode, appending, opened


def lead_twice(stage: Stage, *, guarded: bool) -> StageNode:
    """A leader of term 1 whose entries 3 to 5 were replaced under term 2, and which leads again in term 3."""
    node = stage.node("n1", guarded=guarded)
    node.elect("n2")
    node.propose(b"a", b"b", b"c")
    assert node.log[-1] == (5, 1)
    node.hear("n3", appending(2, 1, 0, [2]))
    assert node.log == [(1, 0), (2, 2)]
    node.elect("n3")
    assert node.consensus.term == 3
    node.propose(b"d", b"e")
    assert node.log == [(1, 0), (2, 2), (3, 3), (4, 3), (5, 3)]
    return node


class TestLateAcknowledgements:
    """Hazard 8."""

    late = wire.NextIndex(1, 6, reset=False, success=True)
    """n2's, for entries 3 to 5 of term 1."""

    def test_i2_an_acknowledgement_of_an_earlier_term_commits_nothing(self, stage: Stage) -> None:
        node = lead_twice(stage, guarded=True)
        node.hear("n2", self.late)
        node.tick()
        assert node.consensus.commit_index == 1
        assert node.refusals.counts["acknowledgement of another term"] == 1

    def test_pysyncobj_alone_commits_what_nobody_else_has(self, stage: Stage) -> None:
        node = lead_twice(stage, guarded=False)
        node.hear("n2", self.late)
        node.tick()
        assert node.consensus.commit_index == 5

    def test_an_acknowledgement_of_this_term_commits(self, stage: Stage) -> None:
        node = lead_twice(stage, guarded=True)
        node.hear("n2", wire.NextIndex(3, 6, reset=False, success=True))
        node.tick()
        assert node.consensus.commit_index == 5

    def test_an_answer_says_the_term_it_was_given_in(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.hear("n2", appending(7, 1, 0, [7]))
        assert node.sent("n2") == [wire.NextIndex(7, 3, reset=False, success=True)]


class TestEntriesLeaveAtOnce:
    """Hazard 12."""

    def test_a_proposal_is_sent_in_the_tick_that_took_it(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.elect("n2")
        node.sent("n2")
        node.propose(b"a")
        (message,) = node.sent("n2")
        assert isinstance(message, wire.AppendEntries)
        assert [command for command, _, _ in message.entries] == [b"\0a"]

    def test_pysyncobj_in_its_own_setting_waits_for_a_heartbeat(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.consensus.conf.appendEntriesUseBatch = True
        node.elect("n2")
        node.sent("n2")
        node.propose(b"a")
        assert node.sent("n2") == []
        stage.clock.advance(101)
        node.tick()
        assert len(node.sent("n2")) == 1


class TestLeadingBeforeApplying:
    """Hazard 15."""

    def test_a_leader_is_called_so_before_it_has_applied_what_its_predecessors_committed(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.hear("n2", appending(1, 1, 0, [1, 1, 1]))
        node.elect("n3")
        assert node.consensus.role is Role.LEADER
        assert node.payloads == []

    def test_an_entry_of_its_own_is_applied_after_all_of_its_predecessors(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.hear("n2", appending(1, 1, 0, [1, 1, 1]))
        node.elect("n3")
        node.propose(b"own")
        node.hear("n3", wire.NextIndex(2, 7, reset=False, success=True))
        node.tick()
        assert node.payloads == [b"2.1", b"3.1", b"4.1", b"own"]
        assert [entry.index for entry in node.consensus.applied] == [2, 3, 4, 6]

    def test_entries_of_earlier_terms_are_not_committed_by_counting(self, stage: Stage) -> None:
        """Section 5.4.2 of the paper; pysyncobj does it right."""
        node = stage.node("n1")
        node.hear("n2", appending(1, 1, 0, [1, 1, 1]))
        node.elect("n3")
        node.hear("n3", wire.NextIndex(2, 5, reset=False, success=True))
        node.tick()
        assert node.consensus.commit_index == 1


class TestNothingIsForwarded:
    """Hazard 16."""

    @staticmethod
    def enqueue_on_a_follower(node: StageNode) -> None:
        node.hear("n2", appending(1, 1, 0))
        node.sent("n2")
        node.consensus._applyCommand(b"\0late", None)
        super(Consensus, node.consensus)._checkCommandsToApply()

    def test_a_command_left_over_from_a_lost_leadership_does_not_leave_this_node(self, stage: Stage) -> None:
        node = stage.node("n1")
        self.enqueue_on_a_follower(node)
        assert node.sent("n2") == []

    def test_pysyncobj_alone_sends_it_to_the_new_leader(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        node = stage.node("n1", guarded=False)
        forwarded = []
        monkeypatch.setattr(node.transport, "send", lambda _node, message: forwarded.append(message))
        self.enqueue_on_a_follower(node)
        assert forwarded[-1] == {"type": "apply_command", "command": b"\0late"}

    def test_a_proposal_is_in_the_log_before_anything_else_can_happen(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """pysyncobj stops emptying its queue after a while; here its clock makes it stop at once, for some time."""
        node = stage.node("n1")
        node.elect("n2")
        jumps = iter([1_000, 1_000, 1_000, 0])

        def slow() -> float:
            stage.clock.advance(next(jumps, 0))
            return stage.clock.monotonic()

        monkeypatch.setattr("pysyncobj.syncobj.monotonicTime", slow)
        node.between = lambda: node.consensus.propose(b"a")
        node.consensus._checkCommandsToApply()
        assert node.log[-1] == (3, 1)


class TestReplicatedMethods:
    """Hazard 10."""

    def test_a_second_replicated_method_is_refused(self, tmp_path: Path) -> None:
        class Renumbered(Consensus):
            @replicated  # type: ignore[untyped-decorator]
            def annul(self) -> None: ...

        journal = opened(tmp_path, "n1")
        with pytest.raises(AssertionError, match="second replicated method"):
            Renumbered(
                node_id="n1",
                voters=voting("n1"),
                settings=SETTINGS,
                journal=journal,
                make_transport=BareTransport,
                between=lambda: None,
            )
        journal.close()

    def test_pysyncobj_alone_gives_an_old_methods_number_to_a_new_one(self) -> None:
        class Former(SyncObj):  # type: ignore[misc]
            @replicated  # type: ignore[untyped-decorator]
            def append(self) -> None: ...

        class Present(Former):
            @replicated  # type: ignore[untyped-decorator]
            def annul(self) -> None: ...

        def numbers(class_: type[Former]) -> dict[str, int]:
            conf = SyncObjConf(autoTick=False)
            return dict(class_(Node("n1"), [], conf=conf, transport=Transport(None, None, None))._methodToID)

        assert numbers(Former) == {"append_v0": 0}
        assert numbers(Present) == {"annul_v0": 0, "append_v0": 1}


class TestCommandsArePayloads:
    """Hazard 20, as far as the log goes."""

    def test_the_log_holds_the_payload_itself(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.elect("n2")
        node.propose(b"cos\nsystem\n(S'true'\ntR.")
        node.hear("n2", wire.NextIndex(1, 4, reset=False, success=True))
        node.tick()
        assert node.journal[-1][0] == b"\0cos\nsystem\n(S'true'\ntR."
        assert node.payloads == [b"cos\nsystem\n(S'true'\ntR."]
