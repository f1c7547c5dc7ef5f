"""What happens around every call: limits, drains, bugs, counts; and the server's health and reflection."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from garbagetruck.cluster.api.calls import CallLimits, _Stream
from garbagetruck.cluster.api.door import DoorLimits
from garbagetruck.cluster.api.gateway import (
    Draining,
    NoLeader,
    NotLeader,
    NotSealed,
    OperatingError,
    OutcomeUnknown,
    Overloaded,
)
from garbagetruck.cluster.api.server import ApiServer, ServerOptions
from garbagetruck.v1 import (
    cleanup_pb2,
    cluster_pb2,
    event_pb2,
    lease_pb2,
    namespace_pb2,
    resource_pb2,
    session_pb2,
)
from tests.unit.api.stand import Stand, Told, refusal, stand

FILES = (lease_pb2, session_pb2, resource_pb2, cleanup_pb2, cluster_pb2, namespace_pb2, event_pb2)
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def acquire(resource: str = "a", **fields: Any) -> lease_pb2.AcquireRequest:
    return lease_pb2.AcquireRequest(resource=resource, holder="h", ttl_ms=1_000, **fields)


def services() -> list[ServiceDescriptor]:
    return [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]


@pytest.mark.parametrize("service", services(), ids=lambda service: service.name)
async def test_every_method_is_built(api: Stand, service: ServiceDescriptor) -> None:
    for method in service.methods:
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        path = f"/{service.full_name}/{method.name}"
        kinds = {
            (False, False): api.channel.unary_unary,
            (False, True): api.channel.unary_stream,
            (True, True): api.channel.stream_stream,
        }
        make: Any = kinds[(method.client_streaming, method.server_streaming)]
        call = make(path, request_serializer=request.SerializeToString, response_deserializer=response.FromString)
        code = await _code(call(iter([request()])) if method.client_streaming else call(request()))
        assert code in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}


async def _code(call: Any) -> grpc.StatusCode:
    """The code of a call; a stream that answers is working, and is left."""
    try:
        if hasattr(call, "read"):
            if await call.read() is not aio.EOF:
                call.cancel()
                return grpc.StatusCode.OK
        else:
            await call
    except aio.AioRpcError as error:
        return error.code()
    return await call.code()  # type: ignore[no-any-return]


def test_every_mutation_takes_a_request_id_and_every_list_a_page() -> None:
    for service in services():
        for method in service.methods:
            fields = method.input_type.fields_by_name
            if method.name.startswith("List") and method.name != "ListMembers":
                assert fields["page_size"].type == FieldDescriptor.TYPE_INT32
                assert "page_token" in fields
            elif not method.name.startswith(("Get", "List", "Keep", "Watch", "Explain", "Preview", "Verify")):
                assert "request_id" in fields, method.full_name


@pytest.mark.parametrize(
    ("failure", "request_id", "code", "reason"),
    [
        (NoLeader("nobody leads"), "", UNAVAILABLE, "NO_LEADER"),
        (NotLeader("deposed"), "", UNAVAILABLE, "NOT_LEADER"),
        (Overloaded("full"), "", UNAVAILABLE, "OVERLOADED"),
        (Draining("leaving"), "", UNAVAILABLE, "DRAINING"),
        (NotSealed("late"), "", UNAVAILABLE, "DEADLINE_NOT_SEALED"),
        (OutcomeUnknown("no answer"), "r-1", UNAVAILABLE, "OUTCOME_UNKNOWN"),
        (OutcomeUnknown("no answer"), "", grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN"),
    ],
)
async def test_i11_an_operating_error_is_told_by_the_table(
    api: Stand, failure: OperatingError, request_id: str, code: grpc.StatusCode, reason: str
) -> None:
    api.gateway.failure = failure
    told = await refusal(api.leases.Acquire(acquire(request_id=request_id)))
    assert (told.code, told.reason) == (code, reason)
    assert (told.retry is not None) == (code is UNAVAILABLE)
    assert told.info.metadata["leader"] == told.trailing["garbagetruck-leader"] == "127.0.0.1:7101"


async def test_without_a_leader_no_leader_is_named(api: Stand) -> None:
    api.gateway.leader_id = ""
    api.gateway.failure = NoLeader("nobody leads")
    told = await refusal(api.leases.Acquire(acquire()))
    assert "leader" not in told.info.metadata
    assert "garbagetruck-leader" not in told.trailing


async def test_a_lost_answer_to_a_keep_alive_may_be_repeated(api: Stand) -> None:
    api.gateway.failure = OutcomeUnknown("no answer")
    call = api.leases.KeepAlive(iter([lease_pb2.KeepAliveRequest(lease_ids=["x"])]))
    told = await refusal(call)
    assert (told.code, told.reason) == (UNAVAILABLE, "OUTCOME_UNKNOWN")


async def test_a_call_waits_as_long_as_its_caller_less_a_margin(api: Stand) -> None:
    await api.leases.Acquire(acquire("a"))
    await api.leases.Acquire(acquire("b"), timeout=2)
    await api.leases.Acquire(acquire("c"), timeout=3_600)
    default, short, long = api.gateway.timeouts_s
    assert 4.5 < default <= 5
    assert 1.5 < short <= 1.95
    assert 9.5 < long <= 10


async def test_a_call_with_hardly_any_time_left_keeps_half_of_it(api: Stand) -> None:
    assert api.door.timeout_s(0.02) == 0.01
    assert api.door.timeout_s(0.0) == 0.0


async def test_requests_beyond_the_limit_are_turned_away_at_once() -> None:
    async with stand(call_limits=CallLimits(concurrent_requests_max=2)) as api:
        api.gateway.blocked = asyncio.Event()
        waiting = [asyncio.ensure_future(api.leases.Acquire(acquire(name))) for name in "ab"]
        await api.gateway.asked(2)
        told = await refusal(api.leases.Acquire(acquire("c")))
        assert (told.code, told.reason) == (UNAVAILABLE, "OVERLOADED")
        assert told.retry is not None
        health: Any = health_pb2_grpc.HealthStub(api.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        api.gateway.blocked.set()
        await asyncio.gather(*waiting)
        api.gateway.blocked = None
        await api.leases.Acquire(acquire("d"))


async def test_streams_beyond_the_limit_are_turned_away_at_once() -> None:
    async with stand(call_limits=CallLimits(concurrent_streams_max=1)) as api:
        call = api.events.Watch(event_pb2.WatchRequest())
        await call.read()
        told = await refusal(api.events.Watch(event_pb2.WatchRequest()))
        assert (told.code, told.reason) == (UNAVAILABLE, "OVERLOADED")
        call.cancel()


async def test_calls_are_counted_by_method_and_code(api: Stand) -> None:
    await api.leases.Acquire(acquire())
    await refusal(api.leases.Acquire(acquire(request_id="\t")))
    api.gateway.failure = NoLeader("nobody leads")
    await refusal(api.leases.Acquire(acquire()))
    name = "garbagetruck.v1.LeaseService/Acquire"
    assert api.tally.finished == [(name, "OK"), (name, "INVALID_ARGUMENT"), (name, "UNAVAILABLE")]
    assert api.tally.started == [name] * 3


async def test_a_bug_is_internal_and_logged_and_tells_the_client_nothing_else(api: Stand) -> None:
    api.gateway.failure = RuntimeError("a secret")  # type: ignore[assignment]
    with capture_logs() as logs:
        told = await refusal(api.leases.Acquire(acquire()))
    assert (told.code, told.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in told.message
    (entry,) = logs
    assert (entry["event"], entry["method"]) == ("call_failed_by_a_bug", "Acquire")


async def test_an_unknown_method_is_unimplemented(api: Stand) -> None:
    call = api.channel.unary_unary("/garbagetruck.v1.LeaseService/Steal", bytes, bytes)
    told = await refusal(call(b""))
    assert told.code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_drain_turns_calls_away_and_lets_the_running_ones_end(api: Stand) -> None:
    api.gateway.blocked = asyncio.Event()
    running = asyncio.ensure_future(api.leases.Acquire(acquire()))
    await api.gateway.asked(1)
    stream = api.leases.KeepAlive()
    await stream.write(lease_pb2.KeepAliveRequest(lease_ids=["x"]))
    await api.gateway.asked(2)
    await api.server.drain()
    told = await refusal(api.leases.Acquire(acquire("b")))
    assert (told.code, told.reason) == (UNAVAILABLE, "DRAINING")
    with pytest.raises(aio.AioRpcError) as ended:
        await stream.read()
    assert Told(ended.value).reason == "DRAINING"
    health: Any = health_pb2_grpc.HealthStub(api.channel)
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
    stopping = asyncio.ensure_future(api.server.stop(grace_s=5))
    await asyncio.sleep(0)
    api.gateway.blocked.set()
    assert (await running).lease.id
    await stopping


async def test_a_drain_never_cancels_a_write_that_is_on_its_way() -> None:
    """gRPC sends no status while a write is pending: its client would wait for ever."""
    writing, written = asyncio.Event(), asyncio.Event()

    class SlowContext:
        async def write(self, message: object) -> None:
            writing.set()
            await written.wait()

    async def responses(request: object, context: object) -> AsyncIterator[int]:
        yield 1
        raise AssertionError("nothing follows")

    async def serve() -> None:
        stream.append(_Stream(asyncio.current_task()))
        await stream[0].run(responses, None, cast("Any", SlowContext()))

    stream: list[_Stream] = []
    serving = asyncio.create_task(serve())
    await writing.wait()
    stream[0].end()
    await asyncio.sleep(0)
    assert not serving.done()
    written.set()
    with pytest.raises(Draining):
        await serving
    assert not stream[0].was_ended_by_cancelling()


async def test_a_stop_cuts_off_what_outlasts_the_grace(api: Stand) -> None:
    api.gateway.blocked = asyncio.Event()
    running = asyncio.ensure_future(api.leases.Acquire(acquire()))
    await api.gateway.asked(1)
    await api.server.stop(grace_s=0.01)
    with pytest.raises(aio.AioRpcError) as failed:
        await running
    assert failed.value.code() is UNAVAILABLE
    await api.server.stop(grace_s=0.01)


async def test_a_health_watch_does_not_hold_up_a_stop(api: Stand) -> None:
    health: Any = health_pb2_grpc.HealthStub(api.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    await asyncio.wait_for(api.server.stop(grace_s=60), 10)
    assert (await watch.read()).status == NOT_SERVING


async def test_health_follows_readiness_service_by_service(api: Stand) -> None:
    health: Any = health_pb2_grpc.HealthStub(api.channel)
    follower = asyncio.create_task(api.server.follow_readiness())
    for name in ("", "garbagetruck.v1.LeaseService", "garbagetruck.v1.EventService"):
        watch = health.Watch(health_pb2.HealthCheckRequest(service=name))
        assert (await watch.read()).status == SERVING
        api.ready = False
        assert (await watch.read()).status == NOT_SERVING
        api.ready = True
        assert (await watch.read()).status == SERVING
        watch.cancel()
    with pytest.raises(aio.AioRpcError) as unknown:
        await health.Check(health_pb2.HealthCheckRequest(service="garbagetruck.v1.NoService"))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)


async def test_reflection_lists_what_clients_may_call(api: Stand) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(api.channel)  # type: ignore[arg-type]  # its stubs know no aio
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer = await call.read()
    listed = {service.name for service in answer.list_services_response.service}
    assert {service.full_name for service in services()} | {"grpc.health.v1.Health"} <= listed


async def test_an_address_in_use_is_an_error_of_the_world(api: Stand) -> None:
    second = ApiServer(f"127.0.0.1:{api.port}", (), api.calls, lambda: True, ServerOptions())
    with pytest.raises(OSError, match="cannot listen"):
        await second.start()


async def test_a_client_that_leaves_leaves_nothing_behind(api: Stand) -> None:
    api.gateway.blocked = asyncio.Event()
    call = api.leases.Acquire(acquire())
    running = asyncio.ensure_future(call)
    await api.gateway.asked(1)
    call.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await api.tally.some_finished.wait()
    assert api.tally.finished == [("garbagetruck.v1.LeaseService/Acquire", "CANCELLED")]
    await api.server.drain()
    await asyncio.wait_for(api.calls.wait_idle(), 20)


async def test_more_messages_than_are_read_ahead_wait_with_their_sender() -> None:
    async with stand(DoorLimits(messages_ahead_max=4)) as api:
        lease = (await api.leases.Acquire(acquire())).lease
        request = lease_pb2.KeepAliveRequest(lease_ids=[lease.id])
        call = api.leases.KeepAlive(itertools.repeat(request, 50))
        assert len([answer async for answer in call]) == 50
