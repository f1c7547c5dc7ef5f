"""The `http` handler: asks a service to clean up, at an address that the operator configured.

Duty: turn one attempt into one request below the configured base address, and its answer into a result.
Invariants: a client chooses nothing but a path below the base, as plain text that is encoded here; the connection goes to
an address that was judged (addresses.py), whatever a resolver says a moment later; no redirect is followed; no more than
`ANSWER_BYTES_MAX` of an answer are read, and not for longer than `ANSWER_TIMEOUT_S`; an attempt sends one request.

What fences: the request carries claim token, generation and idempotency key, and the service decides. A service that
ignores them is safe as long as it never makes a thing anew under a path that was cleaned before. A request that a
stopped leader sent, or that the network held up, may arrive after a later one: only the service can refuse it.

Must not know: what the service does.
"""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, Handler
from garbagetruck.cluster.cleanup.handlers.addresses import (
    RESOLVED_FOR_S,
    AddressRefusedError,
    AllowedAddresses,
    Resolve,
    read_networks,
    resolve_blocking,
    resolve_by_system,
)
from garbagetruck.cluster.cleanup.handlers.answers import shown
from garbagetruck.cluster.cleanup.handlers.http_answers import result_of
from garbagetruck.cluster.cleanup.handlers.http_options import (
    SAFE_IN_SEGMENT,
    BaseBook,
    Credentials,
    HttpOptions,
    fetch_credentials,
    read_http_options,
)
from garbagetruck.cluster.cleanup.handlers.http_signature import signed_headers
from garbagetruck.cluster.cleanup.handlers.paths import path_segments
from garbagetruck.cluster.cleanup.handlers.tls import load_context
from garbagetruck.cluster.cleanup.running import RunBlocking
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

SCHEME = "http"
ANSWER_BYTES_MAX = 2_048
ANSWER_TIMEOUT_S = 2.0
"""For what a service says after its status: the status is the answer, the rest is for people."""
CONNECT_TIMEOUT_S = 5.0
"""For TCP and TLS together."""
CHECK_TIMEOUT_S = 3.0
HEADER_BYTES_MAX = 8_192
"""Of an answer: its status line, and each of its headers."""


class HttpHandler(Handler):
    """Sends `DELETE` or `POST` to a service, once for each attempt. `wall_s` counts from 1970, for signatures alone."""

    scheme: ClassVar[str] = SCHEME

    def __init__(
        self,
        name: str,
        options: HttpOptions,
        *,
        environ: Mapping[str, str],
        run_blocking: RunBlocking,
        resolve: Resolve,
        wall_s: Callable[[], float],
    ) -> None:
        self._name = name
        self._options = options
        self._allowed = read_networks(name, options.allow_addresses)
        self._base = options.base_url.rstrip("/")
        self._environ = environ
        self._run_blocking = run_blocking
        self._resolve = resolve
        self._wall_s = wall_s
        self._secret = ""
        self._session: aiohttp.ClientSession | None = None

    @override
    def check(self) -> Sequence[str]:
        host, port = self._options.place
        try:
            _, context = self._load()
            with _connect(self._allowed.judged(host, resolve_blocking(host, port)), port) as connection:
                if context is not None:
                    context.wrap_socket(connection, server_hostname=self._options.tls.server_name or host).close()
        except (HandlerSettingsError, AddressRefusedError) as error:
            return [str(error)]
        except OSError as error:
            return [f"{self._base} cannot be reached: {error}; start the service, or correct `base_url` or `tls`"]
        return ()

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        return f"{SCHEME}:/{self._name}/{'/'.join(path_segments(parameters))}"

    @override
    async def start(self) -> None:
        credentials, context = await self._run_blocking(self._load)
        self._secret = credentials.signing_secret
        self._session = aiohttp.ClientSession(
            headers={"Accept-Encoding": "identity", "User-Agent": "garbagetruck", **credentials.headers},
            connector=aiohttp.TCPConnector(
                limit=0,  # the executor's slots are the limit
                resolver=_JudgingResolver(self._allowed, self._resolve),
                ttl_dns_cache=RESOLVED_FOR_S,
                ssl=True if context is None else context,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_send_once,),
            auto_decompress=False,
            trust_env=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )

    @override
    async def stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        assert self._session is not None, "the handler was started"
        method = self._options.method
        path = "/".join(quote(segment, safe=SAFE_IN_SEGMENT) for segment in path_segments(call.parameters))
        body = json.dumps(_body(call)).encode() if method == "POST" else b""
        remaining_s = call.remaining_s()
        if not call.may_proceed():
            return CleanupResult.failed("no time was left, or this node leads no more")
        try:
            async with self._session.request(
                method,
                f"{self._base}/{path}",
                headers=self._headers(call, method, f"{self._options.base_path}/{path}", body),
                data=body or None,
                allow_redirects=False,
                server_hostname=self._options.tls.server_name or None,
                timeout=aiohttp.ClientTimeout(total=remaining_s, connect=CONNECT_TIMEOUT_S),
            ) as response:
                return result_of(response.status, await _text(response))
        except TimeoutError:
            return CleanupResult.failed(f"{method} {self._base}: no answer in time")
        except AddressRefusedError as error:
            return CleanupResult.failed(str(error))
        except (aiohttp.ClientError, OSError) as error:
            return CleanupResult.failed(f"{method} {self._base}: {type(error).__name__}{shown(str(error))}")

    def _load(self) -> tuple[Credentials, ssl.SSLContext | None]:
        context = load_context(self._name, self._options.tls) if self._options.encrypted else None
        return fetch_credentials(self._name, self._options, self._environ), context

    def _headers(self, call: CleanupCall, method: str, path: str, body: bytes) -> dict[str, str]:
        headers = _headers(call)
        if self._secret:
            headers = signed_headers(
                self._secret, now_s=self._wall_s(), method=method, path=path, headers=headers, body=body
            )
        return {**headers, "Content-Type": "application/json"} if body else headers


