"""Hazard 17, as published: what pysyncobj alone does with changes of its voters."""

import socket

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

import garbagetruck.cluster.raft.seams  # noqa: F401  # has pysyncobj read such entries
from garbagetruck.cluster.raft import voter_change, wire
from garbagetruck.cluster.raft.voter_change import VoterChange


def test_two_changes_at_once_are_taken() -> None:
    """Hazard 17, as published: nothing is ever remembered of the change that is under way (1361)."""

    class Unconnected(Transport):  # type: ignore[misc]
        def send(self, node: Node, message: object) -> bool:
            return True

        def destroy(self) -> None: ...

    conf = SyncObjConf(
        autoTick=False,
        dynamicMembershipChange=True,
        appendEntriesPeriod=0.001,
        raftMinTimeout=0.01,
        raftMaxTimeout=0.011,
    )
    consensus = SyncObj(Node("n1"), [], conf=conf, transport=Unconnected(None, None, ()))
    while not consensus._isLeader() or consensus.raftLastApplied < 2:
        consensus.doTick(0.0)
    voters = {"n1": ""}
    for node_id in ("n2", "n3", "n4"):
        voters[node_id] = ""
        change = VoterChange("add", node_id, "", dict(voters))
        consensus._applyCommand(voter_change.encode(change), None, wire.MEMBERSHIP)
    consensus._checkCommandsToApply()
    assert {each.id for each in consensus.otherNodes} == {"n2", "n3", "n4"}, "of which none has applied anything"
    consensus.destroy()


def test_the_standard_library_is_what_it_was() -> None:
    """pysyncobj's import puts Windows' ways to read addresses in the place of the system's, on every system."""
    assert socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, "127.0.0.1")) == "127.0.0.1"
