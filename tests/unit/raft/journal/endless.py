"""A process that writes a journal until it is killed: `python -m tests.unit.raft.journal.endless FOLDER`.

Says on standard output, one line each, "last durable index, durable term" as soon as it may be said.
"""

import os
import random
import sys
import threading
from pathlib import Path

from garbagetruck.cluster.raft.disk import RealDisk
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.segments import Owner, Site

OWNER = Owner("cluster", "disk")
SEGMENT_BYTES = 256 * 1024


def site_in(folder: Path) -> Site:
    return Site(RealDisk(), folder / "journal", OWNER, SEGMENT_BYTES, lambda: os.urandom(16))


def payload(index: int, term: int) -> bytes:
    return random.Random(index * 1_000 + term).randbytes(index * 37 % 3_000)


def main() -> None:
    progress = threading.Event()
    journal = Journal(site_in(Path(sys.argv[1])), on_progress=progress.set)
    journal.open()
    journal.start(lambda run, name: threading.Thread(target=run, name=name, daemon=True), "journal")
    term = journal.getCurrentTerm() + 1
    journal.setCurrentTerm(term, "n1")
    chance = random.Random(term)
    while True:
        for _ in range(chance.randint(1, 20)):
            journal.add(payload(journal.last_index + 1, term), journal.last_index + 1, term)
        progress.wait()
        progress.clear()
        journal.advance()
        if journal.metadata_durable:
            os.write(1, b"%d %d\n" % (journal.durable_index, term))


if __name__ == "__main__":
    main()
