"""Sessions, resources, cleanups and namespaces, over a real server and a bare machine."""

from collections.abc import AsyncIterator

import grpc
from google.protobuf.message import Message

from garbagetruck.cluster.api.gateway import Consistency, NoLeader
from garbagetruck.cluster.machine.model import ReportResult
from garbagetruck.cluster.machine.operations import ClaimCleanup, ReportCleanup
from garbagetruck.cluster.machine.outcomes import CleanupClaimed
from garbagetruck.v1 import (
    cleanup_pb2,
    cleanup_spec_pb2,
    cluster_pb2,
    header_pb2,
    lease_pb2,
    namespace_pb2,
    resource_pb2,
    session_pb2,
)
from tests.unit.api.stand import Stand, refusal

FILE = cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": "uploads/42"})
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NOT_FOUND = grpc.StatusCode.NOT_FOUND


async def orphan(api: Stand, resource: str = "uploads/42", path: str = "uploads/42") -> None:
    """A resource whose only lease was given back, its cleanup due."""
    cleanup = cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": path})
    lease = (
        await api.leases.Acquire(lease_pb2.AcquireRequest(resource=resource, holder="h", ttl_ms=1_000, cleanup=cleanup))
    ).lease
    await api.leases.Release(lease_pb2.ReleaseRequest(lease_id=lease.id))
    api.gateway.apply(at_ms=api.gateway.clock_ms + 2_001)


def claim(api: Stand, resource: str = "uploads/42") -> CleanupClaimed:
    present = next(each for each in api.gateway.machine.ready(10) if each.name == resource)
    (outcome,) = api.gateway.apply(
        ClaimCleanup("default", resource, present.generation, present.revision, "n1", 5_000, "identity")
    )
    assert isinstance(outcome, CleanupClaimed), outcome
    return outcome


def dead_letter(api: Stand, resource: str = "uploads/42") -> None:
    token = claim(api, resource).token
    api.gateway.apply(ReportCleanup("default", resource, token, ReportResult.FAILED_FOR_GOOD, "disk on fire"))


async def test_a_session_is_opened_renewed_read_and_closed(api: Stand) -> None:
    opened = await api.sessions.OpenSession(session_pb2.OpenSessionRequest(request_id="r", holder="h", ttl_ms=4_000))
    again = await api.sessions.OpenSession(session_pb2.OpenSessionRequest(request_id="r", holder="h", ttl_ms=4_000))
    session = opened.session
    assert again.session.id == session.id
    assert session.state == session_pb2.SESSION_STATE_ACTIVE
    await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", session_id=session.id))
    renewed = await api.sessions.RenewSession(session_pb2.RenewSessionRequest(session_id=session.id))
    assert renewed.remaining_ms == 4_000
    read = (await api.sessions.GetSession(session_pb2.GetSessionRequest(session_id=session.id))).session
    assert (read.holder, read.lease_count, read.ttl_ms) == ("h", 1, 4_000)
    closed = await api.sessions.CloseSession(session_pb2.CloseSessionRequest(session_id=session.id))
    assert closed.lease_count == 1
    read = (await api.sessions.GetSession(session_pb2.GetSessionRequest(session_id=session.id))).session
    assert read.state == session_pb2.SESSION_STATE_CLOSED
    told = await refusal(api.sessions.RenewSession(session_pb2.RenewSessionRequest(session_id=session.id)))
    assert (told.code, told.reason) == (PRECONDITION, "SESSION_ENDED")
    told = await refusal(api.sessions.GetSession(session_pb2.GetSessionRequest(session_id="unknown")))
    assert (told.code, told.reason) == (NOT_FOUND, "SESSION_NOT_FOUND")


