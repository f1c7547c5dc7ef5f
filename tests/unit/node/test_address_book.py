"""The address book: whole or absent, refused when damaged, and never a reason to be cut off."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace as with_
from typing_extensions import override

from garbagetruck.cluster.api.ports import PeerUnreachable
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.machine.operations import CreateCluster, Operation, RegisterMember
from garbagetruck.cluster.node.address_book import BOOK, AddressBook, Page, Place, merged
from garbagetruck.cluster.node.directory import ApiAddresses, MemberDirectory
from garbagetruck.cluster.node.finding import MemberFinder, known_places
from garbagetruck.cluster.node.identity import IdentityError
from garbagetruck.cluster.node.peers.status import StatusAsker
from garbagetruck.cluster.node.peers.wire import StatusResponse
from garbagetruck.cluster.raft.log import LogStatus, Role
from tests.unit.machine.scribe import Scribe, founder, member
from tests.unit.node.rig import turns

T = TypeVar("T")


def place(number: int) -> Place:
    record = member(number)
    return Place(record.id, record.api, record.http, record.raft, record.peer)


PAGE = Page(7, (place(1), place(2)))


def test_what_was_stored_is_there_again(tmp_path: Path) -> None:
    assert AddressBook(tmp_path).load() is None
    AddressBook(tmp_path).store(PAGE)
    AddressBook(tmp_path).store(replace(PAGE, index=8))
    assert AddressBook(tmp_path).load() == replace(PAGE, index=8)
    assert [each.name for each in tmp_path.iterdir()] == [BOOK], "nothing unfinished is left"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: text.replace("7302", "7303"),
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace('"index": 7', '"index": 8'),
        lambda text: json.dumps({**json.loads(text), "members": None}),
        lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != "crc32"}),
    ],
)
def test_a_damaged_book_is_refused_by_name_and_with_a_way_out(tmp_path: Path, damage: Callable[[str], str]) -> None:
    AddressBook(tmp_path).store(PAGE)
    path = tmp_path / BOOK
    path.write_text(damage(path.read_text()))
    with pytest.raises(IdentityError, match=r"members\.json is damaged.*remove it"):
        AddressBook(tmp_path).load()


def test_of_two_places_under_one_name_or_address_the_first_counts() -> None:
    moved = replace(place(2), raft="10.0.0.2:7302")
    follows = replace(place(5), api="localhost:7101")
    assert merged((place(1), moved), (place(2), follows, place(3))) == (place(1), moved, place(3))


def at_once(call: Callable[[], T], /) -> "asyncio.Future[T]":
    done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    done.set_result(call())
    return done


class Follower:
    """A directory beside a machine that applies what the test says."""

    def __init__(self, tmp_path: Path, *, own: int, configured: tuple[int, ...], page: Page | None = None) -> None:
        self.log = Scribe()
        self.index = 0
        self.heard: list[tuple[str, ...]] = []
        self.book = AddressBook(tmp_path)
        self.directory = MemberDirectory(
            node_id=f"n{own}",
            machine=self.log.machine,
            applied_index=lambda: self.index,
            configured=tuple(map(place, configured)),
            page=page,
            book=self.book,
            run_blocking=at_once,
        )
        self.directory.listen(lambda places: self.heard.append(tuple(each.id for each in places)))

    def apply(self, *operations: Operation) -> None:
        self.log.many(*operations)
        self.index += 1
        self.directory.on_progress()

    def ids(self) -> tuple[str, ...]:
        return tuple(each.id for each in self.directory.places)


def founded(*numbers: int) -> CreateCluster:
    return CreateCluster("c", 1, tuple(member(number, version="1", disk_id=f"d{number}") for number in numbers))


def test_records_of_former_days_cut_nobody_off(tmp_path: Path) -> None:
    """A node that joins replays a time when its leader was no member: it must go on listening to it."""
    follower = Follower(tmp_path, own=6, configured=(2, 5, 6))
    follower.apply(founded(1, 2, 3))
    assert follower.ids() == ("n1", "n2", "n3", "n5", "n6")
    follower.directory.settle()
    assert follower.ids() == ("n1", "n2", "n3", "n6"), "itself included, though it is no member yet"
    assert follower.heard == [("n1", "n2", "n3", "n5", "n6"), ("n1", "n2", "n3", "n6")]


def test_the_book_counts_more_than_records_that_are_older_than_it(tmp_path: Path) -> None:
    moved = replace(place(2), api="10.0.0.2:7102")
    follower = Follower(tmp_path, own=1, configured=(1, 2, 3), page=Page(2, (place(1), moved, place(4))))
    addresses = ApiAddresses(follower.directory)
    assert follower.ids() == ("n1", "n2", "n3", "n4")
    follower.apply(founded(1, 2, 3))
    assert addresses["n2"] == "10.0.0.2:7102"
    follower.apply()
    follower.apply(follower.log.adding(member(5)))
    assert addresses["n2"] == place(2).api, "the records are newer than the book by now"
    assert follower.ids() == ("n1", "n2", "n3", "n4", "n5")
    assert "n9" not in addresses


def test_what_the_configuration_says_otherwise_is_told_and_does_not_count(tmp_path: Path) -> None:
    moved = replace(place(2), api="10.0.0.2:7102")
    follower = Follower(tmp_path, own=1, configured=(1, 2, 3), page=Page(2, (place(1), moved, place(4))))
    assert list(follower.directory.differences()) == [
        "cluster.members has other addresses of n2 than the cluster; the cluster's count",
        "cluster.members names n3, which is no member any more",
        "cluster.members does not name n4, which is a member by now",
    ]
    assert list(Follower(tmp_path, own=1, configured=(1, 2)).directory.differences()) == []


async def test_the_book_is_kept_once_the_records_are_those_of_today(tmp_path: Path) -> None:
    follower = Follower(tmp_path, own=1, configured=(1, 2, 3))
    keeping = asyncio.create_task(follower.directory.run())
    follower.apply(founded(1, 2, 3))
    assert follower.book.load() is None
    follower.directory.settle()
    follower.apply(follower.log.adding(member(4)))
    await turns()
    assert follower.book.load() == Page(2, tuple(map(place, (1, 2, 3, 4))))
    keeping.cancel()


def test_a_record_without_a_peer_address_has_that_of_the_configuration(tmp_path: Path) -> None:
    follower = Follower(tmp_path, own=1, configured=(1, 2))
    old: tuple[Member, ...] = tuple(with_(member(number), peer="") for number in (1, 2))
    follower.apply(CreateCluster("c", 1, old))
    follower.directory.settle()
    assert follower.directory.places == (place(1), place(2))


def test_who_connects_to_members_hears_when_a_disk_is_recorded(tmp_path: Path) -> None:
    follower = Follower(tmp_path, own=1, configured=(1, 2))
    told: list[dict[str, str]] = []
    follower.directory.listen(lambda _places: told.append({**follower.directory.disks}))
    follower.apply(CreateCluster("c", 1, tuple(with_(member(number), peer="") for number in (1, 2))))
    follower.apply(RegisterMember(founder(2)))
    assert told == [{"n2": "disk-2"}]


def led_by(leader: str | None) -> LogStatus:
    return LogStatus(Role.FOLLOWER, 1, leader, 0, 0, 0, frozenset())


def test_whom_a_peer_names_is_talked_to_until_the_records_know_the_leader(tmp_path: Path) -> None:
    follower = Follower(tmp_path, own=9, configured=(1, 9))
    follower.apply(founded(1, 9))
    follower.directory.settle()
    follower.directory.hear([place(4), replace(place(1), raft="10.0.0.1:7301")])
    assert follower.ids() == ("n1", "n4", "n9")
    assert follower.directory.places[0] == place(1), "what the records say counts before it"
    follower.directory.on_status(led_by("n4"))
    follower.directory.hear([place(5)])
    assert follower.ids() == ("n1", "n4", "n9"), "while a leader is known nobody else is needed"
    follower.apply(follower.log.adding(member(4)))
    assert follower.heard[-1] == ("n1", "n4", "n9")
    follower.directory.on_status(led_by(None))
    follower.directory.hear([place(6)])
    follower.directory.on_status(led_by("n4"))
    assert follower.ids() == ("n1", "n4", "n9")


async def test_a_node_that_follows_nobody_learns_from_whoever_answers(tmp_path: Path) -> None:
    follower = Follower(tmp_path, own=9, configured=(1, 2, 9))
    asked: list[str] = []

    class Peers(StatusAsker):
        @override
        async def ask_status(self, node_id: str) -> StatusResponse:
            asked.append(node_id)
            if node_id == "n1":
                raise PeerUnreachable("it is gone")
            return StatusResponse(1, "follower", 1, 0, 0, "", 0, 0, places=known_places([place(4)]))

    finder = MemberFinder(
        status=lambda: led_by(None), connected=lambda: {"n1", "n2"}, peers=Peers(), directory=follower.directory
    )
    await finder.ask()
    assert asked == ["n1", "n2"]
    assert follower.directory.places == tuple(map(place, (1, 2, 4, 9)))
