"""The entries that an operator orders to do without: named exactly, or not at all."""

from pathlib import Path

import pytest

from garbagetruck.cluster.machine.features import LEVEL_NEWEST
from garbagetruck.cluster.node.config.skips import SKIPPED_MAX, SkippedEntries, SkippedEntry
from garbagetruck.cluster.node.config.values import InvalidValueError
from tests.unit.node.test_config import MINIMAL, load, problems

KIND = SkippedEntries(meaning="")


def test_what_is_shown_is_read_again(tmp_path: Path) -> None:
    text = '["1234:9af3c2d1", "7:0000000a"]'
    found = load(tmp_path, MINIMAL + f"skip_entries = {text}\n").settings.node.skip_entries
    assert found == (SkippedEntry(1234, 0x9AF3C2D1), SkippedEntry(7, 10))
    assert KIND.show(found) == text
    assert KIND.parse(text) == found, "as a variable or a flag holds it"


@pytest.mark.parametrize(
    "row",
    ["1234", "1234:9AF3C2D1", "1234:9af3c2d", "0:9af3c2d1", "-1:9af3c2d1", "1 :9af3c2d1", "٣:9af3c2d1", "", 7, None],
)
def test_what_does_not_name_an_entry_exactly_is_refused(row: object) -> None:
    with pytest.raises(InvalidValueError, match="names no entry"):
        KIND.parse([row])


@pytest.mark.parametrize("raw", ["7:0000000a", "{}", 7, [f"{n}:00000000" for n in range(1, SKIPPED_MAX + 2)]])
def test_a_list_is_a_list_of_a_bounded_length(raw: object) -> None:
    with pytest.raises(InvalidValueError):
        KIND.parse(raw)


def test_an_entry_is_named_once() -> None:
    with pytest.raises(InvalidValueError, match="entry 7 is named twice"):
        KIND.parse(["7:0000000a", "7:0000000b"])


def test_skipping_needs_the_level_that_can_tell_of_it(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL + 'feature_level = 1\nskip_entries = ["7:0000000a"]\n')
    assert found["node.skip_entries"].endswith("set node.feature_level to 2 or more, on every node")


@pytest.mark.parametrize("level", [0, LEVEL_NEWEST + 1])
def test_a_level_that_this_version_does_not_have_is_refused(tmp_path: Path, level: int) -> None:
    assert "out of bounds" in problems(tmp_path, MINIMAL + f"feature_level = {level}\n")["node.feature_level"]
