"""A simulated node's place among the others: who they are, and how one comes and goes.

Duty: build the directory, the enrolment and the driver of membership as the composition root does, over an address book
that the machine keeps.
Must not know: who wants the members changed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from typing_extensions import override

from garbagetruck.chaos.simulator.raft.host import Host
from garbagetruck.chaos.simulator.raft.life import CLUSTER_ID
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.node.address_book import AddressBook, Page, Place
from garbagetruck.cluster.node.applier import Applier
from garbagetruck.cluster.node.bootstrap import Enrolment
from garbagetruck.cluster.node.config.settings import ClusterSection, NodeSection, NodeSettings
from garbagetruck.cluster.node.config.tables import MemberSettings
from garbagetruck.cluster.node.config.values import Address
from garbagetruck.cluster.node.directory import MemberDirectory, members_at
from garbagetruck.cluster.node.gateway import NodeGateway
from garbagetruck.cluster.node.identity import NodeIdentity
from garbagetruck.cluster.raft.settings import Member as AddressOf

VERSION = "0"
LOOPBACK = "127.0.0.1"
API, HTTP, RAFT, PEER = 1_000, 2_000, 0, 3_000
"""Added to a node's number, these are its ports."""


class RemovedError(Exception):
    """The cluster is without this node, whose process ends."""


ResultT = TypeVar("ResultT")


class HostBook(AddressBook):
    """On the machine, in place of its file: whole at every moment."""

    def __init__(self, host: Host) -> None:
        super().__init__(Path("/data"))
        self._host = host

    @override
    def load(self) -> Page | None:
        page = self._host.book
        assert page is None or isinstance(page, Page)
        return page

    @override
    def store(self, page: Page) -> None:
        self._host.book = page


class Enlisting:
    """Of one life of the node on `host`. `directory` and `enrolment` listen to the applier."""

    def __init__(self, host: Host, machine: Machine, applier: Applier) -> None:
        self._own = host.name
        book, names = HostBook(host), sorted({*host.told, host.name})
        members = tuple(MemberSettings(id=name, **_addresses(name)) for name in names)
        settings = NodeSettings(
            cluster=ClusterSection(id=CLUSTER_ID, members=members),
            node=NodeSection(id=host.name, data_dir=Path("/data")),
        )
        identity = NodeIdentity(
            cluster_id=CLUSTER_ID,
            node_id=host.name,
            disk_id=host.disk_id,
            incarnation=1,
            has_journal=True,
            joined=host.founders is None,
        )
        self.directory = MemberDirectory(
            node_id=host.name,
            machine=machine,
            applied_index=lambda: applier.applied_index,
            configured=[place_of(name) for name in names],
            page=book.load(),
            book=book,
            run_blocking=_run_at_once,
        )
        self.enrolment = Enrolment(settings=settings, identity=identity, machine=machine, version=VERSION)

    def at_raft(self, places: Iterable[Place] | None = None) -> list[AddressOf]:
        """Whom the log talks to."""
        return self._at(RAFT, lambda place: place.raft, places)

    def at_peer(self, places: Iterable[Place] | None = None) -> list[AddressOf]:
        """Whom the main loop talks to."""
        return self._at(PEER, lambda place: place.peer, places)

    def _at(self, kind: int, address_of: Callable[[Place], str], places: Iterable[Place] | None) -> list[AddressOf]:
        own = AddressOf(self._own, str(_address(self._own, kind)))
        return members_at(
            own, self.directory.places if places is None else places, address_of, {}, self.directory.disks
        )

    def follow(self, log: Callable[[Sequence[AddressOf]], None], mesh: Callable[[Sequence[AddressOf]], None]) -> None:
        """Tell both of every change."""
        self.directory.listen(lambda places: log(self.at_raft(places)))
        self.directory.listen(lambda places: mesh(self.at_peer(places)))

    async def take_part(self, gateway: NodeGateway, leave: Callable[[BaseException], None]) -> None:
        """Enrol, and keep the records true, until the cluster is without this node: `leave` ends it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.directory.run())
            tasks.create_task(self._enrol(gateway))
            await self.enrolment.removed.wait()
            leave(RemovedError("the cluster is without this node"))

    async def _enrol(self, gateway: NodeGateway) -> None:
        await self.enrolment.register(gateway)
        self.directory.settle()
        await self.enrolment.keep(gateway)


async def _done(call: Callable[[], ResultT]) -> ResultT:
    return call()


def _run_at_once(call: Callable[[], ResultT], /) -> Awaitable[ResultT]:
    return _done(call)


def _address(name: str, kind: int) -> Address:
    return Address(LOOPBACK, kind + int(name.removeprefix("n")))


def _addresses(name: str) -> dict[str, Address]:
    return {
        field: _address(name, kind) for field, kind in (("api", API), ("http", HTTP), ("raft", RAFT), ("peer", PEER))
    }


def place_of(name: str) -> Place:
    """Where a node of that name is found, whichever machine bears it."""
    return Place(name, **{field: str(address) for field, address in _addresses(name).items()})


def stranger(name: str, disk_id: str) -> Member:
    """What an operator tells of a node that is to join."""
    place = place_of(name)
    return Member(name, place.api, place.http, place.raft, "", disk_id, 0, place.peer)