async def test_what_is_over_or_unknown_is_told_with_the_life_of_the_cluster_that_says_so(api: Stand) -> None:
    session = (await api.sessions.OpenSession(session_pb2.OpenSessionRequest(holder="h", ttl_ms=1_000))).session
    lease = await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", session_id=session.id))
    api.gateway.apply(at_ms=9_000)
    for call in (
        api.sessions.RenewSession(session_pb2.RenewSessionRequest(session_id=session.id)),
        api.sessions.RenewSession(session_pb2.RenewSessionRequest(session_id="unknown")),
        api.leases.Renew(lease_pb2.RenewRequest(lease_id=lease.lease.id)),
        api.leases.Release(lease_pb2.ReleaseRequest(lease_id="unknown")),
        api.leases.GetLease(lease_pb2.GetLeaseRequest(lease_id="unknown")),
    ):
        metadata = (await refusal(call)).info.metadata
        assert (metadata["cluster_id"], metadata["incarnation"]) == ("c-1", "1")
    told = await refusal(api.resources.GetResource(resource_pb2.GetResourceRequest(resource="unknown")))
    assert "incarnation" not in told.info.metadata
    assert lease.header.incarnation == 1


async def test_an_expired_session_says_so(api: Stand) -> None:
    session = (await api.sessions.OpenSession(session_pb2.OpenSessionRequest(holder="h", ttl_ms=1_000))).session
    api.gateway.apply(at_ms=9_000)
    read = (await api.sessions.GetSession(session_pb2.GetSessionRequest(session_id=session.id))).session
    assert (read.state, read.end_reason) == (session_pb2.SESSION_STATE_EXPIRED, "expired")


async def test_sessions_are_listed_and_kept_alive(api: Stand) -> None:
    ids = [
        (await api.sessions.OpenSession(session_pb2.OpenSessionRequest(holder=holder, ttl_ms=4_000))).session.id
        for holder in ("h", "g", "h")
    ]
    listed = await api.sessions.ListSessions(session_pb2.ListSessionsRequest(holder="h"))
    assert [session.id for session in listed.sessions] == [ids[0], ids[2]]

    async def requests() -> AsyncIterator[session_pb2.KeepSessionAliveRequest]:
        for sequence in range(1, 4):
            yield session_pb2.KeepSessionAliveRequest(sequence=sequence, session_ids=[*ids, "unknown"])

    answers = [answer async for answer in api.sessions.KeepSessionAlive(requests())]
    assert [answer.sequence for answer in answers] == [1, 2, 3]
    assert [list(answer.remaining_ms) for answer in answers] == [[4_000, 4_000, 4_000, 0]] * 3
    assert [error.index for error in answers[0].errors] == [3]


async def test_a_hold_keeps_a_resource_and_is_shown(api: Stand) -> None:
    await orphan(api)
    held = await api.resources.Hold(resource_pb2.HoldRequest(resource="uploads/42", hold_id="audit", reason="law"))
    assert held.hold_id == "audit"
    assert not api.gateway.machine.ready(10)
    shown = (await api.resources.GetResource(resource_pb2.GetResourceRequest(resource="uploads/42"))).resource
    assert [(hold.id, hold.reason) for hold in shown.holds] == [("audit", "law")]
    cleanup = (await api.cleanups.GetCleanup(cleanup_pb2.GetCleanupRequest(resource="uploads/42"))).cleanup
    assert (cleanup.state, cleanup.blocked_by) == (resource_pb2.RESOURCE_STATE_DUE, "hold")
    await api.resources.Unhold(resource_pb2.UnholdRequest(resource="uploads/42", hold_id="audit"))
    assert api.gateway.machine.ready(10)
    told = await refusal(api.resources.Unhold(resource_pb2.UnholdRequest(resource="uploads/42", hold_id="audit")))
    assert (told.code, told.reason) == (NOT_FOUND, "HOLD_NOT_FOUND")


async def test_i6_a_hold_without_an_id_repeated_with_its_request_id_is_one_hold(api: Stand) -> None:
    await orphan(api)
    request = resource_pb2.HoldRequest(request_id="r", resource="uploads/42", reason="law")
    first = await api.resources.Hold(request)
    second = await api.resources.Hold(request)
    assert (first.hold_id, first.revision) == (second.hold_id, second.revision)
    request.request_id = ""
    third = await api.resources.Hold(request)
    assert third.hold_id not in {"", first.hold_id}


