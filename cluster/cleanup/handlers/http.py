"""The `http` handler: asks a service to clean up, at an address that the operator configured.

Duty: turn one attempt into one request below the configured base address, and its answer into a result.
Invariants: a client chooses nothing but a path below the base, as plain text that is encoded here; no redirect is
followed; no more than `ANSWER_BYTES_MAX` of an answer are read; an attempt sends one request.

What fences: the request carries claim token, generation and idempotency key, and the service decides. A service that
ignores them is safe as long as it never makes a thing anew under a path that was cleaned before. A request that a
stopped leader sent, or that the network held up, may arrive after a later one: only the service can refuse it.

Must not know: what the service does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

import aiohttp
from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, Handler, InvalidParametersError
from garbagetruck.cluster.cleanup.handlers.http_options import HttpOptions, read_http_options, resolve_headers
from garbagetruck.cluster.cleanup.running import RunBlocking
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

SCHEME = "http"
PATH_BYTES_MAX = 2_048
SEGMENTS_MAX = 64
ANSWER_BYTES_MAX = 2_048
ANSWER_CHARACTERS_SHOWN = 200
CONNECT_TIMEOUT_S = 5.0

_SAFE_IN_SEGMENT = "!$&'()*+,;=:@~"
_DONE = range(200, 300)
_GONE = frozenset({404, 410})
_REDIRECTS = range(300, 400)
_REFUSALS = range(400, 500)
_RETRYABLE_REFUSALS = {
    401: "the service does not accept the credentials; correct `headers`",
    403: "the service does not allow it; correct `headers`, or its permissions",
    408: "the service waited too long for the request",
    409: "the thing is in a state that does not allow it now",
    412: "the service has seen a higher token or another condition is not met",
    423: "the thing is locked",
    425: "the service did not want it so early",
    429: "the service has too many requests",
}


class HttpHandler(Handler):
    """Sends `DELETE` or `POST` to a service, once for each attempt."""

    scheme: ClassVar[str] = SCHEME

    def __init__(
        self, name: str, options: HttpOptions, *, environ: Mapping[str, str], run_blocking: RunBlocking
    ) -> None:
        self._name = name
        self._options = options
        self._base = options.base_url.rstrip("/")
        self._environ = environ
        self._run_blocking = run_blocking
        self._session: aiohttp.ClientSession | None = None

    @override
    def check(self) -> Sequence[str]:
        try:
            resolve_headers(self._name, self._options, self._environ)
        except HandlerSettingsError as error:
            return [str(error)]
        return ()

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        return f"{SCHEME}:/{self._name}/{'/'.join(_segments(parameters))}"

    @override
    async def start(self) -> None:
        headers = await self._run_blocking(lambda: resolve_headers(self._name, self._options, self._environ))
        self._session = aiohttp.ClientSession(
            headers={"Accept-Encoding": "identity", "User-Agent": "garbagetruck", **headers},
            connector=aiohttp.TCPConnector(limit=0),  # the executor's slots are the limit
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_send_once,),
            auto_decompress=False,
            trust_env=False,
        )

    @override
    async def stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        assert self._session is not None, "the handler was started"
        path = "/".join(quote(segment, safe=_SAFE_IN_SEGMENT) for segment in _segments(call.parameters))
        remaining_s = call.remaining_s()
        if not call.may_proceed():
            return CleanupResult.failed("no time was left, or this node leads no more")
        try:
            async with self._session.request(
                self._options.method,
                f"{self._base}/{path}",
                headers=_headers(call),
                json=_body(call) if self._options.method == "POST" else None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=remaining_s, connect=CONNECT_TIMEOUT_S),
            ) as response:
                answer = await response.content.read(ANSWER_BYTES_MAX)
                return _result(response.status, answer)
        except TimeoutError:
            return CleanupResult.failed(f"{self._options.method} {self._base}: no answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return CleanupResult.failed(f"{self._options.method} {self._base}: {type(error).__name__}: {error}")


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
    run_blocking: RunBlocking, environ: Mapping[str, str]
) -> Callable[[Mapping[str, object], str], HttpHandler]:
    """The factory of `http` handlers. It raises `HandlerSettingsError`."""

    def make(options: Mapping[str, object], name: str) -> HttpHandler:
        return HttpHandler(name, read_http_options(name, options), environ=environ, run_blocking=run_blocking)

    return make


def _segments(parameters: Mapping[str, str]) -> list[str]:
    for key in parameters:
        if key != "path":
            raise InvalidParametersError(key, "is not a parameter of this handler", "give `path` alone")
    path = parameters.get("path", "")
    if not path:
        raise InvalidParametersError("path", "is missing or empty", "name what the service shall remove, as in rows/42")
    if path.startswith("/"):
        raise InvalidParametersError("path", "is not relative", "leave the leading slash out")
    for character in path:
        if not character.isprintable() or character in "\\%?#":
            problem = f"contains {character!r}"
            raise InvalidParametersError(
                "path", problem, r"use printable text without \, %, ? and #; it is encoded for you"
            )
    segments = path.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise InvalidParametersError(
            "path", "contains an empty segment, `.` or `..`", "name the path plainly, as in rows/42"
        )
    if len(path.encode()) > PATH_BYTES_MAX or len(segments) > SEGMENTS_MAX:
        raise InvalidParametersError(
            "path", "is too long", f"use at most {PATH_BYTES_MAX} bytes and {SEGMENTS_MAX} segments"
        )
    return segments


def _headers(call: CleanupCall) -> dict[str, str]:
    return {
        "Idempotency-Key": call.idempotency_key,
        "GarbageTruck-Cluster": quote(call.cluster_id, safe=""),
        "GarbageTruck-Namespace": quote(call.namespace, safe=_SAFE_IN_SEGMENT),
        "GarbageTruck-Resource": quote(call.resource, safe=_SAFE_IN_SEGMENT + "/"),
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


def _result(status: int, answer: bytes) -> CleanupResult:
    if status in _DONE:
        return CleanupResult.done()
    if status in _GONE:
        return CleanupResult.already_gone()
    shown = _shown(answer)
    if status in _RETRYABLE_REFUSALS:
        return CleanupResult.failed(f"{status}: {_RETRYABLE_REFUSALS[status]}{shown}")
    if status in _REDIRECTS:
        error = f"{status}: the service redirects, which is not followed; correct `base_url`{shown}"
        return CleanupResult.failed(error, retryable=False)
    if status in _REFUSALS:
        return CleanupResult.failed(f"{status}: the service refuses{shown}", retryable=False)
    return CleanupResult.failed(f"{status}: the service failed{shown}")


def _shown(answer: bytes) -> str:
    text = "".join(each if each.isprintable() else " " for each in answer.decode("utf-8", "replace"))
    text = " ".join(text.split())[:ANSWER_CHARACTERS_SHOWN]
    return f": {text}" if text else ""
