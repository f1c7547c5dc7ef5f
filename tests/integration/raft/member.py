"""One replica in a process of its own, for tests that kill it: `python -m tests.integration.raft.member '{...}'`.

Takes payloads from standard input, one a line, and proposes each if it leads; says on standard output, one JSON object
a line, what it heard.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from garbagetruck.cluster.raft.log import Entry, LogStatus, Role
from garbagetruck.cluster.raft.replica import Replica
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.snapshots.port import Capture, Snapshots
from garbagetruck.cluster.raft.tls import TlsFiles
from tests.integration.raft.replicas import PIECE_BYTES, decode_entries, encode_entries, make_thread


class Reporter:
    """A listener that writes what it hears; and a machine whose state is all of it."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._applied_index = 0

    def capture(self) -> Capture:
        return Capture(self._applied_index, self._pieces(encode_entries(self._entries)))

    async def _pieces(self, content: bytes) -> AsyncGenerator[bytes, None]:
        for begin in range(0, len(content), PIECE_BYTES):
            yield content[begin : begin + PIECE_BYTES]

    def decode(self, chunks: Iterator[bytes]) -> list[Entry]:
        return decode_entries(b"".join(chunks))

    def on_restored(self, state: object, index: int) -> None:
        assert isinstance(state, list)
        self._entries, self._applied_index = state, index
        self._say(restored=[entry.payload.decode() for entry in state], index=index)

    def on_entries(self, entries: Sequence[Entry], applied_index: int) -> None:
        self._entries += entries
        self._applied_index = applied_index
        self._say(applied=[entry.payload.decode() for entry in entries], index=applied_index)

    def on_status(self, status: LogStatus) -> None:
        self._applied_index = status.applied_index
        self._say(role=status.role.value, term=status.term, leader=status.leader)

    def on_fatal(self, error: BaseException) -> None:
        self._say(fatal=repr(error))
        os._exit(1)

    def _say(self, **what: Any) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


async def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is the protocol
    own = json.loads(sys.argv[1])
    reporter = Reporter()
    replica = Replica(
        identity=Identity("c", own["node_id"], f"disk-{own['node_id']}"),
        members=[Member(node_id, address) for node_id, address in own["members"].items()],
        founders=[*own["members"]],
        folder=Path(own["folder"]),
        settings=RaftSettings(tls=TlsFiles(*map(Path, own["tls"])) if own["tls"] else None, **own["settings"]),
        thread_factory=make_thread,
        monotonic_ns=time.monotonic_ns,
        random=random.SystemRandom(),
        snapshots=Snapshots(reporter, ThreadPoolExecutor(1)),
    )
    await replica.start(reporter)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        if replica.status.role is Role.LEADER:
            replica.propose(line.rstrip(b"\n"), term=replica.status.term)
    await replica.stop()


if __name__ == "__main__":
    asyncio.run(main())
