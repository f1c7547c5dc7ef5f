"""The stage, set up and taken down."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.raft.stage import Stage


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(tmp_path, monkeypatch)
    yield stage
    stage.close()
