"""As whom the embedded server runs, and what that account can get at."""

from pathlib import Path

import pytest

from garbagetruck.storage.embedded.account import Account

OTHER = 10_002


@pytest.mark.parametrize(
    ("mode", "enters"), [(0o755, True), (0o711, True), (0o744, False), (0o700, False), (0o000, False)]
)
def test_a_stranger_enters_where_everybody_may_pass(tmp_path: Path, mode: int, enters: bool) -> None:
    for each in (tmp_path, *tmp_path.parents[:2]):
        each.chmod(0o755)
    folder = tmp_path / "closed" / "inside"
    folder.mkdir(parents=True)
    folder.parent.chmod(mode)
    try:
        assert Account("other", OTHER, OTHER).can_enter(folder) == (enters and _reachable(tmp_path))
        assert Account("ourselves").can_enter(folder)
    finally:
        folder.parent.chmod(0o755)


def test_a_link_in_a_closed_folder_leads_nobody_anywhere(tmp_path: Path) -> None:
    closed, link = tmp_path / "closed", tmp_path / "closed" / "link"
    closed.mkdir(mode=0o700)
    link.symlink_to("/usr")
    assert not Account("other", OTHER, OTHER).can_enter(link)
    assert Account("other", OTHER, OTHER).can_enter(Path("/usr"))


def test_nobody_enters_what_is_not_there(tmp_path: Path) -> None:
    assert not Account("other", OTHER, OTHER).can_enter(tmp_path / "nothing")


def _reachable(folder: Path) -> bool:
    """Whether everybody may pass through what pytest keeps its folders in."""
    return all(each.stat().st_mode & 0o001 for each in folder.parents)
