"""`up --storage postgres` with a server that there is: what the nodes are told, and where its password is."""

from pathlib import Path

import pytest

from garbagetruck.cluster.node.local.layout import UpOptions, UpUsageError, plan, prepare
from garbagetruck.cluster.node.local.postgres import database


def options(folder: Path, **more: str) -> UpOptions:
    return UpOptions(data_dir=folder, nodes=1, **more)  # type: ignore[arg-type]


def test_a_password_goes_into_a_file_of_its_own_and_into_no_configuration(tmp_path: Path) -> None:
    wanted = options(
        tmp_path, storage="postgres", postgres="postgresql://truck:opensesame@db:5432/trucks?sslmode=require"
    )
    cluster = plan(wanted, new_cluster_id="c")
    with database(wanted, tmp_path) as storage:
        assert storage is not None
        prepare(cluster, wanted, storage)
    config = cluster.nodes[0].config.read_text()
    assert 'dsn = "postgresql://truck@db:5432/trucks?sslmode=require"' in config
    assert "opensesame" not in config
    password = tmp_path / "postgres.password"
    assert (password.read_text(), password.stat().st_mode & 0o077) == ("opensesame", 0)


def test_what_is_no_address_is_refused_without_its_password(tmp_path: Path) -> None:
    wanted = options(tmp_path, storage="postgres", postgres="mysql://truck:opensesame@db/trucks")
    with pytest.raises(UpUsageError) as caught, database(wanted, tmp_path):
        raise AssertionError
    assert "opensesame" not in str(caught.value)


def test_another_storage_needs_no_server(tmp_path: Path) -> None:
    with database(options(tmp_path, storage="memory"), tmp_path) as storage:
        assert storage is None
