"""Three replicas elect, replicate, fail over and come back."""

import asyncio
from pathlib import Path

import pytest

from garbagetruck.cluster.raft.errors import LogStopped, NotLeader, ProposalTooLarge
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.settings import RaftSettings
from tests.integration.raft.replicas import CALM, IDS, SETTINGS, trio


async def test_i3_every_node_hears_the_same_entries_in_the_same_order(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        payloads = [b"%d" % number for number in range(200)]
        for start in range(0, 200, 20):
            nodes.propose(leader, *payloads[start : start + 20])
            await asyncio.sleep(0)
        await nodes.heard(payloads[-1])
        assert all(nodes.recorders[node_id].payloads == payloads for node_id in IDS)
        assert len({tuple(nodes.recorders[node_id].entries) for node_id in IDS}) == 1


async def test_large_payloads_get_through_and_larger_ones_are_refused(tmp_path: Path) -> None:
    """Hazard 11."""
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        payloads = [bytes([number]) * SETTINGS.proposal_bytes_max for number in range(10)]
        nodes.propose(leader, *payloads)
        await nodes.heard(*payloads)
        assert nodes.replicas[leader].journal_bytes > 10 * SETTINGS.proposal_bytes_max
        with pytest.raises(ProposalTooLarge, match="1048577 bytes exceeds the limit of 1048576"):
            nodes.propose(leader, b"x" * (SETTINGS.proposal_bytes_max + 1))


async def test_a_proposal_for_another_term_is_dropped(tmp_path: Path) -> None:
    """Hazard 16."""
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        term = nodes.replicas[leader].status.term
        follower = next(node_id for node_id in IDS if node_id != leader)
        for wrong in (term - 1, term + 1):
            nodes.replicas[leader].propose(b"foreign", term=wrong)
        nodes.replicas[follower].propose(b"not a leader", term=term)
        nodes.propose(leader, b"right")
        await nodes.heard(b"right")
        assert all(nodes.recorders[node_id].payloads == [b"right"] for node_id in IDS)
        assert nodes.replicas[leader].dropped_proposals == 2
        assert nodes.replicas[follower].dropped_proposals == 1


async def test_i2_a_stopped_leader_is_replaced_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        nodes.propose(leader, b"before")
        await nodes.heard(b"before", by=[leader])
        await nodes.stop(leader)
        successor = await nodes.leader()
        assert successor != leader
        nodes.propose(successor, b"after")
        await nodes.heard(b"after")
        assert all(nodes.recorders[node_id].payloads == [b"before", b"after"] for node_id in nodes.replicas)


async def test_a_restarted_node_hears_the_history_again_from_its_beginning(tmp_path: Path) -> None:
    async with trio(tmp_path, CALM) as nodes:
        leader = await nodes.leader()
        payloads = [b"%d" % number for number in range(1_200)]
        for start in range(0, len(payloads), 100):
            nodes.propose(leader, *payloads[start : start + 100])
            await nodes.heard(payloads[start + 99])
        follower = next(node_id for node_id in IDS if node_id != leader)
        term = nodes.replicas[leader].status.term
        await nodes.stop(follower)
        nodes.propose(leader, b"meanwhile")
        await nodes.heard(b"meanwhile")
        await nodes.start(follower)
        await nodes.heard(b"meanwhile")
        assert nodes.recorders[follower].payloads == [*payloads, b"meanwhile"]
        assert nodes.recorders[follower].entries == nodes.recorders[leader].entries
        assert await nodes.leader() == leader, "coming back deposes nobody"
        assert nodes.replicas[leader].status.term == term


async def test_i2_all_nodes_restarted_at_once_forget_nothing(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        term = nodes.replicas[leader].status.term
        nodes.propose(leader, b"a", b"b")
        await nodes.heard(b"b")
        for node_id in IDS:
            await nodes.stop(node_id)
        for node_id in IDS:
            await nodes.start(node_id)
        leader = await nodes.leader()
        assert nodes.replicas[leader].status.term > term, "a term is never used twice"
        nodes.propose(leader, b"c")
        await nodes.heard(b"c")
        assert all(nodes.recorders[node_id].payloads == [b"a", b"b", b"c"] for node_id in IDS)


async def test_followers_that_were_quiet_for_long_still_reach_each_other(tmp_path: Path) -> None:
    """Else the first election after a quiet time would lose its first round."""
    async with trio(tmp_path, RaftSettings(connection_timeout_ms=1_500)) as nodes:
        leader = await nodes.leader()
        await nodes.bell.until(lambda: all(len(each.status.connected) == 2 for each in nodes.replicas.values()))
        heard = {node_id: len(each.statuses) for node_id, each in nodes.recorders.items()}
        await asyncio.sleep(3.5)  # longer than two connections may be silent
        for node_id, each in nodes.recorders.items():
            assert all(len(status.connected) == 2 for status in each.statuses[heard[node_id] :])
        await nodes.stop(leader)
        assert await nodes.leader() != leader


async def test_who_is_left_alone_names_no_leader(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        follower, last = (node_id for node_id in IDS if node_id != leader)
        await nodes.bell.until(lambda: nodes.replicas[last].status.leader == leader)
        await nodes.stop(follower)
        await nodes.stop(leader)
        await nodes.bell.until(lambda: nodes.replicas[last].status.leader is None)
        await nodes.start(follower)
        await nodes.bell.until(lambda: nodes.replicas[last].status.leader is not None)


async def test_leadership_is_handed_to_whom_it_is_asked_for(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        for _ in range(3):
            leader = await nodes.leader()
            target = next(node_id for node_id in IDS if node_id != leader)
            term = nodes.replicas[leader].status.term
            nodes.propose(leader, b"%d" % term)
            assert await nodes.replicas[leader].transfer_leadership(target)
            assert nodes.replicas[leader].status.term > term
            assert nodes.replicas[leader].status.leader == target
            assert await nodes.leader() == target
            await nodes.heard(b"%d" % term)


async def test_leadership_is_handed_to_somebody_when_nobody_is_named(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        assert await nodes.replicas[leader].transfer_leadership()
        assert await nodes.leader() != leader


async def test_leadership_stays_when_it_cannot_be_handed_over(tmp_path: Path) -> None:
    async with trio(tmp_path, CALM) as nodes:
        leader = await nodes.leader()
        follower, other = (node_id for node_id in IDS if node_id != leader)
        assert not await nodes.replicas[follower].transfer_leadership(leader)
        assert not await nodes.replicas[leader].transfer_leadership(leader)
        assert not await nodes.replicas[leader].transfer_leadership("n9")
        await nodes.stop(follower)
        await nodes.bell.until(lambda: nodes.replicas[leader].status.connected == {other})
        assert not await nodes.replicas[leader].transfer_leadership(follower)
        assert await nodes.leader() == leader
        nodes.propose(leader, b"still leading")
        await nodes.heard(b"still leading")


async def test_confirm_says_that_a_majority_still_follows(tmp_path: Path) -> None:
    async with trio(tmp_path, CALM) as nodes:
        leader = await nodes.leader()
        nodes.propose(leader, b"a")
        await nodes.heard(b"a", by=[leader])
        status = nodes.replicas[leader].status
        confirmations = await asyncio.gather(*(nodes.replicas[leader].confirm() for _ in range(50)))
        assert {confirmation.term for confirmation in confirmations} == {status.term}
        assert min(confirmation.commit_index for confirmation in confirmations) >= status.commit_index
        follower = next(node_id for node_id in IDS if node_id != leader)
        with pytest.raises(NotLeader) as raised:
            await nodes.replicas[follower].confirm()
        assert raised.value.leader == leader


async def test_i8_an_isolated_leader_confirms_nothing_and_steps_down(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        replica, loop = nodes.replicas[leader], asyncio.get_running_loop()
        await replica.confirm()
        nodes.isolate(leader)
        cut_at = loop.time()
        with pytest.raises(NotLeader):
            await replica.confirm()
        print(f"stepped down after {(loop.time() - cut_at) * 1_000:.0f} ms")
        assert replica.status.role is not Role.LEADER
        successor = await nodes.leader(but=leader)
        nodes.propose(leader, b"from the past")
        nodes.propose(successor, b"present")
        await nodes.heard(b"present", by=[successor])
        nodes.mend()
        await nodes.heard(b"present")
        assert await nodes.leader() in IDS
        assert all(nodes.recorders[node_id].payloads == [b"present"] for node_id in IDS)


async def test_a_follower_that_was_cut_off_deposes_nobody_when_it_is_back(tmp_path: Path) -> None:
    """Hazard 13. Longer than several election timeouts, and longer than connections last."""
    async with trio(tmp_path, CALM) as nodes:
        leader = await nodes.leader()
        term = nodes.replicas[leader].status.term
        follower = next(node_id for node_id in IDS if node_id != leader)
        nodes.isolate(follower)
        await asyncio.sleep(3 * CALM.election_timeout_ms_max / 1_000)
        assert nodes.replicas[follower].status.term == term, "it asks, and does not stand"
        nodes.propose(leader, b"meanwhile")
        nodes.mend()
        await nodes.heard(b"meanwhile")
        nodes.propose(leader, b"after")
        await nodes.heard(b"after")
        assert await nodes.leader() == leader
        assert {each.status.term for each in nodes.replicas.values()} == {term}


async def test_i3_what_an_isolated_leader_could_not_commit_is_not_heard(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        nodes.isolate(leader)
        nodes.propose(leader, b"lost", b"lost too")
        successor = await nodes.leader(but=leader)
        nodes.propose(successor, b"kept")
        nodes.mend()
        await nodes.heard(b"kept")
        assert all(nodes.recorders[node_id].payloads == [b"kept"] for node_id in IDS)


async def test_after_stopping_nothing_works_and_nothing_is_heard(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        replica = nodes.replicas[leader]
        nodes.isolate(leader)
        confirmation = asyncio.create_task(replica.confirm())
        await asyncio.sleep(0)
        await nodes.stop(leader)
        with pytest.raises(LogStopped):
            await confirmation
        with pytest.raises(LogStopped):
            replica.propose(b"late", term=1)
        with pytest.raises(LogStopped):
            await replica.confirm()
        with pytest.raises(LogStopped):
            await replica.transfer_leadership()
        heard = len(nodes.recorders[leader].statuses)
        await replica.stop()
        nodes.mend()
        await nodes.leader(but=leader)
        assert len(nodes.recorders[leader].statuses) == heard
