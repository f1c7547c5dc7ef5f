"""What has to be kept outside the nodes when nothing is in the way, and what has to be kept from everybody.

Duty: wait for the one, and read it; look everywhere for the other. Must not know: what was in the way.
"""

import asyncio

from garbagetruck.chaos.processes.copies import copies_in, read_all
from garbagetruck.chaos.processes.secrecy import places_of
from garbagetruck.chaos.stage import Stage
from garbagetruck.storage.errors import StorageError

CAUGHT_UP_S_MAX = 60.0
"""A node waits up to ten seconds before it tries again, and a snapshot may have to be taken."""
LOOK_S = 0.25


async def caught_up(stage: Stage) -> None:
    """Wait until what is applied by now is archived, without a gap, and a snapshot is there that goes as far; read it all."""
    database = stage.cluster.database
    assert database is not None, "the scenario says that it needs one"
    status = await stage.cluster.status(await stage.leader())
    index = max((each.applied_index for each in status.nodes), default=0) if status is not None else 0
    try:
        async with asyncio.timeout(CAUGHT_UP_S_MAX), database.storage() as storage:
            copies = await copies_in(storage)
            while min(copies.last_index, copies.snapshot_index) < index:
                await asyncio.sleep(LOOK_S)
                copies = await copies_in(storage)
            entries = await read_all(storage)
    except (StorageError, TimeoutError) as error:
        stage.fail(f"entry {index} is archived and in a snapshot within {CAUGHT_UP_S_MAX:g} s: {error!r}")
    told = ", ".join(f"from {first} to {last}" for first, last in copies.spans)
    stage.check(
        f"the archive goes {told} without a gap behind the oldest snapshot, of {copies.oldest_index}; {entries} were read",
        holds=copies.in_one_piece,
    )


async def keeps_the_password(stage: Stage) -> None:
    """Neither files nor pages, neither logs nor the list of processes tell the password that nodes come with."""
    database = stage.cluster.database
    assert database is not None, "the scenario says that it needs one"
    password = database.password_file.read_text(encoding="utf-8").strip()
    found = await places_of(stage.cluster, password)
    stage.check(f"PostgreSQL's password stands nowhere: {', '.join(found) or 'it was not found'}", holds=not found)
