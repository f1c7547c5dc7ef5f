"""Connections to a service at addresses that were judged.

Duty: resolve the service's name, keep one channel to what it leads to, and make another one when it leads elsewhere.
Invariants: gRPC itself resolves nothing and uses no proxy: it is given addresses; the name goes into the authority, and
is what a certificate is compared with; a call is sent once (I8); an old channel is closed when its last call has ended.
Must not know: what is called.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio

from garbagetruck.cluster.cleanup.handlers.addresses import (
    RESOLVED_FOR_S,
    AddressRefusedError,
    AllowedAddresses,
    Resolve,
)
from garbagetruck.cluster.cleanup.handlers.grpc.options import GrpcOptions
from garbagetruck.cluster.cleanup.handlers.tls import Pems

ANSWER_BYTES_MAX = 65_536
METADATA_BYTES_MAX = 8_192
RECONNECT_MS_MIN, RECONNECT_MS_MAX = 250, 5_000
IDLE_KEEPALIVE_MS = 30_000
KEEPALIVE_TIMEOUT_MS = 5_000
"""A connection that answers no ping while a call waits is given up: its other end may be gone without a word."""

SERVICE = "garbagetruck.v1.CleanupHandler"

Options = list[tuple[str, str | int]]


def target_of(addresses: Sequence[str], port: int) -> str:
    """As gRPC is told addresses: of one family, that of the first."""
    six = ":" in addresses[0]
    same = [each for each in addresses if (":" in each) == six]
    places = [f"[{each.replace('%', '%25')}]:{port}" if six else f"{each}:{port}" for each in same]
    return f"{'ipv6' if six else 'ipv4'}:{','.join(places)}"


def channel_options(options: GrpcOptions) -> Options:
    """How a channel behaves."""
    host, port = options.place
    host = options.tls.server_name or host  # gRPC compares a certificate with both, authority and override
    policy: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if options.health:
        policy["healthCheckConfig"] = {"serviceName": SERVICE}
    made: Options = [
        ("grpc.default_authority", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.service_config", json.dumps(policy)),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS_MIN),
        ("grpc.min_reconnect_backoff_ms", RECONNECT_MS_MAX),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
        ("grpc.keepalive_time_ms", IDLE_KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ]
    if not options.insecure_plaintext:
        made.append(("grpc.ssl_target_name_override", host))
    return made


def credentials_of(pems: Pems) -> grpc.ChannelCredentials:
    """Without an authority, gRPC trusts the public ones that it brings along."""
    return grpc.ssl_channel_credentials(pems.authority, pems.key, pems.certificate)


@dataclass(slots=True)
class _Open:
    """A channel, and who uses it."""

    channel: grpc.aio.Channel
    addresses: tuple[str, ...]
    calls: int = 0
    closing: bool = False


class Channels:
    """Used on one loop. `credentials` is None for plaintext."""

    def __init__(
        self,
        options: GrpcOptions,
        credentials: grpc.ChannelCredentials | None,
        *,
        allowed: AllowedAddresses,
        resolve: Resolve,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._options = options
        self._credentials = credentials
        self._allowed = allowed
        self._resolve = resolve
        self._monotonic_s = monotonic_s
        self._open: _Open | None = None
        self._resolved_s = 0.0
        self._judging = asyncio.Lock()

    async def judge(self) -> None:
        """Resolve the name anew if that was long ago, and see that the channel leads there.

        Raises `AddressRefusedError`; and `OSError` when the name cannot be resolved and never was: else what was judged
        before goes on being used.
        """
        async with self._judging:  # a resolver that does not answer is asked once, not by every attempt
            now_s = self._monotonic_s()
            if self._open is None or now_s - self._resolved_s >= RESOLVED_FOR_S:
                await self._judge(now_s)

    async def _judge(self, now_s: float) -> None:
        host, port = self._options.place
        try:
            addresses = await self._allowed.resolve(host, port, self._resolve)
        except AddressRefusedError:
            await self.close()
            raise
        except OSError:
            if self._open is None:
                raise
            return
        self._resolved_s = now_s
        if self._open is None or set(self._open.addresses) != set(addresses):
            await self.close()
            self._open = _Open(self._make(addresses, port), addresses)

    def use(self) -> AbstractAsyncContextManager[grpc.aio.Channel]:
        """The channel, for one call. `judge` has returned, and nothing was awaited since."""
        opened = self._open
        assert opened is not None, "judge has returned"
        return self._using(opened)

    async def close(self) -> None:
        """Use the channel no more; close it when its last call has ended."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.closing = True
            await _close_if_unused(opened)

    @asynccontextmanager
    async def _using(self, opened: _Open) -> AsyncIterator[grpc.aio.Channel]:
        opened.calls += 1
        try:
            yield opened.channel
        finally:
            opened.calls -= 1
            await _close_if_unused(opened)

    def _make(self, addresses: Sequence[str], port: int) -> grpc.aio.Channel:
        target, options = target_of(addresses, port), channel_options(self._options)
        if self._credentials is None:
            return grpc.aio.insecure_channel(target, options=options)
        return grpc.aio.secure_channel(target, self._credentials, options=options)


async def _close_if_unused(opened: _Open) -> None:
    if opened.closing and not opened.calls:
        await opened.channel.close()
