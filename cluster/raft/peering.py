"""Whom a node talks to: the members, and all that connects it with them, kept in step while they change.

Duty: join door, sessions, dialler and network for one kind of connection. `set_members` at any time says who the members are.

Invariants: of two nodes the one with the greater id connects. A member that must not be talked to is left out, and logged.
Who is a member says nothing about who votes.

Threads: that of its loop only.
"""

from collections.abc import Callable, Iterable
from random import Random

import structlog

from garbagetruck.cluster.raft.dialling import Dialler
from garbagetruck.cluster.raft.frames import RAFT, Language
from garbagetruck.cluster.raft.handshake import Door
from garbagetruck.cluster.raft.network import Network, TcpNetwork
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.sessions import SessionListener, Sessions
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings, may_be_talked_to
from garbagetruck.cluster.raft.tls import load

_log = structlog.get_logger(__name__)


class Peering:
    """`start`, then `leave` and `close`. `sessions` are there from the beginning.

    `members` are all nodes, this one included. `door` makes the door for the peers among them. `on_bug` hears what a part of
    it raised.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        members: Iterable[Member],
        door: Callable[[frozenset[str]], Door],
        settings: RaftSettings,
        refusals: Refusals,
        monotonic_ns: Callable[[], int],
        random: Random,
        listener: SessionListener,
        on_bug: Callable[[BaseException], None],
        language: Language = RAFT,
    ) -> None:
        self._identity = identity
        self._settings = settings
        self._refusals = refusals
        self._monotonic_ns = monotonic_ns
        self._random = random
        self._on_bug = on_bug
        self._network: Network | None = None
        self._language = language
        self._own, self._peers = self._sort(members)
        self.sessions = Sessions(
            door=door(self._peer_ids),
            settings=settings,
            refusals=refusals,
            monotonic_ns=monotonic_ns,
            listener=listener,
            language=language,
        )
        self._dialler: Dialler | None = None

    def _sort(self, members: Iterable[Member]) -> tuple[Member | None, list[Member]]:
        own, peers = None, []
        for member in members:
            if member.node_id == self._identity.node_id:
                own = member
            elif may_be_talked_to(member, self._settings):
                peers.append(member)
            else:
                _log.error(
                    f"{self._language.name}_member_left_out",
                    member=member.node_id,
                    address=member.address,
                    reason="without TLS nothing is said to an address that is not on this machine",
                )
        return own, peers

    @property
    def _peer_ids(self) -> frozenset[str]:
        return frozenset(each.node_id for each in self._peers)

    async def start(self, network: Network | None = None) -> None:
        """Listen, and connect to the peers whose ids are less. Raises OSError.

        `network` is for simulators; by default it is TCP, with TLS where the settings name certificates.
        """
        assert self._own is not None, "this node is among its members"
        self._network = network = network or self._make_network()
        await network.listen(self._own, self.sessions)
        self._dialler = Dialler(
            network=network,
            sessions=self.sessions,
            refusals=self._refusals,
            settings=self._settings,
            random=self._random,
            on_bug=self._on_bug,
            language=self._language,
        )
        self._dial()

    def set_members(self, members: Iterable[Member]) -> None:
        """Talk to these from now on, and to nobody else. This node's own address counts at the next start."""
        _, self._peers = self._sort(members)
        self.sessions.set_peers(self._peer_ids)
        self._dial()

    async def leave(self) -> None:
        """Connect to nobody any more, and let nobody in. Idempotent."""
        dialler, self._dialler = self._dialler, None
        if dialler is not None:
            await dialler.stop()
        if self._network is not None:
            await self._network.close()

    def close(self) -> None:
        """End what is connected."""
        self.sessions.close()

    def _dial(self) -> None:
        if self._dialler is not None:
            self._dialler.set_peers(each for each in self._peers if each.node_id < self._identity.node_id)

    def _make_network(self) -> Network:
        settings = self._settings
        return TcpNetwork(
            tls=None if settings.tls is None else load(settings.tls),
            handshake_s=settings.handshake_ms_max / 1_000,
            strangers_max=settings.strangers_max,
            monotonic_ns=self._monotonic_ns,
            refuse=lambda cause, address, why: self._refusals.refuse(cause, address, why=why),
            on_bug=self._on_bug,
            language=self._language,
        )
