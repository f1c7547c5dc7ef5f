"""The commit queue: one batch of everything that waits, stamped once, two in flight, exact about failures."""

import asyncio

import pytest

from garbagetruck.cluster.api.gateway import (
    FeatureNotEnabled,
    NotLeader,
    NotSealed,
    OutcomeUnknown,
    Overloaded,
    StorageLow,
)
from garbagetruck.cluster.machine.codec import encode_batch
from garbagetruck.cluster.machine.operations import BATCH_FORMAT, Batch, EnterEpoch, NoteDigest, RenewLeases
from garbagetruck.cluster.machine.outcomes import LeaseGranted, LeasesRenewed
from garbagetruck.cluster.node.config.settings import QueueSection
from tests.unit.node.rig import Rig, acquire, renew, turns


async def held_rig(bounds: QueueSection | None = None) -> Rig:
    """A leader whose proposals wait for the test to commit them."""
    rig = Rig(automatic=False, bounds=bounds)
    await rig.start()
    await rig.lead()
    return rig


def submit(rig: Rig, *numbers: int, timeout_s: float = 5.0) -> "asyncio.Task[tuple[object, ...]]":
    async def run() -> tuple[object, ...]:
        return await rig.queue.submit([acquire(number) for number in numbers], timeout_s=timeout_s)

    return asyncio.get_running_loop().create_task(run())


async def test_everything_that_waits_becomes_one_batch_with_outcomes_for_each_caller(rig: Rig) -> None:
    await rig.lead()
    before = len(rig.log.history)
    answers = await asyncio.gather(*(submit(rig, number) for number in range(50)))
    batches = [batch for batch in rig.log.batches()[before:] if batch.operations]
    assert len(batches) == 1
    assert [answer[0].lease.id for answer in answers if isinstance(answer[0], LeaseGranted)] == [
        f"lease-{number}" for number in range(50)
    ]


async def test_at_most_two_batches_are_in_flight_and_the_rest_gathers() -> None:
    rig = await held_rig()
    tasks = []
    for number in range(6):
        tasks.append(submit(rig, number))
        await turns()
    assert len(rig.log.proposed) == rig.queue.batches_in_flight == 2
    assert rig.queue.waiting_operations == 4
    rig.log.commit(1)
    await turns()
    assert rig.queue.batches_in_flight == 2
    assert rig.queue.waiting_operations == 0, "what gathered left together"
    rig.log.commit()
    await asyncio.gather(*tasks)
    await rig.stop()


async def test_the_stamp_is_taken_after_closing() -> None:
    rig = await held_rig()
    clock_ms = rig.clock.now_ms()
    task = submit(rig, 1)
    await asyncio.sleep(0)  # it has entered, and its batch leaves at the loop's next turn
    assert not rig.log.proposed
    rig.monotonic.advance_ms(100)
    await turns(2)
    rig.log.commit()
    await task
    assert rig.log.batches()[-1].at_ms - clock_ms in (99, 100)
    await rig.stop()


async def test_a_batch_is_bounded_in_operations_and_a_large_group_spans_batches() -> None:
    rig = await held_rig(QueueSection(batch_operations_max=10))
    task = submit(rig, *range(25))
    for _ in range(3):
        await turns()
        rig.log.commit()
    outcomes = await task
    assert len(outcomes) == 25
    assert all(isinstance(outcome, LeaseGranted) for outcome in outcomes)
    sizes = [len(batch.operations) for batch in rig.log.batches() if batch.operations]
    assert sizes == [1, 10, 10, 5]
    await rig.stop()


async def test_a_batch_is_bounded_in_bytes() -> None:
    rig = await held_rig(QueueSection(batch_bytes_max=65_536))
    ids = [f"{number:026d}" for number in range(1_000)]
    tasks = [asyncio.create_task(rig.queue.submit((renew(ids),), timeout_s=20)) for _ in range(6)]
    await turns()
    assert [len(payload) <= 65_536 + 200 for payload in rig.log.proposed] == [True, True]
    while not all(task.done() for task in tasks):
        rig.log.commit()
        await turns()
    await asyncio.gather(*tasks)
    await rig.stop()


