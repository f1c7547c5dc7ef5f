"""A node's HTTP port: metrics, probes, and a page for people.

- `/metrics`: Prometheus's text, or OpenMetrics where it is asked for.
- `/livez`: 200 whenever the loop turns. That the node has no leader is no reason to restart it.
- `/readyz`: 200 when the node can answer clients, else 503 with the reasons.
- `/`: the node and the cluster's counts in plain HTML.

It answers from memory and changes nothing. It has no authentication: whoever reaches the port may read it.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.observe.facts import NodeFacts
from garbagetruck.cluster.observe.page import status_page

SHUTDOWN_TIMEOUT_S = 1.0
"""How long answers that are being sent get when the server stops."""
KEEPALIVE_TIMEOUT_S = 75.0


class HttpServer:
    """Runs on the node's main loop. `start` once, then `stop`; both on the same loop."""

    def __init__(
        self,
        host: str,
        port: int,
        facts: Callable[[], NodeFacts],
        machine: Callable[[], Machine],
        exposition: Collector,
    ) -> None:
        """`port` 0 takes a free one. `exposition`: what `/metrics` shows."""
        self._host = host
        self._port = port
        self._facts = facts
        self._machine = machine
        self._exposition = exposition
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen. Returns the port. Raises `OSError` when the address cannot be had."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/", self._index)
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            keepalive_timeout=KEEPALIVE_TIMEOUT_S,
        )
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, self._host, self._port, reuse_port=False).start()
        except OSError:
            await self.stop()
            raise
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port and all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._exposition), headers={"Content-Type": content_type})

    async def _livez(self, request: web.Request) -> web.Response:
        del request
        await asyncio.sleep(0)  # one turn of the loop: what is asked for is that it turns
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        del request
        facts = self._facts()
        body = {
            "ready": not facts.not_ready,
            "reasons": list(facts.not_ready),
            "node": facts.node_id,
            "leader": facts.leader_id or None,
            "commit_index": facts.commit_index,
            "applied_index": facts.applied_index,
        }
        return web.json_response(body, status=503 if facts.not_ready else 200)

    async def _index(self, request: web.Request) -> web.Response:
        del request
        return web.Response(
            text=status_page(self._facts(), self._machine()),
            content_type="text/html",
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )
