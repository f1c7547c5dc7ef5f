"""A secret is found wherever it stands, also where two blocks meet."""

from pathlib import Path

import pytest

from garbagetruck.chaos.processes.secrecy import BLOCK_BYTES, files_holding

SECRET = b"open sesame"


@pytest.mark.parametrize("before", [0, 1, BLOCK_BYTES - len(SECRET), BLOCK_BYTES - 3, BLOCK_BYTES, 2 * BLOCK_BYTES - 1])
def test_a_file_that_holds_it_is_named(tmp_path: Path, before: int) -> None:
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1/log").write_bytes(b"x" * before + SECRET + b"y")
    (tmp_path / "n1/other").write_bytes(b"x" * before + SECRET[:-1] + b"y")
    assert list(files_holding(tmp_path, SECRET)) == ["n1/log"]


def test_where_it_is_not_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert list(files_holding(tmp_path, SECRET)) == []
