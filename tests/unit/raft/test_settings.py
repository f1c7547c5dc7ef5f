"""What can be set, and what is said about what cannot."""

from pathlib import Path
from typing import Any

import pytest

from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings, check_members
from garbagetruck.cluster.raft.tls import TlsFiles

SETTINGS = RaftSettings()


def test_the_defaults_stand() -> None:
    settings = RaftSettings()
    assert settings.tick_ms < settings.heartbeat_ms
    assert settings.lost_leader_spread_ms < settings.election_timeout_ms_min


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heartbeat_ms": 0}, "raft heartbeat_ms is 0, and must be at least 10"),
        (
            {"heartbeat_ms": 200},
            r"raft election_timeout_ms_min is 500, and must be at least 800: that is 4 x heartbeat_ms",
        ),
        ({"election_timeout_ms_max": 600}, "raft election_timeout_ms_max is 600, and must be at least 750"),
        ({"leader_fallback_ms": 299}, "raft leader_fallback_ms is 299, and must be at least 300"),
        ({"leader_fallback_ms": 1001}, "raft leader_fallback_ms is 1001, and must be at most 1000"),
        ({"connection_timeout_ms": 999}, "raft connection_timeout_ms is 999, and must be at least 1000"),
        ({"connection_retry_ms": 1}, "raft connection_retry_ms is 1, and must be at least 10"),
        ({"connection_retry_ms_max": 99}, "raft connection_retry_ms_max is 99, and must be at least 100"),
        ({"strangers_max": 1}, "raft strangers_max is 1, and must be at least 4"),
        ({"proposal_bytes_max": 10}, "raft proposal_bytes_max is 10, and must be at least 1024"),
        ({"proposal_bytes_max": 2**21}, "raft proposal_bytes_max is 2097152, and must be at most 1048576"),
        ({"proposals_waiting_max": 1}, "raft proposals_waiting_max is 1, and must be at least 2"),
        ({"outgoing_bytes_max": 1}, "raft outgoing_bytes_max is 1, and must be at least 16777216"),
    ],
)
def test_a_setting_out_of_bounds_is_named_with_its_value_and_the_bound(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RaftSettings(**fields)


@pytest.mark.parametrize("address", ["127.0.0.1:7301", "localhost:7301", "[::1]:7301", "127.1.2.3:1"])
def test_a_loopback_address_is_taken(address: str) -> None:
    assert Member("n1", address).port in {7301, 1}


def test_localhost_is_not_resolved() -> None:
    assert Member("n1", "localhost:7301").host == "127.0.0.1"
    assert Member("n1", "[::1]:7301").host == "::1"


@pytest.mark.parametrize("address", ["10.0.0.7:7301", "0.0.0.0:7301", "[::]:7301", "192.168.1.1:7301", "n1.example:1"])
def test_whatever_is_not_loopback_needs_tls_or_a_plain_word(address: str) -> None:
    identity, members = Identity("c", "n2", "d"), [Member("n1", "127.0.0.1:7301"), Member("n2", address)]
    with pytest.raises(
        ValueError, match=r"raft address of n2: .* is not on the loopback interface.*`garbagetruck tls init`"
    ):
        check_members(identity, members, RaftSettings())
    check_members(identity, members, RaftSettings(insecure_plaintext=True))
    files = TlsFiles(Path("a"), Path("b"), Path("c"))
    check_members(identity, members, RaftSettings(tls=files))
    with pytest.raises(ValueError, match="insecure_plaintext is set, and so is tls"):
        RaftSettings(tls=files, insecure_plaintext=True)


def test_where_another_says_that_it_is_keeps_no_node_from_starting() -> None:
    """One member's record would otherwise stop every node at its next start."""
    check_members(Identity("c", "n1", "d"), [Member("n1", "127.0.0.1:7301"), Member("n2", "10.0.0.7:7301")], SETTINGS)


@pytest.mark.parametrize("address", ["", "7301", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", ":7301", "127.0.0.1:-1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT"):
        Member("n1", address)


@pytest.mark.parametrize("port", [0, 65_536])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="is not between 1 and 65535"):
        Member("n1", f"127.0.0.1:{port}")


def test_members_that_are_no_cluster_are_refused() -> None:
    identity = Identity("c", "n1", "d")
    one, two = Member("n1", "127.0.0.1:7301"), Member("n2", "127.0.0.1:7302")
    check_members(identity, [one, two], SETTINGS)
    with pytest.raises(ValueError, match="name a node twice"):
        check_members(identity, [one, two, Member("n2", "127.0.0.1:7303")], SETTINGS)
    with pytest.raises(ValueError, match="share an address"):
        check_members(identity, [one, Member("n2", "localhost:7301")], SETTINGS)
    with pytest.raises(ValueError, match="do not include this node"):
        check_members(identity, [two], SETTINGS)
    with pytest.raises(ValueError, match="node id of a Raft member is empty"):
        Member("", "127.0.0.1:7301")
