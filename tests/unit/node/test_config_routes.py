"""The settings `node.raft_routes` and `node.peer_routes`: a node's own ways to members."""

from pathlib import Path

import pytest

from garbagetruck.cluster.node.address_book import Place
from garbagetruck.cluster.node.config.routes import ROUTES_MAX
from garbagetruck.cluster.node.directory import members_at
from garbagetruck.cluster.raft.settings import Member
from tests.unit.node.test_config import MINIMAL, load, problems


def test_ways_are_read_and_shown_as_they_were_written(tmp_path: Path) -> None:
    ways = '["n2=127.0.0.1:9002", "n3=localhost:9003"]'
    node = load(tmp_path, MINIMAL + f"raft_routes = {ways}\n").settings.node
    assert {member: str(address) for member, address in node.raft_routes.items()} == {
        "n2": "127.0.0.1:9002",
        "n3": "localhost:9003",
    }
    assert node.peer_routes == {}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("7", "is no list"),
        ('"no JSON"', "is not JSON"),
        ('["n2"]', "names no way to a member"),
        ("[2]", "names no way to a member"),
        ('["n2=nowhere"]', "nowhere"),
        ('["=127.0.0.1:9002"]', ""),
        ('["n2=127.0.0.1:9002", "n2=127.0.0.1:9003"]', "two ways to n2"),
        (str([f"n{number}=127.0.0.1:{9_000 + number}" for number in range(ROUTES_MAX + 1)]), "too many"),
        ('["n2=192.0.2.7:7301"]', "is not on this machine"),
    ],
)
def test_what_is_no_way_is_refused_by_name(tmp_path: Path, written: str, told: str) -> None:
    assert told in problems(tmp_path, MINIMAL + f"peer_routes = {written}\n")["node.peer_routes"]


def test_a_way_goes_before_the_record_and_makes_nobody_a_member() -> None:
    places = [Place(each, "a:1", "h:1", f"127.0.0.1:730{each[1]}", "") for each in ("n1", "n2", "n3")]
    own = Member("n1", "127.0.0.1:7301")
    routes = {"n2": "127.0.0.1:9002", "n9": "127.0.0.1:9009"}
    found = members_at(own, places, lambda place: place.raft, routes, {"n2": "disk-2"})
    assert [(each.node_id, each.address) for each in found] == [
        ("n1", "127.0.0.1:7301"),
        ("n2", "127.0.0.1:9002"),
        ("n3", "127.0.0.1:7303"),
    ]
    assert [each.disk_id for each in found] == ["", "disk-2", ""]
