"""The `grpc` handler: asks a service that implements `garbagetruck.v1.CleanupHandler` to clean up.

Duty: turn one attempt into one call, and its answer into a result.
Invariants: a client chooses nothing but a path; only an answer counts as success, never a status; an attempt makes one
call, to an address that was judged (addresses.py), within the attempt's time.

What fences: as with `http`, the service alone. The call carries token, generation and idempotency key.

Must not know: what the service does.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, Handler
from garbagetruck.cluster.cleanup.handlers.addresses import (
    AddressRefusedError,
    Resolve,
    read_networks,
    resolve_blocking,
    resolve_by_system,
)
from garbagetruck.cluster.cleanup.handlers.answers import shown
from garbagetruck.cluster.cleanup.handlers.grpc.channels import (
    SERVICE,
    Channels,
    channel_options,
    credentials_of,
    target_of,
)
from garbagetruck.cluster.cleanup.handlers.grpc.options import GrpcOptions, fetch_metadata, read_grpc_options
from garbagetruck.cluster.cleanup.handlers.paths import path_segments
from garbagetruck.cluster.cleanup.handlers.tls import check_loadable, read_pems
from garbagetruck.cluster.cleanup.running import RunBlocking
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError
from garbagetruck.v1 import cleanup_handler_pb2 as wire
from garbagetruck.v1.cleanup_handler_pb2_grpc import CleanupHandlerStub

SCHEME = "grpc"
CHECK_TIMEOUT_S = 3.0
_FOR_GOOD = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.OUT_OF_RANGE,
    }
)


class GrpcHandler(Handler):
    """Calls a service, once for each attempt."""

    scheme: ClassVar[str] = SCHEME

    def __init__(
        self,
        name: str,
        options: GrpcOptions,
        *,
        environ: Mapping[str, str],
        run_blocking: RunBlocking,
        resolve: Resolve,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._name = name
        self._options = options
        self._allowed = read_networks(name, options.allow_addresses)
        self._environ = environ
        self._run_blocking = run_blocking
        self._resolve = resolve
        self._monotonic_s = monotonic_s
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._channels: Channels | None = None

    @override
    def check(self) -> Sequence[str]:
        host, port = self._options.place
        try:
            _, credentials = self._load()
            addresses = self._allowed.judged(host, resolve_blocking(host, port))
        except (HandlerSettingsError, AddressRefusedError) as error:
            return [str(error)]
        except OSError as error:
            return [f"{host} cannot be resolved: {error}; correct `address`"]
        # Health is what is asked about here, so it must not be waited for.
        options = [each for each in channel_options(self._options) if each[0] != "grpc.service_config"]
        target = target_of(addresses, port)
        if credentials is None:
            channel = grpc.insecure_channel(target, options=options)
        else:
            channel = grpc.secure_channel(target, credentials, options=options)
        with channel:
            return self._ask_health(channel)

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        return f"{SCHEME}:/{self._name}/{'/'.join(path_segments(parameters))}"

    @override
    async def start(self) -> None:
        self._metadata, credentials = await self._run_blocking(self._load)
        self._channels = Channels(
            self._options,
            credentials,
            allowed=self._allowed,
            resolve=self._resolve,
            monotonic_s=self._monotonic_s,
        )

    @override
    async def stop(self) -> None:
        channels, self._channels = self._channels, None
        if channels is not None:
            await channels.close()

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        assert self._channels is not None, "the handler was started"
        request = _request(self._name, "/".join(path_segments(call.parameters)), call)
        try:
            await self._channels.judge()
        except AddressRefusedError as error:
            return CleanupResult.failed(str(error))
        except OSError as error:
            return CleanupResult.failed(f"{self._options.address}: {error}")
        remaining_s = call.remaining_s()
        if not call.may_proceed():
            return CleanupResult.failed("no time was left, or this node leads no more")
        try:
            async with self._channels.use() as channel:
                stub = CleanupHandlerStub(channel)
                answer = await stub.CleanUp(request, timeout=remaining_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            text = f"{self._options.address}: {error.code().name}{shown(error.details() or '')}"
            return CleanupResult.failed(text, retryable=error.code() not in _FOR_GOOD)
        return _result(answer)

    def _load(self) -> tuple[tuple[tuple[str, str], ...], grpc.ChannelCredentials | None]:
        metadata = fetch_metadata(self._name, self._options, self._environ)
        if self._options.insecure_plaintext:
            return metadata, None
        check_loadable(self._name, self._options.tls)
        return metadata, credentials_of(read_pems(self._name, self._options.tls))

    def _ask_health(self, channel: grpc.Channel) -> Sequence[str]:
        address = self._options.address
        health: Any = health_pb2_grpc.HealthStub(channel)  # its types know asynchronous calls alone
        try:
            answer = health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=CHECK_TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return ()
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return [f"{address} does not serve {SERVICE}, as its health says; let it, or set `health = false`"]
            reason = f"{error.code().name}{shown(error.details() or '')}"
            return [f"{address} cannot be reached: {reason}; start the service, or correct `address` or `tls`"]
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            return [f"{address} does not want to be called now, as its health says; see why, or set `health = false`"]
        return ()


def grpc_handlers(
    run_blocking: RunBlocking,
    environ: Mapping[str, str],
    *,
    resolve: Resolve = resolve_by_system,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> Callable[[Mapping[str, object], str], GrpcHandler]:
    """The factory of `grpc` handlers. It raises `HandlerSettingsError`."""

    def make(options: Mapping[str, object], name: str) -> GrpcHandler:
        return GrpcHandler(
            name,
            read_grpc_options(name, options),
            environ=environ,
            run_blocking=run_blocking,
            resolve=resolve,
            monotonic_s=monotonic_s,
        )

    return make


def _request(handler: str, path: str, call: CleanupCall) -> wire.CleanUpRequest:
    return wire.CleanUpRequest(
        handler=handler,
        path=path,
        fencing_token=call.fencing_token,
        idempotency_key=call.idempotency_key,
        cluster_id=call.cluster_id,
        namespace=call.namespace,
        resource=call.resource,
        generation=call.generation,
        attempt=call.attempt,
    )


def _result(answer: wire.CleanUpResponse) -> CleanupResult:
    match answer.outcome:
        case wire.CLEAN_UP_OUTCOME_DONE:
            return CleanupResult.done()
        case wire.CLEAN_UP_OUTCOME_ALREADY_GONE:
            return CleanupResult.already_gone()
        case wire.CLEAN_UP_OUTCOME_FAILED_PERMANENTLY:
            return CleanupResult.failed(f"the service refuses for good{shown(answer.reason)}", retryable=False)
        case wire.CLEAN_UP_OUTCOME_RETRY_LATER:
            return CleanupResult.failed(f"the service says: later{shown(answer.reason)}")
        case unknown:
            return CleanupResult.failed(f"the service answered with outcome {unknown}{shown(answer.reason)}")
