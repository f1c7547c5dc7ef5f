"""The examples of docs/handlers.md do at real stores what they say."""

import tomllib
from typing import Any

from garbagetruck.cluster.cleanup.handler import CleanupResult, Handler
from garbagetruck.cluster.cleanup.handlers.s3 import s3_handlers
from garbagetruck.cluster.cleanup.handlers.sql import sql_handlers
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.node.config.limits import LIMITS
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.databases import Database
from tests.integration.cleanup.stores import CREDENTIALS, Bucket
from tests.integration.cleanup.test_handlers_documentation import PAGES, blocks


def documented(name: str) -> dict[str, Any]:
    """A handler's own options as the page shows them."""
    (table,) = [
        tables[name] for block in blocks(PAGES[0], "toml") if name in (tables := tomllib.loads(block)["handlers"])
    ]
    return {key: value for key, value in table.items() if key not in {"kind", *LIMITS}}


async def cleaned(handler: Handler, parameters: dict[str, str], token: int) -> CleanupResult:
    await handler.start()
    try:
        identity = await handler.observe(parameters)
        return await handler.clean(call_of(handler, parameters, token=token, identity=identity))
    finally:
        await handler.stop()


async def test_the_statement_shown_removes_an_upload_with_its_parts_and_no_other(database: Database) -> None:
    for key in (42, 43):
        await database.write(key, 50)
        await database.execute("INSERT INTO parts VALUES ($1, 1), ($1, 2)", key)
    reached = {
        "dsn": f"{database.dsn()}&search_path={database.schema}",
        "password_file": str(database.server.password_file),
    }
    handler = sql_handlers(run_directly)({**documented("orders"), **reached}, "orders")
    parameters = {"statement": "upload", "id": "42"}
    assert handler.canonical_target(parameters) == "sql:/orders/uploads/42"
    assert await cleaned(handler, parameters, token=100) == CleanupResult.done()
    assert await database.rows() == {43: 50}
    assert {row["upload"] for row in await database.execute("SELECT upload FROM parts")} == {43}


async def test_the_buckets_shown_are_cleaned_below_their_prefixes(versioned: Bucket) -> None:
    shown = documented("blobs")
    await versioned.write("tmp/42.jpg")
    await versioned.write("job-7/1")
    shown["buckets"] = {versioned.name: shown["buckets"]["uploads"]}
    handler = s3_handlers()({**shown, "endpoint_url": versioned.url, "credentials": CREDENTIALS}, "blobs")
    assert await cleaned(handler, {"key": "tmp/42.jpg"}, token=100) == CleanupResult.done()
    assert await versioned.keys() == {"job-7/1"}