class _JudgingResolver(AbstractResolver):
    """Gives aiohttp the addresses that it may connect to. It is asked for names only; literals were judged before."""

    def __init__(self, allowed: AllowedAddresses, by: Resolve) -> None:
        self._allowed = allowed
        self._by = by

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._allowed.resolve(host, port, self._by)
        ]

    @override
    async def close(self) -> None:
        pass


class ConnectionBrokenError(aiohttp.ClientError):
    """The connection broke after the request may have been sent."""


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a `DELETE` whose connection broke: it would not ask `may_proceed` again. (I8.)"""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionBrokenError(str(error)) from error


def http_handlers(
    run_blocking: RunBlocking,
    environ: Mapping[str, str],
    *,
    resolve: Resolve = resolve_by_system,
    wall_s: Callable[[], float] = time.time,
) -> Callable[[Mapping[str, object], str], HttpHandler]:
    """The factory of all `http` handlers of a process. It raises `HandlerSettingsError`."""
    bases = BaseBook()

    def make(options: Mapping[str, object], name: str) -> HttpHandler:
        read = read_http_options(name, options)
        bases.enter(name, read)
        return HttpHandler(name, read, environ=environ, run_blocking=run_blocking, resolve=resolve, wall_s=wall_s)

    return make


def _connect(addresses: Sequence[str], port: int) -> socket.socket:
    """A connection to the first that takes one, for a check. Raises `OSError`."""
    failure = OSError()
    for address in addresses:
        try:
            return socket.create_connection((address, port), CHECK_TIMEOUT_S)
        except OSError as error:
            failure = error
    raise failure


async def _text(response: aiohttp.ClientResponse) -> bytes:
    """What the service says beside its status, as far as it comes soon."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await response.content.read(ANSWER_BYTES_MAX)
    except (TimeoutError, aiohttp.ClientError):
        return b""


def _headers(call: CleanupCall) -> dict[str, str]:
    return {
        "Idempotency-Key": call.idempotency_key,
        "GarbageTruck-Cluster": quote(call.cluster_id, safe=""),
        "GarbageTruck-Namespace": quote(call.namespace, safe=SAFE_IN_SEGMENT),
        "GarbageTruck-Resource": quote(call.resource, safe=SAFE_IN_SEGMENT + "/"),
        "GarbageTruck-Generation": str(call.generation),
        "GarbageTruck-Fencing-Token": str(call.fencing_token),
        "GarbageTruck-Attempt": str(call.attempt),
    }


def _body(call: CleanupCall) -> dict[str, object]:
    return {
        "cluster": call.cluster_id,
        "namespace": call.namespace,
        "resource": call.resource,
        "generation": call.generation,
        "fencing_token": call.fencing_token,
        "idempotency_key": call.idempotency_key,
        "attempt": call.attempt,
        "parameters": dict(call.parameters),
    }
