"""Counting the echoes to one probe."""

import pytest

from garbagetruck.cluster.raft.confirm import EchoRound
from tests.unit.raft.links import voting


def round_of(*peers: str) -> EchoRound:
    return EchoRound(term=4, sequence=7, commit_index=9, voters=voting("leader", *peers))


@pytest.mark.parametrize(("peers", "needed"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2)])
def test_a_majority_with_the_leader_itself_confirms(peers: int, needed: int) -> None:
    ids = [f"n{i}" for i in range(peers)]
    echo_round = round_of(*ids)
    for count, node_id in enumerate(ids):
        assert echo_round.confirmed is (count >= needed)
        echo_round.echo(node_id, term=4, sequence=7)
    assert echo_round.confirmed


def test_an_echo_to_an_earlier_probe_does_not_count() -> None:
    echo_round = round_of("n2", "n3")
    echo_round.echo("n2", term=4, sequence=6)
    assert not echo_round.confirmed
    assert echo_round.silent == {"n2", "n3"}


def test_an_echo_of_another_term_does_not_count() -> None:
    echo_round = round_of("n2", "n3")
    echo_round.echo("n2", term=5, sequence=7)
    assert not echo_round.confirmed


def test_one_peer_counts_once() -> None:
    echo_round = round_of("n2", "n3", "n4", "n5")
    echo_round.echo("n2", term=4, sequence=7)
    echo_round.echo("n2", term=4, sequence=7)
    assert not echo_round.confirmed


def test_a_stranger_does_not_count() -> None:
    echo_round = round_of("n2", "n3")
    echo_round.echo("n9", term=4, sequence=7)
    assert not echo_round.confirmed
