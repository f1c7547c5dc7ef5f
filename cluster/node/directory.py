"""Whom this node talks to, while the members change.

Duty: follow the members' records in the machine, tell whoever connects to peers, and keep the address book.
Invariants: before this node has applied what a leader told to be committed after its start (`settle`), nobody whom the
book or the configuration names is dropped: the records that are replayed then are those of former days, and a leader that
is not listened to could never tell of later ones. From then on the records alone count, and this node itself; but while it
knows no leader, whom its peers name (`hear`) is talked to as well, behind all others: the records may be of former days again.
Must not know: who votes.
"""

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import structlog
from typing_extensions import override

from garbagetruck.cluster.cleanup.running import RunBlocking
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.node.address_book import AddressBook, Page, Place, merged
from garbagetruck.cluster.node.applier import ApplyListener
from garbagetruck.cluster.raft.log import LogStatus
from garbagetruck.cluster.raft.settings import Member as Address

HEARD_MAX = 32
"""Places that peers named and that no record tells; past it the last are left out."""

PlacesListener = Callable[[Sequence[Place]], None]

_log = structlog.get_logger(__name__)


class MemberDirectory(ApplyListener):
    """Runs on the node's main loop, beside `run`. `applied_index` is the machine's; `configured` are all members of the
    configuration, this node included, and `page` is what the book held at the start.
    """

    def __init__(
        self,
        *,
        node_id: str,
        machine: Machine,
        applied_index: Callable[[], int],
        configured: Sequence[Place],
        page: Page | None,
        book: AddressBook,
        run_blocking: RunBlocking,
    ) -> None:
        self._machine = machine
        self._applied_index = applied_index
        self._own = next(each for each in configured if each.id == node_id)
        self._configured = configured
        self._page = page or Page(0, ())
        self._book = book
        self._run_blocking = run_blocking
        self._settled = False
        self._records: tuple[Member, ...] = ()
        self._heard: tuple[Place, ...] = ()
        """Whom peers named, at most `HEARD_MAX`."""
        self._is_led = False
        self._listeners: list[PlacesListener] = []
        self._to_store: Page | None = None
        self.disks: Mapping[str, str] = {}
        """The disks that the records know the members by."""
        self._stores = asyncio.Event()
        self.places = merged((self._own,), self._page.places, configured)
        """Everybody to talk to, and this node."""

    def listen(self, listener: PlacesListener) -> None:
        """Say who hears of it whenever `places` or `disks` change. Before the log starts."""
        self._listeners.append(listener)

    def settle(self) -> None:
        """The machine is as new as what a leader told after this node's start: from now on its records alone count."""
        self._settled = True
        self._records, self._heard = (), ()
        self._look()

    def hear(self, places: Sequence[Place]) -> None:
        """A peer says that these are the members. Nothing is made of it while a leader is known."""
        heard = merged(places, self._heard)[:HEARD_MAX]
        if not self._is_led and heard != self._heard:
            self._heard = heard
            self._refresh()

    def differences(self) -> Iterator[str]:
        """What the configuration says of the members that is no longer so; the book counts."""
        known = {place.id: place for place in self._page.places}
        named = {place.id: place for place in self._configured}
        if not known:
            return
        for node_id in sorted(known.keys() | named.keys()):
            if node_id not in known and node_id != self._own.id:
                yield f"cluster.members names {node_id}, which is no member any more"
            elif node_id not in named:
                yield f"cluster.members does not name {node_id}, which is a member by now"
            elif node_id != self._own.id and known[node_id] != named[node_id]:
                yield f"cluster.members has other addresses of {node_id} than the cluster; the cluster's count"

    async def run(self) -> None:
        """Keep the address book, for ever. Raises `DiskFailed`."""
        while True:
            await self._stores.wait()
            self._stores.clear()
            page = self._to_store
            assert page is not None, "there is a reason to store"
            await self._run_blocking(functools.partial(self._book.store, page))

    # -- what the applier tells -------------------------------------------------------------------------------

    @override
    def on_applied(self, applied: Applied) -> None:
        """The end of the slice is soon enough."""

    @override
    def on_restored(self) -> None:
        self._look()

    @override
    def on_progress(self) -> None:
        self._look()

    @override
    def on_status(self, status: LogStatus) -> None:
        """Once the leader is one that the records know, nobody else needs to be looked for."""
        self._is_led = status.leader is not None
        if self._heard and self._settled and any(each.id == status.leader for each in self._records):
            self._heard = ()
            self._refresh()

    def _look(self) -> None:
        records = self._machine.members()
        if not records or records == self._records:
            return
        self._records = records
        self._refresh()

    def _refresh(self) -> None:
        records = self._records
        disks = {each.id: each.disk_id for each in records if each.disk_id}
        recorded = self._recorded(records)
        if self._settled and records:
            own = next((each for each in recorded if each.id == self._own.id), self._own)
            places = merged((own,), recorded)
            if places != self._page.places:
                self._page = self._to_store = Page(self._applied_index(), places)
                self._stores.set()
            places = merged(places, self._heard)
        elif self._applied_index() >= self._page.index:
            places = merged((self._own,), recorded, self._page.places, self._configured, self._heard)
        else:
            places = merged((self._own,), self._page.places, recorded, self._configured, self._heard)
        if (places, disks) != (self.places, self.disks):
            self.places, self.disks = places, disks
            for listener in self._listeners:
                listener(places)

    def _recorded(self, records: Sequence[Member]) -> list[Place]:
        """Records of older versions do not tell `peer`: the book or the configuration may."""
        peers = {each.id: each.peer for each in (*self._configured, *self._page.places)}
        return [Place(each.id, each.api, each.http, each.raft, each.peer or peers.get(each.id, "")) for each in records]


class ApiAddresses(Mapping[str, str]):
    """Each node's API address by its id, as the directory knows it at the moment."""

    def __init__(self, directory: MemberDirectory) -> None:
        self._directory = directory

    @override
    def __getitem__(self, node_id: str) -> str:
        for place in self._directory.places:
            if place.id == node_id:
                return place.api
        raise KeyError(node_id)

    @override
    def __iter__(self) -> Iterator[str]:
        return (each.id for each in self._directory.places)

    @override
    def __len__(self) -> int:
        return len(self._directory.places)


def members_at(
    own: Address,
    places: Iterable[Place],
    address_of: Callable[[Place], str],
    routes: Mapping[str, object],
    disks: Mapping[str, str],
) -> list[Address]:
    """All members at the address that one kind of connection uses, this node at its own, with the disks that their records
    tell. `routes` go before records.

    Left out is who has none, and, with a line in the log, what is no address: a record may tell anything.
    """
    found = [own]
    for place in places:
        address = str(routes.get(place.id) or address_of(place))
        if place.id == own.node_id or not address:
            continue
        try:
            found.append(Address(place.id, address, disks.get(place.id, "")))
        except ValueError as error:
            _log.error("member_left_out", member=place.id, reason=str(error))
    return found
