"""Leading begins with an entry of one's own, and ends at the first sign."""

import asyncio

import pytest

from garbagetruck.cluster.machine.codec import encode_batch
from garbagetruck.cluster.machine.model import LeaseState
from garbagetruck.cluster.machine.operations import BATCH_FORMAT, Batch, EnterEpoch, RenewLeases
from garbagetruck.cluster.machine.outcomes import LeaseGranted
from garbagetruck.cluster.node.config.settings import ClockSection
from tests.unit.node.rig import Rig, acquire, renew, turns

FAST = ClockSection(step_ms=250, probe_interval_ms=5, tick_ms=1_000, drift_ppm_max=0)


class Observer:
    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def started_leading(self, epoch: int) -> None:
        self.heard.append(("started", epoch))

    def stopped_leading(self, epoch: int) -> None:
        self.heard.append(("stopped", epoch))


async def test_a_leader_by_vote_leads_only_once_its_own_entry_is_applied() -> None:
    """DESIGN section 6, 15: what the predecessors committed has been applied by then."""
    rig = Rig(automatic=False)
    observer = Observer()
    rig.leadership.observe(observer)
    await rig.start()
    rig.log.lead(3)
    await turns()
    assert not rig.leadership.leading
    assert not rig.clock.leading
    rig.log.commit()
    await turns()
    assert rig.leadership.epoch == rig.machine.epoch == 3
    assert rig.machine.leader == "n1"
    rig.log.follow(4, "n2")
    assert not rig.leadership.leading
    assert not rig.clock.leading
    assert observer.heard == [("started", 3), ("stopped", 3)]
    await rig.stop()


async def test_a_leader_whose_term_ended_before_its_entry_came_does_not_lead() -> None:
    rig = Rig(automatic=False)
    await rig.start()
    rig.log.lead(3)
    payload = rig.log.proposed[0]
    rig.log.follow(4, "n2")
    rig.log.commit_foreign(payload)
    assert rig.machine.epoch == 3
    assert not rig.leadership.leading
    await rig.stop()


async def test_a_later_epochs_entry_ends_leading_at_once() -> None:
    rig = Rig(automatic=False)
    await rig.start()
    await rig.lead(3)
    rig.log.commit_foreign(encode_batch(Batch(BATCH_FORMAT, 4, 0, "other", 1, (EnterEpoch("n2"),))))
    assert not rig.leadership.leading
    await rig.stop()


async def test_a_new_term_of_ones_own_begins_a_new_epoch(rig: Rig) -> None:
    await rig.lead(1)
    rig.log.lead(5)
    assert not rig.leadership.leading
    await turns()
    assert rig.leadership.epoch == 5
    assert rig.clock.leading


async def test_an_idle_leader_ticks_once_a_second_and_a_deadline_sooner() -> None:
    rig = Rig(clock=FAST)
    await rig.start()
    await rig.lead()
    await rig.create()
    await _pass_ms(rig, 3_000)
    idle = [batch.at_ms for batch in rig.log.batches() if not batch.operations]
    assert [round(at_ms, -2) for at_ms in idle] == [1_000, 2_000, 3_000]
    (granted,) = await rig.queue.submit((acquire(1, entered_ms=rig.machine.clock_ms, ttl_ms=300),), timeout_s=20)
    assert isinstance(granted, LeaseGranted)
    acquired_ms = rig.machine.clock_ms
    await _pass_ms(rig, 330)
    ended = rig.machine.lease("lease-1", rig.machine.clock_ms)
    assert ended is not None
    assert ended.state is LeaseState.EXPIRED
    assert 300 <= ended.ended_ms - acquired_ms <= 325
    await rig.stop()


async def test_a_sweep_that_is_behind_ticks_at_once_until_it_is_not() -> None:
    rig = Rig(clock=FAST)
    await rig.start()
    await rig.lead()
    await rig.create()
    at_once = rig.machine.bounds.expirations_per_batch_max
    count = 3 * at_once + 1
    operations = [acquire(number, ttl_ms=1_000) for number in range(count)]
    for start in range(0, count, 1_000):
        await rig.queue.submit(operations[start : start + 1_000], timeout_s=20)
    await _pass_ms(rig, 900)
    assert rig.machine.summary().leases == count
    entries = len(rig.log.history)
    await _pass_ms(rig, 150)
    assert rig.machine.summary().leases == 0
    assert len(rig.log.history) - entries <= 12
    await rig.stop()


async def test_i7_time_stands_within_one_step_while_no_majority_answers() -> None:
    rig = Rig(clock=FAST)
    await rig.start()
    await rig.lead()
    await rig.create()
    await _pass_ms(rig, 1_000)
    rig.log.confirms = False
    before_ms = rig.clock.now_ms()
    await _pass_ms(rig, 30_000)
    assert rig.clock.now_ms() - before_ms <= 2 * FAST.step_ms
    await rig.stop()


