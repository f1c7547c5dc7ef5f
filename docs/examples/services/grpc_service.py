"""A service that deletes rows when the handler `grpc` asks for it: an example of `garbagetruck.v1.CleanupHandler`.

Duty: serve the call, and health beside it.
Invariant: a row goes only by a call that bears a higher token than the row does.
It must not know: anything of GarbageTruck but `cleanup_handler.proto`. Any language that gRPC has can do the same.

    python grpc_service.py rows.db --port 8081
    python grpc_service.py rows.db --port 8443 --certificate service.pem --key service.key --authority nodes.pem
"""

import argparse
import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from typing_extensions import override

from garbagetruck.v1 import cleanup_handler_pb2 as wire
from garbagetruck.v1 import cleanup_handler_pb2_grpc as wire_grpc

SERVICE = "garbagetruck.v1.CleanupHandler"
MESSAGE_BYTES_MAX = 65_536
STOP_S_MAX = 5.0


class RowCleanups(wire_grpc.CleanupHandlerServicer):
    """Deletes rows of one database, which is made if it is not there."""

    def __init__(self, database: str) -> None:
        self._database = database
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS rows (path TEXT PRIMARY KEY, fencing_token INTEGER NOT NULL)"
            )

    @override
    async def CleanUp(
        self,
        request: wire.CleanUpRequest,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> wire.CleanUpResponse:
        return await asyncio.to_thread(self._delete, request.path, request.fencing_token)

    def _delete(self, path: str, token: int) -> wire.CleanUpResponse:
        with closing(sqlite3.connect(self._database)) as connection, connection:
            # One statement compares and deletes: nothing can come between.
            if connection.execute("DELETE FROM rows WHERE path = ? AND fencing_token < ?", (path, token)).rowcount:
                return wire.CleanUpResponse(outcome=wire.CLEAN_UP_OUTCOME_DONE)
            row = connection.execute("SELECT fencing_token FROM rows WHERE path = ?", (path,)).fetchone()
        if row is None:
            return wire.CleanUpResponse(outcome=wire.CLEAN_UP_OUTCOME_ALREADY_GONE)
        reason = f"the row bears token {row[0]}, the call only {token}"
        return wire.CleanUpResponse(outcome=wire.CLEAN_UP_OUTCOME_RETRY_LATER, reason=reason)


async def start(
    database: str, address: str, credentials: grpc.ServerCredentials | None = None
) -> tuple[grpc.aio.Server, int]:
    """A server that serves, and its port."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)])
    wire_grpc.add_CleanupHandlerServicer_to_server(RowCleanups(database), server)
    told = health.HealthServicer()
    await told.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(told, server)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    return server, port


def mutual_tls(certificate: Path, key: Path, authority: Path) -> grpc.ServerCredentials:
    """Only who shows a certificate of `authority` may call: the nodes of the cluster."""
    pair = (key.read_bytes(), certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], authority.read_bytes(), require_client_auth=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description="Delete rows when a cluster asks for it over gRPC.")
    parser.add_argument("database")
    parser.add_argument("--port", type=int, default=8081)
    for name in ("--certificate", "--key", "--authority"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    credentials = mutual_tls(given.certificate, given.key, given.authority) if given.certificate else None
    server, port = await start(given.database, f"127.0.0.1:{given.port}", credentials)
    print(f"listening on 127.0.0.1:{port}")
    try:
        await server.wait_for_termination()
    finally:
        await server.stop(STOP_S_MAX)


if __name__ == "__main__":
    asyncio.run(main())
