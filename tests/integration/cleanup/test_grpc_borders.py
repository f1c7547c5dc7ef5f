"""The `grpc` handler where somebody means it ill, or is broken: addresses, certificates; and what its check finds.

Every server here is real, and on loopback, which the handlers are allowed by name.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import CleanupResult, Verdict
from garbagetruck.cluster.cleanup.handlers.addresses import RESOLVED_FOR_S
from garbagetruck.cluster.cleanup.handlers.grpc import grpc_handlers
from garbagetruck.cluster.cleanup.handlers.grpc.channels import SERVICE
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.v1 import cleanup_handler_pb2 as wire
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.certificates import HOST, write_certificates
from tests.integration.cleanup.grpc_service import (
    NOT_SERVING,
    Context,
    GrpcService,
    grpc_handler,
    silent_server,
)
from tests.integration.cleanup.http_service import LOOPBACK, Names

ROW = {"path": "rows/42"}


@pytest.fixture
async def service() -> AsyncIterator[GrpcService]:
    async with GrpcService().served() as served:
        yield served


# -- addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
async def test_a_name_that_leads_inside_is_not_connected_to(service: GrpcService, address: str) -> None:
    async with grpc_handler(f"{HOST}:{service.port}", names=Names([address]), allow_addresses=()) as handler:
        result = await handler.clean(call_of(handler, ROW))
    assert result.error.startswith(f"{HOST} leads to {address}, and ")
    assert service.requests == []


async def test_the_address_that_was_judged_is_connected_to_under_the_services_name(service: GrpcService) -> None:
    authorities: list[str] = []

    async def note(context: Context) -> wire.CleanUpResponse:
        authorities.append(context.peer())
        return service.response

    service.answer = note
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    async with grpc_handler(f"{HOST}:{service.port}", names=names, allow_addresses=["127.0.0.1"]) as handler:
        for _ in range(3):
            assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
    assert names.asked == [HOST], "resolved once, while the answer is fresh"
    assert all(peer.startswith("ipv4:127.0.0.1:") for peer in authorities)


async def test_a_name_that_is_bound_anew_to_a_forbidden_address_is_not_called_any_more(service: GrpcService) -> None:
    names, now_s = Names(["127.0.0.1"], ["10.0.0.3"]), 0.0
    async with grpc_handler(f"{HOST}:{service.port}", names=names, monotonic_s=lambda: now_s) as handler:
        assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
        now_s += RESOLVED_FOR_S
        assert "a private or reserved address" in (await handler.clean(call_of(handler, ROW))).error
        names.answers = [["127.0.0.1"]]
        assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
    assert len(service.requests) == 2


async def test_a_service_that_moves_is_followed_and_calls_under_way_end_where_they_began() -> None:
    names, now_s = Names(["127.0.0.1"], ["127.0.0.2"]), 0.0
    release, arrived = asyncio.Event(), asyncio.Event()

    async def wait(_context: Context) -> wire.CleanUpResponse:
        arrived.set()
        await release.wait()
        return wire.CleanUpResponse(outcome=wire.CLEAN_UP_OUTCOME_ALREADY_GONE)

    async with GrpcService().served() as old, GrpcService().served(f"127.0.0.2:{old.port}") as new:
        old.answer = wait
        async with grpc_handler(f"{HOST}:{old.port}", names=names, monotonic_s=lambda: now_s) as handler:
            first = asyncio.create_task(handler.clean(call_of(handler, ROW)))
            await arrived.wait()
            now_s += RESOLVED_FOR_S
            assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
            release.set()
            assert await first == CleanupResult.already_gone()
        assert (len(old.requests), len(new.requests)) == (1, 1)


async def test_a_resolver_that_fails_does_not_take_away_what_was_judged_before(service: GrpcService) -> None:
    class Failing(Names):
        @override
        async def __call__(self, host: str, port: int) -> list[str]:
            if self.asked:
                raise OSError("no resolver")
            return list(await super().__call__(host, port))

    now_s = 0.0
    names = Failing(["127.0.0.1"])
    async with grpc_handler(f"{HOST}:{service.port}", names=names, monotonic_s=lambda: now_s) as handler:
        assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
        now_s += RESOLVED_FOR_S
        assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
    names = Failing(["127.0.0.1"])
    names.asked = [HOST]
    async with grpc_handler(f"{HOST}:{service.port}", names=names) as handler:
        assert "no resolver" in (await handler.clean(call_of(handler, ROW))).error


async def test_variables_that_name_a_proxy_are_not_obeyed(
    service: GrpcService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with silent_server(hang_up=True) as (proxy, heard):
        for name in ("grpc_proxy", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://{proxy}")
        async with grpc_handler(service.address) as handler:
            assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
        assert heard == []


# -- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificates(tmp_path_factory.mktemp("tls") / "certificates")


def serving(folder: Path, name: str) -> grpc.ServerCredentials:
    pair = ((folder / f"{name}.key").read_bytes(), (folder / f"{name}.pem").read_bytes())
    return grpc.ssl_server_credentials([pair])


async def test_a_service_is_known_by_its_name_and_authority(certificates: Path) -> None:
    tls = {"authority": str(certificates / "ca.pem")}
    async with GrpcService(serving(certificates, "index")).served() as service:
        async with grpc_handler(f"{HOST}:{service.port}", tls=tls, plaintext=False) as handler:
            assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
        async with grpc_handler(service.address, tls={**tls, "server_name": HOST}, plaintext=False) as handler:
            assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()


@pytest.mark.parametrize(
    ("certificate", "authority"),
    [("elsewhere", "ca"), ("expired", "ca"), ("forged", "ca"), ("index", "stranger"), ("index", "")],
)
async def test_a_wrong_certificate_is_told_nothing(certificates: Path, certificate: str, authority: str) -> None:
    tls = {"authority": str(certificates / f"{authority}.pem")} if authority else {}
    async with GrpcService(serving(certificates, certificate)).served() as service:
        async with grpc_handler(f"{HOST}:{service.port}", tls=tls, plaintext=False) as handler:
            result = await handler.clean(call_of(handler, ROW))
        assert service.requests == []
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "UNAVAILABLE" in result.error


# -- check ------------------------------------------------------------------------------------------------------


async def problems_of(service: GrpcService, **options: object) -> list[str]:
    given = {"address": service.address, "allow_addresses": LOOPBACK, "insecure_plaintext": True, **options}
    return list(await asyncio.to_thread(grpc_handlers(run_directly, {})(given, "index").check))


async def test_a_check_asks_for_health_and_calls_nothing(service: GrpcService) -> None:
    assert await problems_of(service) == []
    await service.health.set(SERVICE, NOT_SERVING)
    (problem,) = await problems_of(service)
    assert "does not want to be called now" in problem
    assert service.requests == []


async def test_a_check_tells_what_is_not_there(service: GrpcService, tmp_path: Path) -> None:
    (problem,) = await problems_of(service, address="127.0.0.1:1")
    assert "127.0.0.1:1 cannot be reached" in problem
    (problem,) = await problems_of(service, metadata={"authorization": {"env": "NONE"}})
    assert "the variable NONE is not set" in problem
    missing = {"authority": str(tmp_path / "none.pem")}
    (problem,) = await problems_of(service, tls=missing, insecure_plaintext=False)
    assert "handlers.index.tls.authority" in problem
    (tmp_path / "none.pem").write_text("-----BEGIN CERTIFICATE-----\nno\n")
    (problem,) = await problems_of(service, tls=missing, insecure_plaintext=False)
    assert "cannot be used" in problem


async def test_a_service_without_health_passes_the_check() -> None:
    async with GrpcService(tells_health=False).served() as service:
        assert await problems_of(service) == []
