"""Asks peers where the members are, while this node follows no leader.

Duty: a node that was away while members changed has an old address book. Whoever it is still connected with may know where
the others are: ask all of them, now and then, until a leader is heard, and give the directory what they say.
Invariants: nothing is asked while a leader is known. What is heard makes nobody a voter, and no member for good: the
directory forgets it when its own records know the leader.
Must not know: connections, who votes.
"""

import asyncio
from collections.abc import Callable, Iterable

from garbagetruck.cluster.api.ports import PeerUnreachable
from garbagetruck.cluster.node.address_book import Place
from garbagetruck.cluster.node.directory import MemberDirectory
from garbagetruck.cluster.node.peers.status import StatusAsker
from garbagetruck.cluster.node.peers.wire import KnownPlace
from garbagetruck.cluster.raft.log import LogStatus

ASK_EVERY_S = 1.0
ANSWER_S_MAX = 1.0


class MemberFinder:
    """Runs on the node's main loop. `connected` are the peers that can be asked."""

    def __init__(
        self,
        *,
        status: Callable[[], LogStatus],
        connected: Callable[[], Iterable[str]],
        peers: StatusAsker,
        directory: MemberDirectory,
    ) -> None:
        self._status = status
        self._connected = connected
        self._peers = peers
        self._directory = directory

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            if self._status().leader is None:
                await self.ask()

    async def ask(self) -> None:
        """Ask everybody once. Who does not answer in time is left out."""
        for node_id in sorted(self._connected()):
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    answer = await self._peers.ask_status(node_id)
            except (PeerUnreachable, TimeoutError):
                continue
            self._directory.hear([Place(*each) for each in answer.places])


def known_places(places: Iterable[Place]) -> tuple[KnownPlace, ...]:
    """The same, as it is told to a peer that asks."""
    return tuple((each.id, each.api, each.http, each.raft, each.peer) for each in places)