async def test_room_for_renewals_is_kept_under_overload() -> None:
    rig = await held_rig(QueueSection(operations_max=100, renewals_reserved=0.25))
    blocked = [submit(rig, -1)]
    await turns()
    blocked.append(submit(rig, -2))
    await turns()
    waiting = [submit(rig, number) for number in range(75)]
    await turns()
    assert rig.queue.waiting_operations == 75
    with pytest.raises(Overloaded):
        await rig.queue.submit((acquire(999),), timeout_s=20)
    renewals = [asyncio.create_task(rig.queue.submit((renew([f"lease-{n}"]),), timeout_s=20)) for n in range(25)]
    await turns()
    assert rig.queue.waiting_operations == 100
    with pytest.raises(Overloaded):
        await rig.queue.submit((renew(["lease-1"]),), timeout_s=20)
    for _ in range(3):
        rig.log.commit()
        await turns()
    await asyncio.gather(*blocked, *waiting)
    assert all(isinstance(outcome, LeasesRenewed) for (outcome,) in await asyncio.gather(*renewals))
    await rig.stop()


async def test_while_a_disk_is_almost_full_nothing_begins_and_renewals_and_releases_go_on(rig: Rig) -> None:
    await rig.lead()
    await rig.queue.submit((acquire(1),), timeout_s=20)
    rig.queue._low_on_space = lambda: frozenset({"n2"})
    with pytest.raises(StorageLow, match=r"the disk of n2 is almost full.*nothing was applied"):
        await rig.queue.submit((acquire(2),), timeout_s=20)
    (renewed,) = await rig.queue.submit((renew(["lease-1"]),), timeout_s=20)
    assert isinstance(renewed, LeasesRenewed)
    rig.queue._low_on_space = frozenset
    (granted,) = await rig.queue.submit((acquire(2),), timeout_s=20)
    assert isinstance(granted, LeaseGranted)


async def test_what_was_in_flight_when_the_machine_caught_up_by_a_snapshot_is_unknown() -> None:
    rig = await held_rig()
    task = submit(rig, 1)
    await turns()
    rig.queue.close()
    rig.queue.lose_track()
    with pytest.raises(OutcomeUnknown, match="caught up from a snapshot"):
        await task
    await rig.stop()


async def test_i7_the_probe_is_refused_where_a_renewal_would_be() -> None:
    rig = await held_rig(QueueSection(operations_max=100))
    first = [submit(rig, -1)]
    await turns()
    first.append(submit(rig, -2))
    await turns()
    filling = [asyncio.create_task(rig.queue.submit((renew(["x"]),), timeout_s=20)) for _ in range(100)]
    await turns()
    with pytest.raises(Overloaded):
        await rig.queue.probe()
    rig.log.commit()
    await turns()
    rig.log.commit()
    await asyncio.gather(*first, *filling)
    await rig.stop()


async def test_i7_the_probe_waits_while_a_renewal_would() -> None:
    """With a batch in flight that the log does not commit, no renewal gets through, and no probe either."""
    rig = await held_rig()
    task = submit(rig, 1)
    await turns()
    probe = asyncio.create_task(rig.queue.probe())
    await turns()
    assert not probe.done()
    rig.log.commit()
    await task
    await probe
    await rig.queue.probe()  # nothing in flight: nothing to wait for
    await rig.stop()


async def test_not_sealed_at_its_deadline_was_not_applied() -> None:
    rig = await held_rig()
    sealed = [submit(rig, 1)]
    await turns()
    sealed.append(submit(rig, 2))
    await turns()
    with pytest.raises(NotSealed):
        await rig.queue.submit((acquire(3),), timeout_s=0.01)
    assert rig.queue.waiting_operations == 0
    rig.log.commit()
    await asyncio.gather(*sealed)
    rig.log.commit()
    assert rig.machine.lease("lease-3", 0) is None
    await rig.stop()


async def test_sealed_without_an_outcome_at_its_deadline_is_unknown() -> None:
    rig = await held_rig()
    with pytest.raises(OutcomeUnknown):
        await rig.queue.submit((acquire(1),), timeout_s=0.01)
    rig.log.commit()
    assert rig.machine.lease("lease-1", 0) is not None, "unknown is not failed"
    await rig.stop()


