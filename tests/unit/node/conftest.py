"""Fixtures of the node's core."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.node.gateway_rig import Node
from tests.unit.node.rig import Rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A node whose log commits by itself; not yet a leader."""
    rig = Rig()
    await rig.start()
    yield rig
    await rig.stop()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """The same, up to its gateway."""
    node = Node()
    await node.start()
    yield node
    await node.stop()
