"""The shelf: what was put is there once, what disappeared is seen between two looks, and nothing else is."""

from pathlib import Path

import pytest

from garbagetruck.chaos.history import NEVER_NS, Gone, History, Left, Written
from garbagetruck.chaos.workload.shelf import Shelf


class Clock:
    """Goes on by one with every look at it."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        self.ns += 1
        return self.ns


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def shelf(tmp_path: Path, history: History) -> Shelf:
    (tmp_path / "files").mkdir()
    (tmp_path / "drafts").mkdir()
    return Shelf(tmp_path / "files", tmp_path / "drafts", history, Clock())


def put(shelf: Shelf, key: str, until_ns: int = NEVER_NS) -> str:
    return shelf.put(key, client="c", lease_id="L", token=7, until_ns=until_ns)


def test_an_object_is_made_once_and_left_alone_by_the_next_holder(
    shelf: Shelf, history: History, tmp_path: Path
) -> None:
    assert put(shelf, "a") == "a#1"
    assert put(shelf, "a") == ""
    assert "a#1" in (tmp_path / "files/a").read_text()
    assert [each.object_id for each in history.of(Written)] == ["a#1"]
    assert list((tmp_path / "drafts").iterdir()) == []


def test_a_disappearance_lies_between_two_looks(shelf: Shelf, history: History, tmp_path: Path) -> None:
    put(shelf, "a")
    shelf.look()
    (tmp_path / "files/a").unlink()
    shelf.look()
    (gone,) = history.of(Gone)
    assert (gone.key, gone.object_id) == ("a", "a#1")
    (written,) = history.of(Written)
    assert written.at_ns < gone.present_ns < gone.absent_ns
    shelf.look()
    assert len(list(history.of(Gone))) == 1


def test_an_object_that_was_made_anew_between_two_looks_is_another(
    shelf: Shelf, history: History, tmp_path: Path
) -> None:
    put(shelf, "a")
    (tmp_path / "files/a").unlink()
    assert put(shelf, "a") == "a#2"
    assert [each.object_id for each in history.of(Gone)] == ["a#1"]
    shelf.close()
    assert [each.object_id for each in history.of(Left)] == ["a#2"]


def test_an_object_that_comes_too_late_is_taken_back(shelf: Shelf, history: History, tmp_path: Path) -> None:
    assert put(shelf, "a", until_ns=0) == ""
    assert not (tmp_path / "files/a").exists()
    assert history.records == []


def test_what_handlers_hide_is_no_object(shelf: Shelf, history: History, tmp_path: Path) -> None:
    shelf.put_foreign("b")
    (tmp_path / "files/.garbagetruck-x").touch()
    (tmp_path / "files/nobody").touch()
    shelf.look()
    assert history.foreign == {"b"}
    assert list(history.of(Gone)) == []
    assert shelf.keys == ("b",)
