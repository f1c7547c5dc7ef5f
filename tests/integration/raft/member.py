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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from garbagetruck.cluster.raft.log import Entry, LogStatus, Role
from garbagetruck.cluster.raft.replica import Replica
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.tls import TlsFiles
from tests.integration.raft.replicas import make_thread


class Reporter:
    """A listener that writes what it hears."""

    def on_restored(self, state: object, index: int) -> None:
        raise AssertionError("it takes no snapshots")

    def on_entries(self, entries: Sequence[Entry], applied_index: int) -> None:
        self._say(applied=[entry.payload.decode() for entry in entries], index=applied_index)

    def on_status(self, status: LogStatus) -> None:
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
    replica = Replica(
        identity=Identity("c", own["node_id"], f"disk-{own['node_id']}"),
        members=[Member(node_id, address) for node_id, address in own["members"].items()],
        folder=Path(own["folder"]),
        settings=RaftSettings(tls=TlsFiles(*map(Path, own["tls"])) if own["tls"] else None),
        thread_factory=make_thread,
        monotonic_ns=time.monotonic_ns,
        random=random.SystemRandom(),
    )
    await replica.start(Reporter())
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        if replica.status.role is Role.LEADER:
            replica.propose(line.rstrip(b"\n"), term=replica.status.term)
    await replica.stop()


if __name__ == "__main__":
    asyncio.run(main())
