"""Explaining, forgetting and previewing, over a real server and a bare machine."""

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine.features import LEVEL_NEWEST
from garbagetruck.cluster.machine.model import ReportResult
from garbagetruck.cluster.machine.operations import KeepChronicles, RegisterMember, ReportCleanup
from garbagetruck.v1 import cleanup_pb2, cleanup_spec_pb2, lease_pb2, resource_pb2
from tests.unit.api.stand import NODES, Stand, refusal
from tests.unit.api.test_services import FILE, NOT_FOUND, PRECONDITION, claim, orphan


@pytest.fixture
def api(api: Stand) -> Stand:
    """Of nodes that can all read stories."""
    api.gateway.apply(*(RegisterMember(replace(node, feature_level=LEVEL_NEWEST)) for node in NODES))
    return api


async def test_a_resource_is_explained_through_its_life_and_after_it(api: Stand) -> None:
    api.gateway.apply(KeepChronicles())

    async def explained() -> resource_pb2.ExplainResponse:
        return await api.resources.Explain(resource_pb2.ExplainRequest(resource="uploads/42"))

    lease = (
        await api.leases.Acquire(
            lease_pb2.AcquireRequest(resource="uploads/42", holder="ann", ttl_ms=1_000, cleanup=FILE)
        )
    ).lease
    told = await explained()
    assert told.summary == "in use: 1 lease(s) of ann; 2s after the last one ends it is cleaned"
    assert [each.kind for each in told.obstacles] == ["lease"]
    assert [each.id for each in told.resource.leases] == [lease.id]
    await api.leases.Release(lease_pb2.ReleaseRequest(lease_id=lease.id))
    told = await explained()
    assert told.summary.startswith("an orphan for 0s; not cleaned yet because it is left alone")
    assert [(each.holder, each.end_reason) for each in told.ended_leases] == [("ann", "released")]
    api.gateway.apply(at_ms=api.gateway.clock_ms + 2_001)
    token = claim(api).token
    assert (await explained()).summary.endswith("being cleaned by n1 (attempt 1)")
    api.gateway.apply(ReportCleanup("default", "uploads/42", token, ReportResult.DONE))
    told = await explained()
    assert told.summary == f"cleaned 0s ago by handler 'file' under token {token}, in attempt 1"
    assert told.history[-1].detail == "attempt 1 by n1"
    told_of_other = await refusal(
        api.resources.Explain(resource_pb2.ExplainRequest(resource="uploads/42", generation=1 << 40))
    )
    assert (told_of_other.code, told_of_other.reason) == (NOT_FOUND, "RESOURCE_NOT_FOUND")
    nobody = await refusal(api.resources.Explain(resource_pb2.ExplainRequest(resource="never")))
    assert (nobody.code, nobody.reason) == (NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_a_resource_is_forgotten_only_when_nobody_holds_it_or_by_force(api: Stand) -> None:
    await api.leases.Acquire(lease_pb2.AcquireRequest(resource="r", holder="ann", ttl_ms=60_000, cleanup=FILE))
    told = await refusal(api.resources.Forget(resource_pb2.ForgetRequest(resource="r", reason="by hand")))
    assert (told.code, told.reason, told.bad_fields) == (PRECONDITION, "RESOURCE_IN_USE", ["force"])
    assert told.info.metadata["leases"] == "1"
    request = resource_pb2.ForgetRequest(resource="r", reason="by hand", force=True, request_id="q")
    await api.resources.Forget(request)
    await api.resources.Forget(request)  # I6: a repetition is no other forgetting
    told = await refusal(api.resources.GetResource(resource_pb2.GetResourceRequest(resource="r")))
    assert told.code is NOT_FOUND
    explained = await api.resources.Explain(resource_pb2.ExplainRequest(resource="r"))
    assert not explained.HasField("resource")
    assert explained.summary.startswith("off the books since 0s ago (by an operator: by hand)")


async def test_a_preview_tells_what_is_coming_and_what_is_held_back(api: Stand) -> None:
    await orphan(api, "due", "due")
    await orphan(api, "held", "held")
    await api.resources.Hold(resource_pb2.HoldRequest(resource="held", reason="law"))
    lease = (
        await api.leases.Acquire(
            lease_pb2.AcquireRequest(
                resource="later",
                holder="h",
                ttl_ms=1_000,
                grace_ms=600_000,
                cleanup=cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": "later"}),
            )
        )
    ).lease
    await api.leases.Release(lease_pb2.ReleaseRequest(lease_id=lease.id))

    async def coming(within_ms: int) -> list[tuple[str, str]]:
        answer = await api.cleanups.Preview(cleanup_pb2.PreviewRequest(within_ms=within_ms))
        return [(each.resource, each.blocked_by) for each in answer.cleanups]

    assert await coming(0) == [("due", ""), ("held", "hold")]
    assert await coming(600_001) == [("due", ""), ("held", "hold"), ("later", "")]
    await api.cleanups.Pause(cleanup_pb2.PauseRequest(reason="look"))
    assert await coming(600_001) == [("due", "paused"), ("held", "hold"), ("later", "paused")]
    told = await refusal(api.cleanups.Preview(cleanup_pb2.PreviewRequest(within_ms=-1)))
    assert told.bad_fields == ["within_ms"]
