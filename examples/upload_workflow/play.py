"""The play itself: who enters when, who is killed, and when it is over.

Duty: run the workflow in a folder, from the first upload to the last orphan's end, and tell the story on stderr. What
happened is judged afterwards, by `verdict`.
"""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import garbagetruck
from examples.upload_workflow.backstage import Backstage, Cluster, Mishap, command_of, until_ended
from examples.upload_workflow.index_service import SECRET
from examples.upload_workflow.journal import Did, Journal
from examples.upload_workflow.ledger import Ledger, read_ledger
from examples.upload_workflow.pictures import FILES, GRACE_S, JOURNALS, SESSION_TTL_S
from examples.upload_workflow.shelves import look
from examples.upload_workflow.verdict import unreclaimed
from garbagetruck.client import Truck

PLAY_S_MAX = 110.0
CRASH_AFTER_SHARE = 0.25
"""The processing service is killed when it has made thumbnails of this share of the pictures."""
THUMBNAILS_BEFORE_THE_LEADER_DIES = 2
"""How many the second processing service has made by then, so that work goes on on both sides of the kill."""
LOOK_AGAIN_S = GRACE_S + 1.0
"""How long the demo goes on watching after the last orphan is gone, for things that must not go."""
PROGRESS_S = 3.0
POLL_S = 0.1
FAILOVER_S_MAX = 60.0


