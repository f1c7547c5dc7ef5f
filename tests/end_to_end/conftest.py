"""A cluster of three real processes for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_fixtures.local import LocalCluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes that serve; afterwards none of their processes is left, or the test fails."""
    local = LocalCluster(tmp_path / "cluster")
    try:
        local.start()
        yield local
    finally:
        local.stop()
