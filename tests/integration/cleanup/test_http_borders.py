"""The `http` handler where somebody means it ill, or is broken: addresses, redirects, certificates, half-open servers.

Every server here is real, and on loopback, which the handlers are allowed by name.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from garbagetruck.cluster.cleanup.handler import CleanupResult, Verdict
from garbagetruck.cluster.cleanup.handlers import http
from garbagetruck.cluster.cleanup.handlers.http import http_handlers
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.certificates import HOST, serving, write_certificates
from tests.integration.cleanup.http_service import LOOPBACK, Names, Service, http_handler

ROW = {"path": "rows/42"}


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service().served() as served:
        yield served


# -- addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "10.0.0.3",
        "169.254.169.254",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fe80::1",
        "0.0.0.0",
    ],
)
async def test_a_name_that_leads_inside_is_not_connected_to(service: Service, address: str) -> None:
    names = Names([address])
    async with http_handler(f"http://{HOST}:{service.port}", names=names, allow_addresses=()) as handler:
        result = await handler.clean(call_of(handler, ROW))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert result.error.startswith(f"{HOST} leads to {address}, and ")
    assert names.asked == [HOST]
    assert service.requests == []


async def test_the_address_that_was_judged_is_connected_to_whatever_the_name_leads_to_later(service: Service) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    base = f"http://{HOST}:{service.port}/base"
    async with http_handler(base, names=names, allow_addresses=["127.0.0.1"]) as handler:
        assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
        assert names.asked == [HOST], "resolved once"
    (request,) = service.requests
    assert request.headers["Host"] == f"{HOST}:{service.port}", "the name is kept for the service"
    assert request.transport is None or request.transport.get_extra_info("sockname")[0] == "127.0.0.1"


async def test_a_name_that_is_bound_anew_is_judged_anew(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RESOLVED_FOR_S", 0)
    service.headers = {"Connection": "close"}
    names = Names(["127.0.0.1"], ["127.0.0.1", "169.254.169.254"])
    async with http_handler(f"http://{HOST}:{service.port}", names=names) as handler:
        assert (await handler.clean(call_of(handler, ROW))).verdict is Verdict.DONE
        result = await handler.clean(call_of(handler, ROW))
    assert "hands out credentials" in result.error
    assert len(service.requests) == 1


async def test_an_address_in_the_configuration_is_judged_when_the_handler_is_made() -> None:
    for host in ("127.0.0.1", "[::1]", "10.0.0.3", "169.254.169.254", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"):
        with pytest.raises(HandlerSettingsError, match="allow_addresses") as caught:
            http_handlers(run_directly, {})({"base_url": f"http://{host}:80"}, "index")
        assert caught.value.option == "base_url"


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1"])
async def test_a_number_in_place_of_an_address_is_refused_even_where_loopback_is_allowed(host: str) -> None:
    with pytest.raises(HandlerSettingsError, match="write that address in full"):
        http_handlers(run_directly, {})({"base_url": f"http://{host}/", "allow_addresses": LOOPBACK}, "index")


async def test_a_redirect_inside_is_not_followed(service: Service) -> None:
    async with Service().served() as inside:
        service.status, service.headers = 307, {"Location": f"{inside.url}/secret"}
        async with http_handler(service.url) as handler:
            result = await handler.clean(call_of(handler, ROW))
        assert inside.requests == []
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert "redirects" in result.error


async def test_variables_that_name_a_proxy_are_not_obeyed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Service().served() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with http_handler(service.url) as handler:
            await handler.clean(call_of(handler, ROW))
        assert proxy.requests == []
    assert len(service.requests) == 1


def test_i1_two_handlers_that_reach_the_same_paths_are_refused() -> None:
    make = http_handlers(run_directly, {})
    make({"base_url": "https://index.example/rows"}, "a")
    make({"base_url": "https://index.example/rows-too"}, "b")
    make({"base_url": "https://index.example:444/rows"}, "c")
    make({"base_url": "https://[2606:4700::11]/rows"}, "e")
    with pytest.raises(HandlerSettingsError, match=r"reaches what that of handlers\.e reaches"):
        make({"base_url": "https://[2606:4700:0:0::0011]/rows/42"}, "f")
    for base in (
        "https://index.example/rows/",
        "https://INDEX.example./rows/old",
        "https://index.example",
        "https://index.example:443/rows",
    ):
        with pytest.raises(
            HandlerSettingsError, match=r"handlers\.d\.base_url: reaches what that of handlers\.\w reaches"
        ):
            make({"base_url": base}, "d")


# -- injection, size --------------------------------------------------------------------------------------------


async def test_names_of_the_cluster_cannot_add_a_header(service: Service) -> None:
    async with http_handler(service.url, signing_secret="0123456789abcdef") as handler:
        call = call_of(handler, ROW, resource="a\r\nAuthorization: b\n\nDELETE /x", cluster_id="c\r\nX: y")
        assert await handler.clean(call) == CleanupResult.done()
    (request,) = service.requests
    assert request.headers["GarbageTruck-Resource"] == "a%0D%0AAuthorization:%20b%0A%0ADELETE%20/x"
    assert request.headers["GarbageTruck-Cluster"] == "c%0D%0AX%3A%20y"
    assert "Authorization" not in request.headers
    assert "X" not in request.headers


async def test_the_longest_path_arrives_whole(service: Service) -> None:
    path = "/".join("ü" * 15 for _ in range(64))
    async with http_handler(service.url) as handler:
        assert await handler.clean(call_of(handler, {"path": path})) == CleanupResult.done()
    assert service.requests[0].path == f"/{path}"


async def test_headers_without_end_are_not_read(service: Service) -> None:
    service.headers = {"X-Long": "x" * 100_000}
    async with http_handler(service.url) as handler:
        result = await handler.clean(call_of(handler, ROW))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert len(result.error) < 512


# -- slow and broken servers ------------------------------------------------------------------------------------


@asynccontextmanager
async def raw_server(answer: bytes, *, then_close: bool = False) -> AsyncIterator[str]:
    """A server that sends `answer` to whoever connects, and then waits or hangs up."""
    done = asyncio.Event()

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if not then_close:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        try:
            yield f"http://{host}:{port}"
        finally:
            done.set()


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 2", b"HTTP/1.1 204 No Content\r\nX-Slow: ", b"HTTP/1.1 204 No Content\r\nX: y\r\n"]
)
async def test_a_server_that_stops_before_its_status_is_whole_is_left_at_the_deadline(begun: bytes) -> None:
    async with raw_server(begun) as url, http_handler(url) as handler:
        result = await asyncio.wait_for(handler.clean(call_of(handler, ROW, remaining_s=lambda: 0.2)), 10)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "no answer in time" in result.error


async def test_a_status_counts_even_if_what_follows_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_TIMEOUT_S", 0.05)
    for status, verdict in (
        (b"200 OK", Verdict.DONE),
        (b"410 Gone", Verdict.ALREADY_GONE),
        (b"500 No", Verdict.FAILED),
    ):
        answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 10\r\n\r\n"
        async with raw_server(answer) as url, http_handler(url) as handler:
            assert (await handler.clean(call_of(handler, ROW))).verdict is verdict


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nA\x00: b\r\n\r\n"]
)
async def test_what_is_no_answer_is_a_failure_that_may_be_retried(answer: bytes) -> None:
    async with raw_server(answer, then_close=True) as url, http_handler(url) as handler:
        result = await asyncio.wait_for(handler.clean(call_of(handler, ROW)), 10)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert result.error.isprintable()


async def test_a_slow_answer_of_one_does_not_hold_up_another(service: Service) -> None:
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("slow"):
            await release.wait()
        return web.Response(status=204)

    service.answer = slow
    async with http_handler(service.url) as handler:
        waiting = asyncio.create_task(handler.clean(call_of(handler, {"path": "slow"})))
        for number in range(20):
            assert await handler.clean(call_of(handler, {"path": str(number)})) == CleanupResult.done()
        assert not waiting.done()
        release.set()
        assert await waiting == CleanupResult.done()


# -- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificates(tmp_path_factory.mktemp("tls") / "certificates")


async def test_a_service_is_known_by_its_name_and_authority(certificates: Path) -> None:
    tls = {"authority": str(certificates / "ca.pem")}
    async with Service(serving(certificates, "index")).served() as service:
        async with http_handler(f"https://{HOST}:{service.port}", tls=tls) as handler:
            assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
        async with http_handler(service.url, tls={**tls, "server_name": HOST}) as handler:
            assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()


@pytest.mark.parametrize(
    ("certificate", "authority"),
    [("elsewhere", "ca"), ("expired", "ca"), ("forged", "ca"), ("index", "stranger"), ("index", "")],
)
async def test_a_wrong_certificate_is_told_nothing(certificates: Path, certificate: str, authority: str) -> None:
    tls = {"authority": str(certificates / f"{authority}.pem")} if authority else {}
    async with Service(serving(certificates, certificate)).served() as service:
        async with http_handler(f"https://{HOST}:{service.port}", tls=tls) as handler:
            result = await handler.clean(call_of(handler, ROW))
        assert service.requests == []
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "ertificate" in result.error


async def test_a_service_may_ask_for_the_nodes_certificate(certificates: Path) -> None:
    tls = {"authority": str(certificates / "ca.pem")}
    own = {"certificate": str(certificates / "node.pem"), "key": str(certificates / "node.key")}
    async with Service(serving(certificates, "index", clients=True)).served() as service:
        base = f"https://{HOST}:{service.port}"
        async with http_handler(base, tls={**tls, **own}) as handler:
            assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
        async with http_handler(base, tls=tls) as handler:
            assert (await handler.clean(call_of(handler, ROW))).verdict is Verdict.FAILED
    assert len(service.requests) == 1


async def test_a_server_that_never_encrypts_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECT_TIMEOUT_S", 0.2)
    async with raw_server(b"") as url, http_handler(url.replace("http:", "https:")) as handler:
        result = await asyncio.wait_for(handler.clean(call_of(handler, ROW)), 10)
    assert "no answer in time" in result.error


# -- check ------------------------------------------------------------------------------------------------------


async def test_a_check_connects_and_sends_nothing(certificates: Path) -> None:
    async with Service(serving(certificates, "index")).served() as service:
        tls = {"authority": str(certificates / "ca.pem"), "server_name": HOST}
        options = {"base_url": service.url, "tls": tls, "allow_addresses": LOOPBACK}
        assert await asyncio.to_thread(http_handlers(run_directly, {})(options, "index").check) == ()
        options["tls"] = {"authority": str(certificates / "ca.pem")}
        (problem,) = await asyncio.to_thread(http_handlers(run_directly, {})(options, "index").check)
    assert "certificate" in problem
    assert "correct `base_url` or `tls`" in problem
    assert service.requests == []


def test_a_check_tells_what_is_not_there(tmp_path: Path) -> None:
    def problem(**options: object) -> str:
        (found,) = http_handlers(run_directly, {"SHORT": "x"})(options, "index").check()
        return found

    nobody = {"base_url": "http://127.0.0.1:1", "allow_addresses": LOOPBACK}
    assert "http://127.0.0.1:1 cannot be reached" in problem(**nobody)
    assert "localhost leads to" in problem(base_url="http://localhost:1")
    assert "handlers.index.signing_secret: is too short" in problem(**nobody, signing_secret={"env": "SHORT"})
    missing = {"authority": str(tmp_path / "none.pem")}
    assert "handlers.index.tls.authority" in problem(**{**nobody, "base_url": "https://127.0.0.1:1"}, tls=missing)
