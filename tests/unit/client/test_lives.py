"""Which life of a cluster an answer comes from, and that an earlier one is not believed any more."""

import pytest

from garbagetruck.client.errors import Unavailable
from garbagetruck.client.lives import NOT_TOLD, LatestLife, Life
from garbagetruck.v1 import cluster_pb2, header_pb2
from tests.unit.client.fake_cluster import FakeClock, Node, truck_of


async def test_the_latest_life_is_remembered_whatever_else_answers(node: Node, clock: FakeClock) -> None:
    latest = LatestLife()
    lives = [NOT_TOLD, Life("c", 2), Life("c", 1), Life("d", 1), NOT_TOLD, Life("c", 3), Life("c", 2)]
    assert [latest.precludes(life) for life in lives] == [False, False, True, False, False, False, True]
    header = header_pb2.ResponseHeader(cluster_id="c", incarnation=3)
    node.answer("GetStatus", cluster_pb2.GetStatusResponse(header=header))
    async with truck_of([node], clock) as truck:
        await truck.status()
        header.incarnation = 2
        node.answer("GetStatus", cluster_pb2.GetStatusResponse(header=header))
        with pytest.raises(Unavailable, match="incarnation 2 of cluster c"):
            await truck.status(timeout=0.3)


def test_a_life_follows_an_earlier_one_of_the_same_cluster_only() -> None:
    assert Life("c", 2).follows(Life("c", 1))
    for later, earlier in (
        (Life("c", 1), Life("c", 1)),
        (Life("c", 1), Life("c", 2)),
        (Life("d", 2), Life("c", 1)),
        (Life("", 2), Life("", 1)),
        (Life("c", 2), NOT_TOLD),
        (NOT_TOLD, Life("c", 1)),
    ):
        assert not later.follows(earlier)
