"""A service that deletes rows when the handler `http` asks for it: an example of what such a service has to get right.

Duty: `PUT /rows/PATH` writes a row under a lease's fencing token, as this service's own clients do; `DELETE /cleanups/PATH`
is what the cluster calls.
Invariant: a row goes only by a signed call that bears a higher token than the row does.
It must not know: anything of GarbageTruck but what arrives over HTTP.

    SIGNING_SECRET=… python http_service.py rows.db --port 8080
"""

import argparse
import hashlib
import hmac
import os
import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing

from aiohttp import web

SIGNED = (
    "GarbageTruck-Timestamp",
    "Idempotency-Key",
    "GarbageTruck-Cluster",
    "GarbageTruck-Namespace",
    "GarbageTruck-Resource",
    "GarbageTruck-Generation",
    "GarbageTruck-Fencing-Token",
    "GarbageTruck-Attempt",
)
AGE_S_MAX = 300


def verify(secret: bytes, now_s: float, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a node of the cluster sent this, and not long ago. `path` is as it arrived, still encoded."""
    timestamp = headers.get("GarbageTruck-Timestamp", "")
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(now_s - int(timestamp)) > AGE_S_MAX:
        return False
    lines = ["v1", method, path, *(headers.get(name, "") for name in SIGNED), hashlib.sha256(body).hexdigest()]
    expected = "v1=" + hmac.new(secret, "\n".join(lines).encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), headers.get("GarbageTruck-Signature", "").encode())


def application(database: str, secret: bytes, wall_s: Callable[[], float] = time.time) -> web.Application:
    """The service over one database, which is made if it is not there."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS rows (path TEXT PRIMARY KEY, fencing_token INTEGER NOT NULL)")

    async def write(request: web.Request) -> web.Response:
        row = (request.match_info["path"], int(request.headers["Fencing-Token"]))
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", row)
        return web.Response(status=201)

    async def clean_up(request: web.Request) -> web.Response:
        if not verify(secret, wall_s(), request.method, request.raw_path, request.headers, await request.read()):
            return web.Response(status=401, text="the signature is missing, wrong or too old")
        path, token = request.match_info["path"], int(request.headers["GarbageTruck-Fencing-Token"])
        with closing(sqlite3.connect(database)) as connection, connection:
            # One statement compares and deletes: nothing can come between.
            if connection.execute("DELETE FROM rows WHERE path = ? AND fencing_token < ?", (path, token)).rowcount:
                return web.Response(status=204)
            row = connection.execute("SELECT fencing_token FROM rows WHERE path = ?", (path,)).fetchone()
        if row is None:
            return web.Response(status=404, text="there is no such row")
        return web.Response(status=412, text=f"the row bears token {row[0]}, the call only {token}")

    served = web.Application()
    served.router.add_put("/rows/{path:.+}", write)
    served.router.add_delete("/cleanups/{path:.+}", clean_up)
    return served


def main() -> None:
    parser = argparse.ArgumentParser(description="Delete rows when a cluster asks for it over HTTP.")
    parser.add_argument("database")
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    secret = os.environ["SIGNING_SECRET"].encode()
    web.run_app(application(given.database, secret), host="127.0.0.1", port=given.port)


if __name__ == "__main__":
    main()