async def test_resources_are_listed_by_state_prefix_and_label(api: Stand) -> None:
    await orphan(api, "uploads/1", "uploads/1")
    for name, label in (("uploads/2", "x"), ("thumbs/1", "x"), ("uploads/3", "y")):
        await api.leases.Acquire(
            lease_pb2.AcquireRequest(resource=name, holder="h", ttl_ms=60_000, labels={"k": label})
        )

    async def names(**fields: object) -> list[str]:
        answer = await api.resources.ListResources(resource_pb2.ListResourcesRequest(**fields))  # type: ignore[arg-type]
        return [resource.name for resource in answer.resources]

    assert await names() == ["uploads/1", "uploads/2", "thumbs/1", "uploads/3"]
    assert await names(name_prefix="uploads/", labels={"k": "x"}) == ["uploads/2"]
    assert await names(states=[resource_pb2.RESOURCE_STATE_DUE]) == ["uploads/1"]
    live_or_due = [resource_pb2.RESOURCE_STATE_DUE, resource_pb2.RESOURCE_STATE_LIVE]
    assert await names(states=live_or_due, name_prefix="uploads/") == ["uploads/1", "uploads/2", "uploads/3"]
    claimed_or_dead = [resource_pb2.RESOURCE_STATE_CLAIMED, resource_pb2.RESOURCE_STATE_DEAD_LETTER]
    assert await names(states=claimed_or_dead) == []


