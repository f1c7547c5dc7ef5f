"""The settings of storage: what fits together, and that no password is shown."""

from pathlib import Path

import pytest

from garbagetruck.cluster.node.config.storing import postgres_settings, retention
from tests.unit.node.test_config import MINIMAL, load, problems

POSTGRES = MINIMAL + '[storage]\nkind = "postgres"\n'


def test_without_a_place_nothing_is_stored_outside_the_nodes(tmp_path: Path) -> None:
    assert not load(tmp_path, MINIMAL).settings.storage.is_used
    assert not load(tmp_path, MINIMAL + '[storage]\nkind = "memory"\n').settings.storage.is_used
    there = load(tmp_path, MINIMAL + '[storage]\nfolder = "copies"\n').settings.storage
    assert (there.is_used, there.folder) == (True, tmp_path / "copies")


def test_postgres_needs_an_address(tmp_path: Path) -> None:
    assert "it is missing" in problems(tmp_path, POSTGRES)["storage.dsn"]


def test_a_password_in_the_address_is_shown_nowhere(tmp_path: Path) -> None:
    loaded = load(tmp_path, POSTGRES + 'dsn = "postgresql://truck:opensesame@db:5432/trucks?sslpassword=opensesame"\n')
    shown = {key: value for key, value, _ in loaded.shown()}
    assert shown["storage.dsn"] == '"postgresql://truck@db:5432/trucks"'
    built = postgres_settings(loaded.settings.storage)
    assert built.password == "opensesame"
    for text in (repr(loaded), str(loaded.settings), repr(built), *shown.values()):
        assert "opensesame" not in text


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('dsn = "mysql://x:opensesame@db/trucks"\n', "storage.dsn"),
        ('dsn = "postgresql://x:opensesame@[db/trucks"\n', "storage.dsn"),
        ('dsn = "postgresql://x:opensesame@db/trucks"\npassword_file = "p"\n', "storage"),
        ('dsn = "postgresql://x@db/trucks"\nschema = "Trucks.x"\n', "storage"),
        ('dsn = "postgresql://x@db/trucks"\nlock_timeout = "21s"\n', "storage.lock_timeout"),
        ('dsn = "postgresql://x@db/trucks"\nstatement_timeout = "25s"\n', "storage.answer_timeout"),
        ('dsn = "postgresql://x@db/trucks"\nsnapshots_min = 49\n', "storage.snapshots_min"),
    ],
)
def test_what_does_not_fit_is_named_without_a_password(tmp_path: Path, lines: str, key: str) -> None:
    found = problems(tmp_path, POSTGRES + lines)
    assert list(found) == [key]
    assert "opensesame" not in found[key]


def test_retention_is_what_the_settings_say(tmp_path: Path) -> None:
    kept = retention(load(tmp_path, MINIMAL + "[storage]\nsnapshots_min = 2\nsnapshots_max = 3\n").settings.storage)
    assert (kept.count_min, kept.count_max) == (2, 3)