async def test_lost_leadership_fails_what_waits_at_once_and_keeps_what_is_sealed() -> None:
    rig = await held_rig()
    tasks = []
    for number in range(3):
        tasks.append(submit(rig, number))
        await turns()
    rig.log.follow(2, "n2")
    await turns()
    with pytest.raises(NotLeader):
        await tasks[2]
    assert not tasks[0].done()
    assert not tasks[1].done()
    with pytest.raises(NotLeader):
        await rig.queue.submit((acquire(9),), timeout_s=20)
    for task in tasks[:2]:
        task.cancel()
    await rig.stop()


async def test_a_later_epoch_tells_that_a_sealed_batch_was_not_applied() -> None:
    rig = await held_rig()
    task = submit(rig, 1)
    await turns()
    rig.log.follow(2, "n2")
    await turns()
    assert not task.done()
    rig.log.commit_foreign(encode_batch(Batch(BATCH_FORMAT, 2, 0, "other", 1, (EnterEpoch("n2"),))))
    await turns()
    with pytest.raises(NotLeader):
        await task
    await rig.stop()


async def test_a_sealed_batch_that_a_later_leader_commits_before_its_own_entry_is_applied() -> None:
    rig = await held_rig()
    task = submit(rig, 1)
    await turns()
    payload = rig.log.proposed[0]
    rig.log.follow(2, "n2")
    rig.log.commit_foreign(payload)
    (outcome,) = await task
    assert isinstance(outcome, LeaseGranted)
    await rig.stop()


async def test_a_batch_of_a_foreign_epoch_changes_nothing() -> None:
    """What an old leader stamped never enters a new term (DESIGN section 6, 16)."""
    rig = await held_rig()
    task = submit(rig, 1)
    await turns()
    payload = rig.log.proposed[0]
    rig.log.follow(2, "n2")
    rig.log.commit_foreign(encode_batch(Batch(BATCH_FORMAT, 2, 0, "other", 1, (EnterEpoch("n2"),))))
    digest = rig.machine.digest()
    rig.log.commit_foreign(payload)
    with pytest.raises(NotLeader):
        await task
    assert rig.machine.digest() == digest
    await rig.stop()


async def test_a_predecessors_batch_is_never_taken_for_ones_own(rig: Rig) -> None:
    """A restarted process hears batches of its former life, with the same sequences."""
    await rig.lead()
    former = Rig()
    assert former.proposer.id == rig.proposer.id, "the same seed draws the same name"
    other = encode_batch(Batch(BATCH_FORMAT, 1, 0, "n1-0000000000000000", 2, (renew(["lease-1"]),)))
    rig.log.automatic = False
    task = submit(rig, 1)
    await turns()
    rig.log.commit_foreign(other)
    await turns()
    assert not task.done()
    rig.log.commit()
    assert isinstance((await task)[0], LeaseGranted)


async def test_a_cancelled_caller_withdraws_what_is_not_sealed() -> None:
    rig = await held_rig()
    sealed = [submit(rig, 1)]
    await turns()
    sealed.append(submit(rig, 2))
    await turns()
    task = submit(rig, 3)
    await turns()
    task.cancel()
    await turns()
    assert rig.queue.waiting_operations == 0
    rig.log.commit()
    await asyncio.gather(*sealed)
    assert not any(isinstance(each, RenewLeases) for batch in rig.log.batches() for each in batch.operations)
    assert rig.machine.lease("lease-3", 0) is None
    await rig.stop()


async def test_a_bug_while_sealing_ends_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio would log what a callback raises, and go on."""
    rig = await held_rig()
    monkeypatch.setattr(rig.proposer, "propose", None)
    task = submit(rig, 1)
    await turns()
    assert isinstance(rig.fatal.pop(), TypeError)
    task.cancel()
    await rig.stop()


async def test_a_log_that_was_stopped_applies_nothing_and_says_so() -> None:
    rig = await held_rig()
    rig.log.stopped = True
    with pytest.raises(NotSealed):
        await rig.queue.submit((acquire(1),), timeout_s=20)
    await rig.stop()


async def test_what_not_every_member_can_read_never_enters_the_log() -> None:
    rig = Rig()
    await rig.start()
    await rig.lead()
    await rig.create()
    entries = len(rig.log.history)
    with pytest.raises(FeatureNotEnabled, match="n1 holds the cluster at feature level 1; nothing was applied"):
        await rig.queue.submit((renew(["lease-1"]), NoteDigest(32, 7)), timeout_s=20)
    await turns()
    assert len(rig.log.history) == entries
    await rig.stop()
