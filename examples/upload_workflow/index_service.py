"""Keeps a row for each picture in SQLite, and deletes rows when the cluster asks it to.

It holds no leases: whoever has a row written holds one. What it must get right is `DELETE`, which may come twice, or
hours late from a leader that was stopped and deposed (docs/handlers.md, "What it can fence"):

- only the cluster may ask, and shows so with a secret;
- a row bears the fencing token of the lease that it was written under, and is deleted only under a *higher* token.
  Comparison and deletion are one transaction;
- a repeated idempotency key gets the first answer.
"""

import asyncio
import hmac
import sqlite3
from contextlib import closing
from pathlib import Path

from aiohttp import web

from examples.upload_workflow.journal import Journal
from examples.upload_workflow.pictures import DATABASE
from examples.upload_workflow.services import Surroundings, run, serve

SECRET = "index.secret"  # noqa: S105 - the name of a file
BUSY_TIMEOUT_S = 5.0

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS rows (name TEXT PRIMARY KEY, image TEXT NOT NULL, fencing_token INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS deletions (idempotency_key TEXT PRIMARY KEY);
"""


class IndexService:
    """HTTP in front of one table. Its transactions are short enough to run on the loop."""

    def __init__(self, database: sqlite3.Connection, secret: str) -> None:
        self._database = database
        self._secret = secret

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_put("/rows/{number}", self.write)
        application.router.add_delete("/cleanups/rows/{number}", self.delete)
        return application

    async def write(self, request: web.Request) -> web.Response:
        """Write a row under its writer's lease; one that was written under a higher token stays."""
        name, content = f"rows/{request.match_info['number']}", await request.json()
        with self._database:
            written = self._database.execute(
                "INSERT INTO rows VALUES (:name, :image, :fencing_token) ON CONFLICT (name) DO UPDATE"
                " SET image = excluded.image, fencing_token = excluded.fencing_token"
                " WHERE rows.fencing_token <= excluded.fencing_token",
                {"name": name, "image": content["image"], "fencing_token": content["fencing_token"]},
            )
        return web.Response(status=204 if written.rowcount else 412)

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a row for the cluster."""
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), self._secret.encode()):
            return web.Response(status=401, text="only the cluster may ask for this")
        try:
            key = request.headers["Idempotency-Key"]
            token = int(request.headers["GarbageTruck-Fencing-Token"])
        except (KeyError, ValueError):
            return web.Response(status=400, text="an idempotency key and a fencing token are needed")
        return self._delete(f"rows/{request.match_info['number']}", key, token)

    def _delete(self, name: str, key: str, token: int) -> web.Response:
        with self._database as database:
            if database.execute("SELECT 1 FROM deletions WHERE idempotency_key = ?", (key,)).fetchone():
                return web.Response(status=204)  # as the first time
            deleted = database.execute("DELETE FROM rows WHERE name = ? AND fencing_token < ?", (name, token)).rowcount
            if deleted:
                database.execute("INSERT INTO deletions VALUES (?)", (key,))
                return web.Response(status=204)
            if database.execute("SELECT 1 FROM rows WHERE name = ?", (name,)).fetchone():
                return web.Response(status=412, text=f"{name} was written under a token that is not below {token}")
        return web.Response(status=404)


def open_database(path: Path) -> sqlite3.Connection:
    """Open the index, and make it if there is none. The caller closes it."""
    database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
    database.executescript(SCHEMA)
    return database


async def serve_index(around: Surroundings, journal: Journal) -> None:  # noqa: ARG001 - holds nothing, so notes nothing
    secret = (around.folder / SECRET).read_text(encoding="utf-8").strip()
    with closing(open_database(around.folder / DATABASE)) as database:
        await serve(IndexService(database, secret).application(), around.folder, "index")
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve_index)
