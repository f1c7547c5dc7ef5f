"""How a replica ends, or does not even begin: loudly, once, and without trying again."""

import asyncio
import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from garbagetruck.cluster.raft.errors import JournalDamaged, LogStopped
from garbagetruck.cluster.raft.log import Entry, Role
from garbagetruck.cluster.raft.seams import Consensus
from tests.integration.raft.replicas import CALM, IDS, Bell, Recorder, Trio, trio, until_seen


def raft_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("raft-")]


async def test_a_failure_on_the_raft_thread_is_reported_once_and_nothing_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hazard 9."""
    attempts = []

    def explode(payload: bytes, **_: object) -> None:
        attempts.append(payload)
        raise ZeroDivisionError("an entry could not be taken")

    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        victim = next(node_id for node_id in IDS if node_id != leader)
        consensus = nodes.replicas[victim]._engine._consensus
        assert consensus is not None
        monkeypatch.setitem(consensus._idToMethod, 0, explode)
        recorder = nodes.recorders[victim]
        nodes.propose(leader, b"a", b"b")
        await nodes.bell.until(lambda: bool(recorder.fatal))
        (error,) = recorder.fatal
        assert isinstance(error, ZeroDivisionError)
        with pytest.raises(LogStopped):
            nodes.replicas[victim].propose(b"c", term=1)
        await nodes.heard(b"b", by=[leader])
        await nodes.stop(victim)
        assert f"raft-{victim}" not in raft_threads()
        assert len(attempts) == 1
        assert recorder.entries == []
        recorder.fatal.clear()


def test_pysyncobj_alone_tries_again_for_ever() -> None:
    attempts = []

    class Explosive(SyncObj):  # type: ignore[misc]
        @replicated  # type: ignore[untyped-decorator]
        def append(self, payload: bytes) -> None:
            attempts.append(payload)
            raise ZeroDivisionError

    alone = Explosive(
        Node("n1"), [], conf=SyncObjConf(autoTick=False, raftMinTimeout=0.31), transport=Transport(*[None] * 3)
    )
    while not alone._isLeader():
        alone.doTick(0.01)
    alone._applyCommand(b"\0a", None)
    for _ in range(5):
        try:
            alone.doTick()
        except ZeroDivisionError:
            continue
    assert len(attempts) >= 3


async def test_a_listener_that_fails_ends_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        victim = next(node_id for node_id in IDS if node_id != leader)
        recorder = nodes.recorders[victim]
        heard = []

        def fail(entries: Sequence[Entry], applied_index: int) -> None:
            heard.append(applied_index)
            raise ZeroDivisionError("the machine broke")

        monkeypatch.setattr(recorder, "on_entries", fail)
        nodes.propose(leader, b"a")
        await nodes.bell.until(lambda: bool(recorder.fatal))
        nodes.propose(leader, b"b")
        await nodes.heard(b"b", by=[leader])
        await nodes.stop(victim)
        assert [str(error) for error in recorder.fatal] == ["the machine broke"]
        assert len(heard) == 1
        recorder.fatal.clear()


async def test_whatever_is_called_on_the_raft_loop_ends_the_log_when_it_fails(tmp_path: Path) -> None:
    """The loop would only log it, and a node without what was to be done would go on."""
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        victim = next(node_id for node_id in IDS if node_id != leader)
        recorder, engine = nodes.recorders[victim], nodes.replicas[victim]._engine

        def fail() -> None:
            raise ZeroDivisionError("a snapshot could not be described")

        engine._call_in(fail)
        await nodes.bell.until(lambda: bool(recorder.fatal))
        await nodes.stop(victim)
        assert [str(error) for error in recorder.fatal] == ["a snapshot could not be described"]
        recorder.fatal.clear()


async def test_a_port_in_use_is_said_at_once(tmp_path: Path) -> None:
    nodes = Trio(tmp_path)
    with socket.create_server(("127.0.0.1", nodes.members_as_seen_by("n1")[0].port)):
        replica = nodes.make("n1")
        recorder = Recorder(Bell())
        with pytest.raises(OSError, match="Address already in use"):
            await replica.start(recorder)
    assert raft_threads() == []
    assert recorder.fatal == []
    with pytest.raises(LogStopped):
        replica.propose(b"x", term=1)


async def test_a_damaged_journal_is_said_at_once(tmp_path: Path) -> None:
    nodes = Trio(tmp_path)
    await nodes.start("n1")
    await nodes.stop("n1")
    (segment,) = (nodes.folder("n1") / "journal").iterdir()
    content = bytearray(segment.read_bytes())
    content[20] ^= 1
    segment.write_bytes(content)
    with pytest.raises(JournalDamaged, match=r"\.seg, at offset 0, is damaged"):
        await nodes.start("n1")
    assert raft_threads() == []


async def test_a_start_that_is_given_up_leaves_no_thread(tmp_path: Path) -> None:
    nodes = Trio(tmp_path)
    replica = nodes.make("n1")
    start = asyncio.create_task(replica.start(Recorder(Bell())))
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert raft_threads() == []


async def test_a_cluster_of_one_leads_itself(tmp_path: Path) -> None:
    nodes = Trio(tmp_path)
    members = nodes.members_as_seen_by("n1")
    nodes.members_as_seen_by = lambda node_id: members[:1]  # type: ignore[method-assign]
    replica = await nodes.start("n1", founders=["n1"])
    await nodes.bell.until(lambda: replica.status.role is Role.LEADER)
    nodes.propose("n1", b"a")
    await nodes.heard(b"a")
    assert (await replica.confirm()).term == replica.status.term
    assert not await replica.transfer_leadership()
    await nodes.stop("n1")


@pytest.mark.parametrize(
    ("identity", "reason"),
    [({"cluster_id": "other"}, "another cluster"), ({"disk_id": "wiped"}, "another disk than before")],
)
async def test_a_node_that_does_not_belong_hears_nothing_and_stops_nobody(
    tmp_path: Path, identity: dict[str, str], reason: str
) -> None:
    async with trio(tmp_path, CALM) as nodes:
        leader = await nodes.leader()
        follower, victim = (node_id for node_id in IDS if node_id != leader)
        await nodes.stop(victim)
        shutil.rmtree(nodes.folder(victim))  # else its own journal would refuse it first
        replica = await nodes.start(victim, **identity)
        nodes.propose(leader, b"a")
        await nodes.heard(b"a", by=[leader, follower])
        others = (leader, follower, victim)
        await until_seen(lambda: any(nodes.replicas[each].refusals.get(reason) for each in others))
        assert replica.status.connected == frozenset()
        assert nodes.recorders[victim].payloads == []
        assert nodes.replicas[leader].status.role is Role.LEADER


def test_the_product_has_one_replicated_method() -> None:
    """Hazard 10."""
    assert [name for name, member in vars(Consensus).items() if getattr(member, "replicated", False)] == [
        "append_v0",
        "append",
    ]