class Play:
    """One performance in one folder, which exists and is empty."""

    def __init__(self, folder: Path, images: int) -> None:
        self._folder = folder
        self._images = images
        self._backstage = Backstage(folder)
        self._began_s = 0.0

    async def run(self, when_over: Callable[[], None]) -> None:
        """Play, and call `when_over` at the end, while everybody is still holding what they hold.

        Raises `Mishap`. Whatever happens, no process is left.
        """
        self._began_s = time.monotonic()
        self._set_the_stage()
        try:
            async with (
                asyncio.timeout(PLAY_S_MAX),
                self._backstage,
            ):
                with Journal(self._folder / JOURNALS / "play.jsonl") as journal:
                    await self._perform(journal)
                when_over()
        except TimeoutError as error:
            raise Mishap(f"not over after {PLAY_S_MAX:.0f} s") from error

    def _set_the_stage(self) -> None:
        for name in ("images", "thumbnails"):
            (self._folder / FILES / name).mkdir(parents=True)
        secret = self._folder / SECRET
        secret.touch(mode=0o600)
        secret.write_text(f"Bearer {secrets.token_urlsafe(24)}\n", encoding="utf-8")

    async def _perform(self, journal: Journal) -> None:
        await self._backstage.start_service("index", "index_service")
        await self._until("the index serves", (self._folder / "index.address").exists)
        self._tell("index", "keeps a row for each picture in SQLite, and deletes it when the cluster asks")
        await self._backstage.start_service("watcher", "watching")
        cluster = await self._backstage.start_cluster()
        self._tell("cluster", f"{len(cluster.nodes)} nodes serve: {cluster.endpoints}")
        await self._until("the watcher looks", lambda: self._ledger().watching)
        async with garbagetruck.connect(cluster.endpoints) as truck:
            await self._perform_with(truck, cluster, journal)

    async def _perform_with(self, truck: Truck, cluster: Cluster, journal: Journal) -> None:
        around = ("--endpoints", cluster.endpoints, "--images", str(self._images))
        await self._backstage.start_service("processing-1", "processing_service", *around)
        await self._backstage.start_service("upload", "upload_service", *around)
        self._tell("upload", f"takes in {self._images} pictures: leases each one, writes it, hands it over")
        self._tell("processing-1", "leases what it is handed, makes thumbnails, holds them while customers work")
        await self._crash_the_processing_service(journal)
        await self._backstage.start_service("processing-2", "processing_service", *around)
        self._tell("processing-2", "is started in its place, and knows nothing of what processing-1 had")
        await self._until(
            "processing-2 works",
            lambda: len(self._ledger().created.get("processing-2", [])) >= THUMBNAILS_BEFORE_THE_LEADER_DIES,
        )
        await self._kill_the_leader(truck, cluster, journal)
        await self._until("all pictures are done", lambda: _is_done(self._ledger()))
        self._tell("upload", f"is done; {len(look(self._folder))} files and rows are there now")
        await self._wait_for_the_orphans()
        await self._until_s(LOOK_AGAIN_S)
        self._tell("watcher", f"nothing else went in the {LOOK_AGAIN_S:.0f} s after that")

    async def _crash_the_processing_service(self, journal: Journal) -> None:
        enough = max(2, round(self._images * CRASH_AFTER_SHARE))
        await self._until(
            f"processing-1 has made {enough} thumbnails",
            lambda: len(self._ledger().created.get("processing-1", [])) >= enough,
        )
        killed_s = time.monotonic()
        await self._backstage.kill("processing-1")
        journal.note(Did.KILLED, "processing-1", at_s=killed_s)
        held = len(self._ledger().held_by("processing-1"))
        self._tell("processing-1", f"KILLED (SIGKILL). It held {held} things, and gives none of them back")
        self._tell("", f"its session ends in at most {SESSION_TTL_S:.0f} s; {GRACE_S:.0f} s later they are garbage")

    async def _kill_the_leader(self, truck: Truck, cluster: Cluster, journal: Journal) -> None:
        """`kill -9` of the node that leads, and the time from then to the first lease asked for after its end."""
        before = await truck.status()
        leader = cluster.nodes.get(before.leader_id)
        if leader is None or leader.config not in command_of(leader.pid):
            raise Mishap(f"the leader is {before.leader_id!r}, and there is no process of it to be killed")
        killed_s = time.monotonic()
        os.kill(leader.pid, signal.SIGKILL)
        await until_ended(leader.pid)
        self._tell(leader.id, "the leader, KILLED (kill -9). Uploads go on; nobody's time runs until there is another")
        lease = await truck.acquire("play/after-the-leader", holder="play", ttl=SESSION_TTL_S, timeout=FAILOVER_S_MAX)
        acquired_s = time.monotonic()
        after = await truck.status()
        if after.term <= before.term or after.leader_id in ("", leader.id):
            raise Mishap(f"{leader.id} was killed, but it was not the leader any more")
        journal.note(Did.LEADER_KILLED, leader.id, at_s=killed_s)
        journal.note(Did.ACQUIRED_AGAIN, lease.resource, at_s=acquired_s)
        await truck.release(lease, keep_resource=True)
        self._tell(
            after.leader_id,
            f"leads now; the next lease was had {(acquired_s - killed_s) * 1_000:.0f} ms after the kill",
        )

    async def _wait_for_the_orphans(self) -> None:
        told_s = 0.0
        while orphans := unreclaimed(self._folder):
            self._backstage.check()
            if time.monotonic() - told_s > PROGRESS_S:
                told_s = time.monotonic()
                self._tell("watcher", f"{len(orphans)} orphans are still there")
            await asyncio.sleep(POLL_S)
        self._tell("watcher", "all orphans are gone")

    async def _until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait for something, as long as everybody who should live does."""
        try:
            while not is_so():
                self._backstage.check()
                await asyncio.sleep(POLL_S)
        except asyncio.CancelledError:
            self._tell("", f"(ended while waiting until {what})")
            raise

    async def _until_s(self, seconds: float) -> None:
        over_s = time.monotonic() + seconds
        await self._until("it was watched long enough", lambda: time.monotonic() > over_s)

    def _ledger(self) -> Ledger:
        return read_ledger(self._folder)

    def _tell(self, who: str, what: str) -> None:
        print(f"{time.monotonic() - self._began_s:6.1f} s  {who:12}  {what}", file=sys.stderr, flush=True)


def _is_done(ledger: Ledger) -> bool:
    """Whether everything was uploaded, and the second processing service has finished all that it took."""
    taken = {thing for thing, stays in ledger.stays.items() if any(stay.service == "processing-2" for stay in stays)}
    images = {thing for thing in taken if thing.startswith("images/")}
    return "" in ledger.finished.get("upload", ()) and images <= ledger.finished.get("processing-2", set())
