"""What the executor is told: candidates, work, and whether this node leads for certain."""

import asyncio

import pytest

from garbagetruck.cluster.cleanup.ledger import NotProposedError, ProposalUnknownError
from garbagetruck.cluster.machine.model import CleanupSettings, CleanupSpec, NamespaceLimits, Resource
from garbagetruck.cluster.machine.operations import AcquireLease, ClaimCleanup, ReleaseLeases, SetNamespace
from garbagetruck.cluster.machine.outcomes import CleanupClaimed
from garbagetruck.cluster.node import cleanup_ledger
from garbagetruck.cluster.node.cleanup_ledger import NodeLedger
from tests.unit.node.rig import Rig, turns


async def rig_with_ledger() -> tuple[Rig, NodeLedger]:
    """A leader of a cluster without grace."""
    rig = Rig()
    ledger = NodeLedger(machine=rig.machine, queue=rig.queue, leadership=rig.leadership, clock=rig.clock)
    rig.applier.listen(rig.leadership, ledger)
    await rig.start()
    await rig.lead()
    await rig.create()
    settings = rig.machine.namespace("default")
    assert settings is not None
    no_grace = CleanupSettings(grace_ms_min=0)
    await rig.queue.submit(
        (SetNamespace(0, "default", "", "tests", NamespaceLimits(), no_grace, settings.brake),), timeout_s=1
    )
    return rig, ledger


async def orphan(rig: Rig, name: str, handler: str) -> None:
    spec = CleanupSpec(handler, (("path", name),), f"{handler}:/{name}")
    acquire = AcquireLease(0, "default", name, f"lease-{name}", name, "holder", 60_000, cleanup=spec)
    release = ReleaseLeases(0, "default", (f"lease-{name}",))
    await rig.queue.submit((acquire, release), timeout_s=20)
    rig.monotonic.advance_ms(5)
    rig.queue.tick()
    await turns()


def claim(resource: Resource) -> ClaimCleanup:
    return ClaimCleanup("default", resource.name, resource.generation, resource.revision, "n1", 1_000, "")


def names_of(ledger: NodeLedger, handler: str) -> dict[str, list[str]]:
    return {namespace: [each.name for each in found] for namespace, found in ledger.waiting(handler).items()}


async def test_what_waits_is_told_by_handler_and_namespace_the_longest_due_first() -> None:
    rig, ledger = await rig_with_ledger()
    for name, handler in (("a", "file"), ("b", "http"), ("c", "file")):
        await orphan(rig, name, handler)
    assert ledger.waiting_counts() == {"file": 2, "http": 1}
    assert names_of(ledger, "file") == {"default": ["a", "c"]}
    assert names_of(ledger, "http") == {"default": ["b"]}
    assert names_of(ledger, "unknown") == {}
    await rig.stop()


async def test_work_is_told_when_something_falls_due_and_kept_until_asked_for() -> None:
    rig, ledger = await rig_with_ledger()
    waiting = asyncio.create_task(ledger.wait_for_work())
    await turns()
    assert not waiting.done()
    await orphan(rig, "a", "file")
    await asyncio.wait_for(waiting, timeout=20)
    await orphan(rig, "b", "file")
    await asyncio.wait_for(ledger.wait_for_work(), timeout=20)
    await rig.stop()


async def test_claims_go_through_the_queue_and_their_failures_say_what_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig, ledger = await rig_with_ledger()
    await orphan(rig, "a", "file")
    (resource,) = ledger.waiting("file")["default"]
    (outcome,) = await ledger.propose((claim(resource),))
    assert isinstance(outcome, CleanupClaimed)
    monkeypatch.setattr(cleanup_ledger, "PROPOSAL_TIMEOUT_S", 0.01)
    rig.log.automatic = False
    with pytest.raises(ProposalUnknownError):
        await ledger.propose((claim(resource),))
    rig.log.follow(2, "n2")
    with pytest.raises(NotProposedError):
        await ledger.propose((claim(resource),))
    await rig.stop()


async def test_i8_a_leader_that_was_stopped_does_not_count_as_leading_until_a_majority_answers_again() -> None:
    rig, ledger = await rig_with_ledger()
    assert ledger.is_leading()
    rig.log.confirms = False
    rig.monotonic.advance_ms(cleanup_ledger.PROVED_WITHIN_MS + 1)
    assert rig.leadership.leading
    assert not ledger.is_leading()
    rig.clock.credit(rig.monotonic())
    assert ledger.is_leading()
    rig.log.follow(2, "n2")
    assert not ledger.is_leading()
    await rig.stop()


async def test_i3_a_node_whose_state_is_in_doubt_offers_nothing_and_does_not_count_as_leading() -> None:
    rig, _ = await rig_with_ledger()
    held = [False]
    ledger = NodeLedger(
        machine=rig.machine, queue=rig.queue, leadership=rig.leadership, clock=rig.clock, held=lambda: held[0]
    )
    await orphan(rig, "r1", "file")
    assert ledger.is_leading()
    assert names_of(ledger, "file") == {"default": ["r1"]}
    held[0] = True
    assert not ledger.is_leading()
    assert names_of(ledger, "file") == {}
    await rig.stop()