async def test_i7_time_stands_while_the_log_commits_nothing() -> None:
    """Heartbeats may go through while a disk is stalled: no renewal would."""
    rig = Rig(clock=FAST)
    await rig.start()
    await rig.lead()
    await rig.create()
    await _pass_ms(rig, 1_000)
    rig.log.automatic = False
    lost = asyncio.create_task(rig.queue.submit((renew(["lease-1"]),), timeout_s=60))
    await turns()
    before_ms = rig.clock.now_ms()
    await _pass_ms(rig, 9_000)
    assert rig.clock.now_ms() - before_ms <= 2 * FAST.step_ms
    rig.log.commit()
    await lost
    await rig.stop()


async def test_i1_a_leader_stopped_for_longer_than_every_ttl_expires_nothing_renewed_elsewhere() -> None:
    """SIGSTOP: when it wakes, it first believes itself to lead; then it hears what happened without it."""
    rig = Rig(clock=FAST)
    await rig.start()
    await rig.lead(1)
    await rig.create()
    await rig.queue.submit((acquire(1, ttl_ms=5_000),), timeout_s=20)
    await _pass_ms(rig, 1_000)
    rig.log.automatic = rig.log.confirms = False
    rig.monotonic.advance_ms(60_000)  # nothing ran for a minute
    await _pass_ms(rig, 200)
    for payload in rig.log.proposed:
        rig.log.commit_foreign(payload)  # even if what it stamped on waking were committed
    lease = rig.machine.lease("lease-1", rig.machine.clock_ms)
    assert lease is not None
    assert lease.state is LeaseState.ACTIVE
    rig.log.follow(2, "n2")
    at_ms = rig.machine.clock_ms
    rig.log.commit_foreign(encode_batch(Batch(BATCH_FORMAT, 2, at_ms, "n2-x", 1, (EnterEpoch("n2"),))))
    for step in range(1, 20):
        operations = (RenewLeases(at_ms, "default", ("lease-1",)),)
        rig.log.commit_foreign(encode_batch(Batch(BATCH_FORMAT, 2, at_ms + 1_000 * step, "n2-x", step, operations)))
        rig.log.commit_foreign(encode_batch(Batch(BATCH_FORMAT, 1, at_ms + 60_000, rig.proposer.id, 100 + step, ())))
    lease = rig.machine.lease("lease-1", rig.machine.clock_ms)
    assert lease is not None
    assert lease.state is LeaseState.ACTIVE
    await rig.stop()


async def test_a_new_leader_goes_on_from_the_clock_of_the_log() -> None:
    """Leases are extended by the outage, not by a whole TTL."""
    rig = Rig(clock=FAST)
    await rig.start()
    await rig.lead(1)
    await rig.create()
    await rig.queue.submit((acquire(1, ttl_ms=5_000),), timeout_s=20)
    await _pass_ms(rig, 2_000)
    rig.log.follow(2, "n2")
    rig.monotonic.advance_ms(60_000)
    rig.log.lead(3)
    await turns()
    assert rig.machine.clock_ms <= rig.clock.now_ms() <= 2_000
    lease = rig.machine.lease("lease-1", rig.clock.now_ms())
    assert lease is not None
    assert lease.remaining_ms >= 3_000
    await rig.stop()


async def test_leadership_is_handed_over_with_the_queue_closed_first(rig: Rig) -> None:
    await rig.lead(1)
    assert await rig.leadership.hand_over("n3")
    assert not rig.leadership.leading
    assert rig.leadership.leader_id == "n3"


async def test_when_no_other_takes_over_this_node_leads_again(rig: Rig) -> None:
    await rig.lead(1)

    async def fail(to: str | None = None) -> bool:
        assert not rig.leadership.leading
        return False

    rig.log.transfer_leadership = fail  # type: ignore[method-assign]
    assert not await rig.leadership.hand_over()
    await turns()
    assert rig.leadership.epoch == 1
    await rig.queue.submit((renew(["x"]),), timeout_s=20)


async def test_a_leader_whose_log_dropped_a_batch_leads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody says when a log drops a proposal; without this, two dropped batches would block the queue for ever."""
    monkeypatch.setattr("garbagetruck.cluster.node.leadership.STUCK_S_MAX", 1.0)
    rig = Rig(clock=FAST)
    await rig.start()
    await rig.lead(1)
    await rig.create()
    rig.log.automatic = False
    lost = asyncio.create_task(rig.queue.submit((acquire(1),), timeout_s=100))
    await turns()
    rig.log.proposed.clear()
    rig.log.automatic = True
    await _pass_ms(rig, 2_000)
    assert rig.leadership.epoch == 1
    await rig.queue.submit((acquire(2, entered_ms=rig.machine.clock_ms),), timeout_s=20)
    assert not lost.done(), "it waits for its deadline: nobody knows"
    lost.cancel()
    await rig.stop()


async def _pass_ms(rig: Rig, ms: int) -> None:
    """Let time pass, five milliseconds at once, both for the cluster's clock and for the loop's timers."""
    loop = asyncio.get_running_loop()
    for _ in range(ms // 5):
        rig.monotonic.advance_ms(5)
        _turn_timers(loop, 0.005)
        await turns(8)


def _turn_timers(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """Bring every timer of the loop nearer, so that tests of seconds take none."""
    for handle in loop._scheduled:  # type: ignore[attr-defined]
        handle._when -= seconds