async def test_a_cleaned_resource_is_remembered_with_its_claims_token(api: Stand) -> None:
    await orphan(api)
    claimed = claim(api)
    shown = (await api.resources.GetResource(resource_pb2.GetResourceRequest(resource="uploads/42"))).resource
    assert shown.claim.token == shown.fencing_token == claimed.token
    api.gateway.apply(ReportCleanup("default", "uploads/42", claimed.token, ReportResult.DONE))
    shown = (await api.resources.GetResource(resource_pb2.GetResourceRequest(resource="uploads/42"))).resource
    assert (shown.state, shown.fencing_token) == (resource_pb2.RESOURCE_STATE_CLEANED, claimed.token)
    told = await refusal(api.cleanups.GetCleanup(cleanup_pb2.GetCleanupRequest(resource="uploads/42")))
    assert (told.code, told.reason) == (NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_an_acquire_during_a_claim_is_refused_with_the_time_to_come_back(api: Stand) -> None:
    await orphan(api)
    claim(api)
    told = await refusal(api.leases.Acquire(lease_pb2.AcquireRequest(resource="uploads/42", holder="h", ttl_ms=1_000)))
    assert (told.code, told.reason) == (PRECONDITION, "RESOURCE_BEING_CLEANED")
    assert told.info.metadata["state"] == "claimed"
    assert told.retry is not None
    assert told.retry.retry_delay.ToMilliseconds() == 5_000


async def test_a_dead_letter_is_listed_retried_and_discarded(api: Stand) -> None:
    await orphan(api)
    told = await refusal(api.cleanups.Retry(cleanup_pb2.RetryRequest(resource="uploads/42")))
    assert (told.code, told.reason) == (PRECONDITION, "NOT_DEAD_LETTER")
    dead_letter(api)
    listed = await api.cleanups.ListCleanups(cleanup_pb2.ListCleanupsRequest(handler="file"))
    assert [(each.resource, each.last_error, each.attempts) for each in listed.cleanups] == [
        ("uploads/42", "disk on fire", 1)
    ]
    assert listed.cleanups[0].spec == FILE
    await api.cleanups.Retry(cleanup_pb2.RetryRequest(resource="uploads/42"))
    dead_letter(api)
    await api.cleanups.Discard(cleanup_pb2.DiscardRequest(resource="uploads/42", reason="gone by hand"))
    told = await refusal(api.cleanups.GetCleanup(cleanup_pb2.GetCleanupRequest(resource="uploads/42")))
    assert (told.code, told.reason) == (NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_cleanups_are_listed_by_several_states_and_a_live_resource_has_none(api: Stand) -> None:
    await orphan(api, "a", "a")
    await orphan(api, "b", "b")
    dead_letter(api, "a")
    await api.leases.Acquire(lease_pb2.AcquireRequest(resource="c", holder="h", ttl_ms=60_000, cleanup=FILE))

    async def names(*states: resource_pb2.ResourceState.ValueType, handler: str = "") -> list[str]:
        answer = await api.cleanups.ListCleanups(cleanup_pb2.ListCleanupsRequest(states=states, handler=handler))
        return [each.resource for each in answer.cleanups]

    assert await names() == ["a", "b"]
    assert await names(resource_pb2.RESOURCE_STATE_DUE) == ["b"]
    assert await names(resource_pb2.RESOURCE_STATE_DUE, resource_pb2.RESOURCE_STATE_DEAD_LETTER) == ["a", "b"]
    assert await names(handler="http") == []
    told = await refusal(api.cleanups.GetCleanup(cleanup_pb2.GetCleanupRequest(resource="c")))
    assert (told.code, told.reason) == (NOT_FOUND, "CLEANUP_NOT_FOUND")


async def test_cleanups_are_paused_and_resumed_here_and_everywhere(api: Stand) -> None:
    await orphan(api)
    told = await refusal(api.cleanups.Resume(cleanup_pb2.ResumeRequest()))
    assert (told.code, told.reason) == (PRECONDITION, "NOT_PAUSED")
    await api.cleanups.Pause(cleanup_pb2.PauseRequest(reason="look first"))
    shown = (await api.namespaces.Get(namespace_pb2.NamespaceServiceGetRequest())).namespace
    assert (shown.pause.paused, shown.pause.all_namespaces, shown.pause.reason) == (True, False, "look first")
    cleanup = (await api.cleanups.GetCleanup(cleanup_pb2.GetCleanupRequest(resource="uploads/42"))).cleanup
    assert cleanup.blocked_by == "paused"
    await api.cleanups.Resume(cleanup_pb2.ResumeRequest())
    assert api.gateway.machine.ready(10)
    await api.cleanups.Pause(cleanup_pb2.PauseRequest(all_namespaces=True, reason="all of it"))
    assert not api.gateway.machine.ready(10)
    status = (await api.cluster.GetStatus(cluster_pb2.GetStatusRequest())).status
    assert (status.cleanup.paused, status.cleanup.pause_reason) == (True, "all of it")
    await api.cleanups.Resume(cleanup_pb2.ResumeRequest(all_namespaces=True))
    assert api.gateway.machine.ready(10)


async def test_setting_a_namespace_changes_only_what_is_given(api: Stand) -> None:
    request = namespace_pb2.NamespaceServiceSetRequest(
        request_id="r",
        namespace="team",
        limits=namespace_pb2.NamespaceLimits(leases_max=5),
        brake=namespace_pb2.Brake(enabled=False),
    )
    first = await api.namespaces.Set(request)
    assert (await api.namespaces.Set(request)).revision == first.revision == 1
    await api.namespaces.Set(
        namespace_pb2.NamespaceServiceSetRequest(
            namespace="team", cleanup=namespace_pb2.CleanupSettings(attempts_max=3), revision=1
        )
    )
    shown = (await api.namespaces.Get(namespace_pb2.NamespaceServiceGetRequest(namespace="team"))).namespace
    assert (shown.limits.leases_max, shown.limits.sessions_max) == (5, 200_000)
    assert (shown.cleanup.attempts_max, shown.cleanup.grace_ms_min) == (3, 2_000)
    assert (shown.brake.enabled, shown.brake.holders_min) == (False, 3)
    assert shown.revision == 2
    told = await refusal(api.namespaces.Set(namespace_pb2.NamespaceServiceSetRequest(namespace="team", revision=1)))
    assert (told.code, told.reason) == (PRECONDITION, "NAMESPACE_CHANGED")


async def test_i6_a_namespace_set_again_after_another_set_it_is_the_same_request(api: Stand) -> None:
    limits = namespace_pb2.NamespaceLimits(leases_max=5)
    mine = namespace_pb2.NamespaceServiceSetRequest(request_id="mine", namespace="team", limits=limits)
    cleanup = namespace_pb2.CleanupSettings(attempts_max=3)
    theirs = namespace_pb2.NamespaceServiceSetRequest(request_id="theirs", namespace="team", cleanup=cleanup)
    first = await api.namespaces.Set(mine)
    await api.namespaces.Set(theirs)
    assert (await api.namespaces.Set(mine)).revision == first.revision
    shown = (await api.namespaces.Get(namespace_pb2.NamespaceServiceGetRequest(namespace="team"))).namespace
    assert (shown.limits.leases_max, shown.cleanup.attempts_max) == (5, 3)


async def test_a_limit_that_is_reached_is_told_by_name(api: Stand) -> None:
    await api.namespaces.Set(
        namespace_pb2.NamespaceServiceSetRequest(limits=namespace_pb2.NamespaceLimits(leases_max=1))
    )
    await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))
    told = await refusal(api.leases.Acquire(lease_pb2.AcquireRequest(resource="b", holder="h", ttl_ms=1_000)))
    assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert dict(told.info.metadata) == {"limit": "leases_max", "value": "1"}


