"""A whole node whose handlers fail or are missing: what its status, its metrics and its page say."""

import asyncio
from pathlib import Path

import aiohttp

import garbagetruck
from garbagetruck.client.overview import CleanupSettings, CleanupStatus
from garbagetruck.cluster.machine.model import CleanupSpec, EventType
from garbagetruck.cluster.machine.operations import AcquireLease, ReleaseLeases
from garbagetruck.cluster.node.server_node import ServerNode
from tests.integration.node.test_one_node import Place, http_handler, place, prepared, running

__all__ = ["place"]


async def status_until(truck: garbagetruck.Truck, field: str) -> CleanupStatus:
    """The status once this of it is not empty."""
    async with asyncio.timeout(30):
        while True:
            shown = (await truck.status()).cleanup
            if getattr(shown, field):
                return shown
            await asyncio.sleep(0.05)


async def page(place: Place, path: str) -> str:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{place.base_port + 101}{path}") as answer,
    ):
        return await answer.text()


async def orphan(node: ServerNode, name: str, handler: str) -> None:
    """As another node's door let it in, whose handlers are others."""
    entered_ms = node.core.clock.now_ms()
    spec = CleanupSpec(handler, (("path", name),), f"{handler}:/{name}")
    acquire = AcquireLease(entered_ms, "default", "", f"lease-{name}", name, "h", 60_000, cleanup=spec)
    release = ReleaseLeases(entered_ms, "default", (f"lease-{name}",))
    await node.core.queue.submit((acquire, release), timeout_s=5)


async def test_a_handler_that_the_leader_does_not_have_is_told_of_and_its_cleanups_use_up_no_attempt(
    place: Place,
) -> None:
    async with running(place, bootstrap=True) as node:
        await node.become_ready()
        for number in range(3):
            await orphan(node, f"r{number}", "elsewhere")
        async with garbagetruck.connect(place.api) as truck:
            shown = await status_until(truck, "unknown_handlers")
            status = await truck.status()
        assert list(shown.unknown_handlers) == ["elsewhere"]
        assert not status.healthy
        assert any("'elsewhere'" in warning for warning in status.warnings)
        assert "garbagetruck_cleanups_of_unknown_handlers" in await page(place, "/metrics")
        assert "elsewhere" in await page(place, "/")
        resource = node.core.machine.resource("default", "r0")
        assert getattr(resource, "claims", None) == 0
    assert place.died == []


async def test_the_breaker_of_a_handler_whose_service_is_down_opens_and_an_operator_closes_it(tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text(http_handler("http://127.0.0.1:9"))
    place = prepared(tmp_path / "cluster", handlers=more)
    async with running(place, bootstrap=True) as node:
        await node.become_ready()
        async with garbagetruck.connect(place.api) as truck:
            await truck.namespaces.set("default", cleanup=CleanupSettings(grace_ms_min=0))
            for number in range(30):
                lease = await truck.acquire(
                    f"row/{number}",
                    holder="h",
                    ttl=60.0,
                    cleanup=garbagetruck.Cleanup("index", path=f"rows/{number}"),
                )
                await truck.release(lease.id)
            shown = await status_until(truck, "breakers")
            (breaker,) = shown.breakers
            assert breaker.handler == "index"
            assert "attempts within 60000 ms failed" in breaker.reason
            assert "garbagetruck_breakers_open 1.0" in await page(place, "/metrics")
            assert "the breaker of handler index is open" in await page(place, "/")
            await truck.cleanups.close_breaker("index", reason="it was meant to be down")
        machine = node.core.machine
        kinds = [each.type for each in machine.events_after(0, 100_000)]
        assert kinds.index(EventType.BREAKER_OPENED) < kinds.index(EventType.BREAKER_CLOSED)
        assert machine.summary().dead_letter == 0
    assert place.died == []
