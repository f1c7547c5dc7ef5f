"""A deposed leader's handler that was stopped between claim and deletion: what is leased anew meanwhile survives it (I5).

The same story for every kind of store, with the real machine's leases, claims and tokens, and a real store. The handler is stopped
where no check of its own comes any more; whatever saves the new thing is at the store.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, Handler, Verdict
from garbagetruck.cluster.machine.model import CleanupSpec, ReportResult
from garbagetruck.cluster.machine.operations import ReportCleanup
from garbagetruck.cluster.machine.outcomes import CleanupClaimed, Reason
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.databases import BARE, FENCED, OBSERVE, Database
from tests.integration.cleanup.s3_server import SeaweedServer
from tests.integration.cleanup.shelves import FileShelf, ObjectShelf, RowShelf, Shelf, wire_to
from tests.integration.cleanup.stores import Bucket
from tests.unit.machine.scribe import Scribe, accepted, refused

CLAIM_MS = 5_000
PATIENCE_S = 30.0


@pytest.fixture
def file_shelf(tmp_path: Path) -> Shelf:
    root = tmp_path / "root"
    root.mkdir()
    return FileShelf(root)


@pytest.fixture
async def row_under_a_token(database: Database) -> AsyncIterator[Shelf]:
    async with wire_to(f"tcp://127.0.0.1:{database.server.port}").served() as wire:
        yield RowShelf(wire, database, database.statement(FENCED))


@pytest.fixture
async def row_as_observed(database: Database) -> AsyncIterator[Shelf]:
    async with wire_to(f"tcp://127.0.0.1:{database.server.port}").served() as wire:
        yield RowShelf(wire, database, database.statement(BARE, observe=OBSERVE))


@pytest.fixture
async def version_of_an_object(versioned: Bucket, s3_server: SeaweedServer) -> AsyncIterator[Shelf]:
    async with wire_to(s3_server.url).served() as wire:
        yield ObjectShelf(wire, versioned, "version")


@pytest.fixture
async def object_by_etag(plain: Bucket, s3_server: SeaweedServer) -> AsyncIterator[Shelf]:
    async with wire_to(s3_server.url).served() as wire:
        yield ObjectShelf(wire, plain, "etag")


@pytest.fixture
async def unfenced_object(plain: Bucket, s3_server: SeaweedServer) -> AsyncIterator[Shelf]:
    async with wire_to(s3_server.url).served() as wire:
        yield ObjectShelf(wire, plain, "none")


@pytest.fixture
def shelf(request: pytest.FixtureRequest) -> Shelf:
    """The one that the parameter names. No coroutine: it has others made."""
    found: Shelf = request.getfixturevalue(request.param)
    return found


class Story:
    """The resource `r`, its cluster, and the handlers of two nodes."""

    def __init__(self, shelf: Shelf) -> None:
        self.log = Scribe().begin()
        self._shelf = shelf

    def lease(self, handler: Handler) -> tuple[str, int]:
        """Its id and its token."""
        parameters = dict(self._shelf.parameters)
        spec = CleanupSpec("shelf", tuple(parameters.items()), handler.canonical_target(parameters))
        lease = self.log.lease("r", cleanup=spec)
        return lease.id, lease.fencing_token

    async def claim(self, handler: Handler) -> CleanupCall:
        """Observe and claim, as an executor does."""
        identity = await handler.observe(self._shelf.parameters)
        operation = self.log.claiming("r", CLAIM_MS, identity=identity)
        claim = accepted(self.log.one(operation), CleanupClaimed)
        resource = self.log.resource("r")
        return call_of(
            handler,
            self._shelf.parameters,
            token=claim.token,
            identity=identity,
            generation=resource.generation,
            attempt=claim.attempt,
        )

    def report(self, call: CleanupCall) -> object:
        return self.log.one(ReportCleanup("default", "r", call.fencing_token, ReportResult.DONE))

    def outlast_claim_and_delay(self) -> None:
        self.log.outlast(CLAIM_MS)
        self.log.advance(60_000)


async def told_of(shelf: Shelf, anew: str = "made anew") -> tuple[CleanupResult, str | None]:
    """What the stopped handler answers in the end, and what is left then. `anew` is what the second life holds."""
    story = Story(shelf)
    async with shelf.node() as leader, shelf.stoppable() as deposed:
        lease_id, token = story.lease(leader)
        await shelf.write(token, "first")
        story.log.release(lease_id)

        stale = await story.claim(deposed)
        shelf.stop()
        running = asyncio.create_task(deposed.clean(stale))
        async with asyncio.timeout(PATIENCE_S):
            await shelf.stopped()

        story.outlast_claim_and_delay()
        claim = await story.claim(leader)
        assert claim.fencing_token > stale.fencing_token
        assert await leader.clean(claim) == CleanupResult.done()
        assert await shelf.content() is None
        story.report(claim)

        anew_id, anew_token = story.lease(leader)
        assert anew_token > claim.fencing_token
        await shelf.write(anew_token, anew)
        shelf.go_on()
        async with asyncio.timeout(PATIENCE_S):
            result = await running
        refused(story.report(stale), Reason.CLAIM_NOT_CURRENT)
        left = await shelf.content()

        if left is not None:  # and its own end is not in the way of its cleanup
            story.log.release(anew_id)
            assert await leader.clean(await story.claim(leader)) == CleanupResult.done()
            assert await shelf.content() is None
    return result, left


@pytest.mark.parametrize("shelf", ["file_shelf", "row_as_observed", "object_by_etag"], indirect=True)
async def test_i5_an_overtaken_handler_is_refused_by_the_store_and_says_so(shelf: Shelf) -> None:
    result, left = await told_of(shelf)
    assert left == "made anew"
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True), result


@pytest.mark.parametrize("shelf", ["row_under_a_token", "version_of_an_object"], indirect=True)
async def test_i5_an_overtaken_handler_finds_nothing_of_its_own_and_the_new_thing_stays(shelf: Shelf) -> None:
    _, left = await told_of(shelf)
    assert left == "made anew"


async def test_what_the_operator_left_unfenced_is_lost_as_the_documentation_says(unfenced_object: Shelf) -> None:
    """So the stories above are saved by their fences, not by chance."""
    _, left = await told_of(unfenced_object)
    assert left is None


@pytest.mark.parametrize(
    "shelf", ["file_shelf", "row_under_a_token", "row_as_observed", "version_of_an_object"], indirect=True
)
async def test_i5_what_is_made_anew_survives_though_it_looks_the_same(shelf: Shelf) -> None:
    _, left = await told_of(shelf, anew="first")
    assert left == "first"


async def test_the_same_bytes_are_lost_where_the_etag_alone_fences_as_the_documentation_says(
    object_by_etag: Shelf,
) -> None:
    _, left = await told_of(object_by_etag, anew="first")
    assert left is None
