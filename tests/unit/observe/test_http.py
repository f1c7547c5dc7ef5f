"""The HTTP port: metrics, probes and the page, over a real socket."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import BrakeSettings, CleanupSettings, NamespaceLimits
from garbagetruck.cluster.machine.operations import BATCH_FORMAT, Batch, EnterEpoch, PauseCleanups, SetNamespace
from garbagetruck.cluster.observe.http import HttpServer
from garbagetruck.cluster.observe.metrics import NodeMetrics
from tests.unit.observe.node import a_node


@pytest.fixture
async def node() -> AsyncIterator[Any]:
    """A node with an HTTP port, and a session to ask it with."""
    machine = Machine()
    node = SimpleNamespace(facts=a_node(), machine=machine)
    metrics = NodeMetrics(lambda: node.facts, lambda: machine)
    server = HttpServer("127.0.0.1", 0, lambda: node.facts, lambda: machine, metrics.exposition)
    port = await server.start()
    node.server = server
    node.port = port
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        node.get = session.get
        yield node
    await server.stop()


async def test_metrics_are_prometheus_text_with_the_metric_that_matters_most(node: Any) -> None:
    async with node.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        families = {family.name for family in text_string_to_metric_families(await answer.text())}
    assert {"garbagetruck_oldest_overdue_cleanup_seconds", "garbagetruck_reclaim_lateness_seconds"} <= families
    assert "process_resident_memory_bytes" in families


async def test_metrics_are_openmetrics_where_they_are_asked_for(node: Any) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with node.get("/metrics", headers=accept) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await answer.text()).endswith("# EOF\n")


async def test_a_node_without_a_leader_is_alive_and_not_ready(node: Any) -> None:
    async with node.get("/readyz") as answer:
        assert (answer.status, (await answer.json())["ready"]) == (200, True)
    node.facts = a_node(role="candidate", leader_id="", not_ready=("no leader is known",))
    async with node.get("/livez") as answer:
        assert answer.status == 200
    async with node.get("/readyz") as answer:
        assert answer.status == 503
        body = await answer.json()
    assert body == {
        "ready": False,
        "reasons": ["no leader is known"],
        "node": "n1",
        "leader": None,
        "commit_index": 42,
        "applied_index": 40,
    }


async def test_the_page_tells_what_is_and_escapes_what_others_wrote(node: Any) -> None:
    operations = (
        EnterEpoch("n1"),
        SetNamespace(0, "team", "", "", NamespaceLimits(), CleanupSettings(), BrakeSettings()),
        PauseCleanups(0, "", "", "", "<script>alert(1)</script>"),
    )
    node.machine.apply(codec.encode_batch(Batch(BATCH_FORMAT, 1, 1, "n1", 1, operations)))
    node.facts = a_node(leader_id="", not_ready=("no leader is known",))
    async with node.get("/") as answer:
        assert answer.content_type == "text/html"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        page = await answer.text()
    assert "no leader is known" in page
    assert "applied 40 of 42 committed" in page
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "team" in page
    for link in ("/metrics", "/readyz", "/livez"):
        assert f'href="{link}"' in page


async def test_the_page_lists_a_bounded_number_of_namespaces(node: Any) -> None:
    operations = tuple(
        SetNamespace(0, f"team-{number:03d}", "", "", NamespaceLimits(), CleanupSettings(), BrakeSettings())
        for number in range(60)
    )
    node.machine.apply(codec.encode_batch(Batch(BATCH_FORMAT, 1, 1, "n1", 1, (EnterEpoch("n1"), *operations))))
    async with node.get("/") as answer:
        page = await answer.text()
    assert "and 11 more" in page


async def test_what_is_not_there_is_not_found(node: Any) -> None:
    async with node.get("/debug") as answer:
        assert answer.status == 404
    async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{node.port}/metrics") as answer:
        assert answer.status == 405


async def test_an_address_in_use_is_an_error_of_the_world(node: Any) -> None:
    second = HttpServer(
        "127.0.0.1", node.port, lambda: node.facts, lambda: node.machine, NodeMetrics(a_node, Machine).exposition
    )
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.stop()
