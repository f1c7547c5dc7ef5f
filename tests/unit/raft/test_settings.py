"""What can be set, and what is said about what cannot."""

import pytest

from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings, check_members


def test_the_defaults_stand() -> None:
    settings = RaftSettings()
    assert settings.tick_ms < settings.heartbeat_ms
    assert settings.rejoin_grace_ms < settings.election_timeout_ms_min


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
        ({"proposal_bytes_max": 10}, "raft proposal_bytes_max is 10, and must be at least 1024"),
        ({"proposal_bytes_max": 2**21}, "raft proposal_bytes_max is 2097152, and must be at most 1048576"),
        ({"proposals_waiting_max": 1}, "raft proposals_waiting_max is 1, and must be at least 2"),
        ({"outgoing_bytes_max": 1}, "raft outgoing_bytes_max is 1, and must be at least 8388608"),
    ],
)
def test_a_setting_out_of_bounds_is_named_with_its_value_and_the_bound(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RaftSettings(**fields)


@pytest.mark.parametrize("address", ["127.0.0.1:7301", "localhost:7301", "[::1]:7301", "127.1.2.3:1"])
def test_a_loopback_address_is_taken(address: str) -> None:
    assert Member("n1", address).port in {7301, 1}


def test_localhost_is_not_resolved() -> None:
    assert Member("n1", "localhost:7301").host == "127.0.0.1"
    assert Member("n1", "[::1]:7301").host == "::1"


@pytest.mark.parametrize("address", ["10.0.0.7:7301", "0.0.0.0:7301", "[::]:7301", "192.168.1.1:7301"])
def test_any_other_interface_is_refused_with_the_reason_and_the_remedy(address: str) -> None:
    with pytest.raises(ValueError, match=r"loopback only until .* use 127\.0\.0\.1:7301"):
        Member("n1", address)


@pytest.mark.parametrize(
    "address", ["", "7301", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "example.org:7301", "127.0.0.1:-1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"is not IP:PORT"):
        Member("n1", address)


@pytest.mark.parametrize("port", [0, 65_536])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="is not between 1 and 65535"):
        Member("n1", f"127.0.0.1:{port}")


def test_members_that_are_no_cluster_are_refused() -> None:
    identity = Identity("c", "n1", "d")
    one, two = Member("n1", "127.0.0.1:7301"), Member("n2", "127.0.0.1:7302")
    check_members(identity, [one, two])
    with pytest.raises(ValueError, match="name a node twice"):
        check_members(identity, [one, two, Member("n2", "127.0.0.1:7303")])
    with pytest.raises(ValueError, match="share an address"):
        check_members(identity, [one, Member("n2", "localhost:7301")])
    with pytest.raises(ValueError, match="do not include this node"):
        check_members(identity, [two])
    with pytest.raises(ValueError, match="node id of a Raft member is empty"):
        Member("", "127.0.0.1:7301")
