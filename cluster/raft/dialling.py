"""Connecting to peers, again and again, ever more rarely.

Duty: for each peer that is this node's to call, one task that connects whenever there is no session. Between attempts
it waits twice as long as before, up to a bound, less a random part, so that nodes that lost each other at one moment do
not all call at one moment.

Threads: that of its loop only.
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Iterable

import structlog

from garbagetruck.cluster.raft.frames import RAFT, Language
from garbagetruck.cluster.raft.network import Network
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.sessions import Sessions
from garbagetruck.cluster.raft.settings import Member, RaftSettings

_log = structlog.get_logger(__name__)


class Backoff:
    """Waits between attempts, in milliseconds: doubling from the first to the longest, each cut by up to a half."""

    def __init__(self, first_ms: int, longest_ms: int, random: random.Random) -> None:
        self._first_ms = first_ms
        self._longest_ms = longest_ms
        self._random = random
        self._next_ms = first_ms

    def next_ms(self) -> float:
        wait_ms = self._next_ms * (1 - self._random.random() / 2)
        self._next_ms = min(self._longest_ms, self._next_ms * 2)
        return wait_ms

    def reset(self) -> None:
        self._next_ms = self._first_ms


class Dialler:
    """Calls those that `set_peers` names last. `stop` it in the end."""

    def __init__(
        self,
        *,
        network: Network,
        sessions: Sessions,
        refusals: Refusals,
        settings: RaftSettings,
        random: random.Random,
        on_bug: Callable[[BaseException], None],
        language: Language = RAFT,
    ) -> None:
        self._language = language
        self._network = network
        self._sessions = sessions
        self._refusals = refusals
        self._settings = settings
        self._random = random
        self._on_bug = on_bug
        self._calling: dict[Member, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        """All of them, those that were cancelled and have not ended included."""

    def set_peers(self, peers: Iterable[Member]) -> None:
        """Call these from now on, and nobody else. What is connected is nobody's to end here."""
        wanted = {*peers}
        for peer in [*self._calling]:
            if peer not in wanted:
                self._calling.pop(peer).cancel()
        for peer in sorted(wanted - self._calling.keys(), key=lambda each: each.node_id):
            name = f"{self._language.name}-dial-{peer.node_id}"
            task = asyncio.get_running_loop().create_task(self._keep_calling(peer), name=name)
            task.add_done_callback(self._on_ended)
            self._calling[peer] = task
            self._tasks.add(task)

    async def stop(self) -> None:
        tasks = [*self._tasks]
        self._calling.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_calling(self, peer: Member) -> None:
        settings = self._settings
        backoff = Backoff(settings.connection_retry_ms, settings.connection_retry_ms_max, self._random)
        vacancy = self._sessions.vacant[peer.node_id]
        while True:
            await vacancy.wait()
            try:
                await self._network.dial(peer, self._sessions)
            except ssl.SSLError as error:
                self._refusals.refuse("TLS handshake failed", peer.node_id, why=error.reason or str(error))
            except OSError as error:
                _log.debug(
                    f"{self._language.name}_cannot_connect", peer=peer.node_id, address=peer.address, reason=str(error)
                )
            else:
                await vacancy.wait()
                if self._sessions.met(peer.node_id):
                    backoff.reset()
            await asyncio.sleep(backoff.next_ms() / 1_000)

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_bug(error)