async def test_namespaces_are_listed_by_name_page_by_page_and_tell_their_use(api: Stand) -> None:
    for name in ("b", "a", "c"):
        await api.namespaces.Set(namespace_pb2.NamespaceServiceSetRequest(namespace=name))
    await orphan(api)
    first = await api.namespaces.List(namespace_pb2.NamespaceServiceListRequest(page_size=3))
    assert [namespace.name for namespace in first.namespaces] == ["a", "b", "c"]
    rest = await api.namespaces.List(
        namespace_pb2.NamespaceServiceListRequest(page_size=3, page_token=first.next_page_token)
    )
    (default,) = rest.namespaces
    assert (default.name, rest.next_page_token) == ("default", "")
    assert (default.usage.resources, default.usage.due, default.usage.leases) == (1, 1, 0)


async def test_a_new_namespace_that_this_node_has_not_heard_of_is_asked_for(api: Stand) -> None:
    await api.namespaces.Set(namespace_pb2.NamespaceServiceSetRequest(namespace="new"))
    api.gateway.reads.clear()
    await api.leases.Acquire(lease_pb2.AcquireRequest(namespace="new", resource="a", holder="h", ttl_ms=1_000))
    assert api.gateway.reads == []  # a known one costs no question
    await refusal(
        api.leases.Acquire(lease_pb2.AcquireRequest(namespace="other", resource="a", holder="h", ttl_ms=1_000))
    )
    assert api.gateway.reads == [Consistency.LINEARIZABLE]


async def test_a_read_without_a_leader_is_unavailable_unless_it_may_be_stale(api: Stand) -> None:
    api.gateway.leader_id = ""
    api.gateway.failure = NoLeader("no leader is known")
    requests: list[tuple[str, str, Message]] = [
        ("leases", "ListLeases", lease_pb2.ListLeasesRequest()),
        ("sessions", "ListSessions", session_pb2.ListSessionsRequest()),
        ("resources", "ListResources", resource_pb2.ListResourcesRequest()),
        ("cleanups", "ListCleanups", cleanup_pb2.ListCleanupsRequest()),
        ("namespaces", "List", namespace_pb2.NamespaceServiceListRequest()),
        ("cluster", "ListMembers", cluster_pb2.ListMembersRequest()),
    ]
    for service, method, request in requests:
        call = getattr(getattr(api, service), method)
        told = await refusal(call(request))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "NO_LEADER")
        assert told.retry is not None
        setattr(request, "consistency", header_pb2.READ_CONSISTENCY_STALE)  # noqa: B010 - not of Message itself
        assert (await call(request)).header.age_ms == 12
