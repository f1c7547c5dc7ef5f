"""Clusters of three real processes: one of its own for each test that asks for it, or one that many tests use in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_fixtures.local import LocalCluster


def _whole(folder: Path) -> Iterator[LocalCluster]:
    local = LocalCluster(folder / "cluster")
    try:
        local.start()
        yield local
    finally:
        local.stop()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes that serve; afterwards none of their processes is left, or the test fails."""
    yield from _whole(tmp_path)


@pytest.fixture(scope="session")
def standing_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    yield from _whole(tmp_path_factory.mktemp("standing"))


@pytest.fixture
def standing(standing_cluster: LocalCluster) -> LocalCluster:
    """Three nodes that serve, whatever the tests before did to them: they may be killed and stopped, and must not be removed.

    For tests that name their own resources, and ask nothing of those of others.
    """
    standing_cluster.mend()
    return standing_cluster
