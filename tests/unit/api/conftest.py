"""The stand that the tests of the API share."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.api.stand import Stand, stand


@pytest.fixture
async def api() -> AsyncIterator[Stand]:
    async with stand() as built:
        yield built
