"""A real HTTP server on loopback that notes what it is asked, and an `http` handler that may call it.

Duty: let a test say "the service answers so" in a line. It must not know: what the handler makes of an answer.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from garbagetruck.cluster.cleanup.handlers.http import HttpHandler, http_handlers
from garbagetruck.cluster.cleanup.running import run_directly

LOOPBACK = ["127.0.0.0/8", "::1"]
ENVIRON = {"TOKEN": "Bearer 7", "SECRET": "0123456789abcdef0123456789abcdef"}
NOW_S = 1_800_000_000.25


class Service:
    """A server on a free port that notes every request; `answer` may be replaced."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.url = ""
        self.port = 0
        self.status = 204
        self.headers: dict[str, str] = {}
        self.body = b""
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self.plain
        self._tls = tls

    async def plain(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(status=self.status, headers=self.headers, body=self.body)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        return await self.answer(request)

    @asynccontextmanager
    async def served(self) -> AsyncIterator["Service"]:
        application = web.Application()
        application.router.add_route("*", "/{anything:.*}", self._take)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        host, self.port = runner.addresses[0][:2]
        self.url = f"{'https' if self._tls else 'http'}://{host}:{self.port}"
        try:
            yield self
        finally:
            await runner.cleanup()


class Names:
    """A resolver whose answers a test chooses, one after the other; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def http_handler(
    base_url: str, *, names: Names | None = None, allow_addresses: Sequence[str] = LOOPBACK, **options: object
) -> AsyncIterator[HttpHandler]:
    """A started handler that may call loopback, and takes names from `names` alone."""
    make = http_handlers(run_directly, ENVIRON, resolve=names or Names(["127.0.0.1"]), wall_s=lambda: NOW_S)
    handler = make({"base_url": base_url, "allow_addresses": list(allow_addresses), **options}, "index")
    await handler.start()
    try:
        yield handler
    finally:
        await handler.stop()
