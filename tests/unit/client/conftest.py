"""Fixtures of the client's tests: nodes that a test scripts, and a clock that it moves."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.client.fake_cluster import FakeClock, Node, nodes


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def three() -> AsyncIterator[list[Node]]:
    async with nodes(3) as running:
        yield running


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with nodes(1) as running:
        yield running[0]
