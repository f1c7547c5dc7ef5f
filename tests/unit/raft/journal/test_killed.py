"""`kill -9` of a process that writes: what it said was durable is there, and the next one goes on from it."""

import random
import subprocess
import sys
from pathlib import Path

from garbagetruck.cluster.raft.journal.log import Journal
from tests.unit.raft.journal.endless import payload, site_in

CHECKOUT = Path(__file__).parents[4]


def test_i2_what_a_killed_process_said_was_durable_is_there(tmp_path: Path) -> None:
    for life in range(1, 6):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.unit.raft.journal.endless", str(tmp_path)],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            said = b""
            for _ in range(random.Random(life).randint(1, 60)):
                said = process.stdout.readline()
            process.kill()
            said = ([said, *process.stdout.read().splitlines(keepends=True)])[-1]
        journal = Journal(site_in(tmp_path))
        journal.open()
        durable_index, term = map(int, said.split())
        assert term == life
        assert journal.last_index >= durable_index
        assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (term, "n1")
        assert all(command == payload(index, entry_term) for command, index, entry_term in journal[:])
        journal.close()
