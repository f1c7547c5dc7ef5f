"""A node's folder: made once, found again, and refused whenever it is not this node's."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from garbagetruck.cluster.node.identity import (
    DataFolder,
    FolderServedError,
    FolderTakenError,
    IdentityError,
    NodeIdentity,
)


def bootstrap(path: Path, *, node_id: str = "n1", disk_id: str = "disk-1") -> NodeIdentity:
    with DataFolder(path) as folder:
        return folder.open(cluster_id="tests", node_id=node_id, bootstrap_disk_id=disk_id)


def join(path: Path, *, disk_id: str = "disk-9") -> NodeIdentity:
    with DataFolder(path) as folder:
        return folder.open(cluster_id="tests", node_id="n1", bootstrap_disk_id=None, join_disk_id=disk_id)


def serve(path: Path, *, cluster_id: str = "tests", node_id: str = "n1") -> NodeIdentity:
    with DataFolder(path) as folder:
        return folder.open(cluster_id=cluster_id, node_id=node_id, bootstrap_disk_id=None)


def test_an_identity_is_made_once_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "n1"
    made = bootstrap(path)
    assert made == NodeIdentity(cluster_id="tests", node_id="n1", disk_id="disk-1", incarnation=1, has_journal=False)
    assert serve(path) == made
    assert json.loads((path / "node.json").read_text())["format"] == 1


@pytest.mark.parametrize("make", [True, False])
def test_an_empty_or_absent_folder_is_refused_without_bootstrap_and_left_as_it_was(tmp_path: Path, make: bool) -> None:
    path = tmp_path / "n1"
    if make:
        path.mkdir()
    with pytest.raises(IdentityError, match=r"--bootstrap.*do not bootstrap it"):
        serve(path)
    assert path.exists() == make
    assert not make or not list(path.iterdir())


def test_bootstrap_refuses_a_folder_that_has_an_identity(tmp_path: Path) -> None:
    bootstrap(tmp_path)
    with pytest.raises(IdentityError, match="already belongs to node n1 of cluster tests"):
        bootstrap(tmp_path, disk_id="disk-2")
    assert serve(tmp_path).disk_id == "disk-1"


def test_bootstrap_refuses_a_folder_with_anything_in_it(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(IdentityError, match="not empty"):
        bootstrap(tmp_path)
    assert not (tmp_path / "node.json").exists()


def test_bootstrap_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "raft").mkdir()
    (tmp_path / "node.json.tmp").write_text('{"form')
    (tmp_path / "lock").write_text("1\n")
    assert bootstrap(tmp_path).node_id == "n1"


def test_a_folder_of_another_cluster_or_node_is_refused(tmp_path: Path) -> None:
    bootstrap(tmp_path)
    with pytest.raises(IdentityError, match=r"belongs to cluster tests, and cluster\.id is other"):
        serve(tmp_path, cluster_id="other")
    with pytest.raises(IdentityError, match=r"belongs to node n1, and node\.id is n2"):
        serve(tmp_path, node_id="n2")


def test_two_processes_never_share_a_folder(tmp_path: Path) -> None:
    bootstrap(tmp_path)
    with DataFolder(tmp_path) as folder:
        folder.open(cluster_id="tests", node_id="n1", bootstrap_disk_id=None)
        program = (
            "import sys; from pathlib import Path; from garbagetruck.cluster.node.identity import DataFolder\n"
            "DataFolder(Path(sys.argv[1])).open(cluster_id='tests', node_id='n1', bootstrap_disk_id=None)"
        )
        second = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert second.returncode != 0
        assert "served by another process (pid " in second.stderr
    assert serve(tmp_path).node_id == "n1"


def test_a_refused_folder_is_not_left_locked(tmp_path: Path) -> None:
    bootstrap(tmp_path)
    folder = DataFolder(tmp_path)
    with pytest.raises(IdentityError):
        folder.open(cluster_id="other", node_id="n1", bootstrap_disk_id=None)
    assert serve(tmp_path).node_id == "n1"


def test_i2_a_folder_that_lost_its_journal_is_refused(tmp_path: Path) -> None:
    """A node that forgot its votes and entries must not take part under its old name."""
    with DataFolder(tmp_path) as folder:
        identity = folder.open(cluster_id="tests", node_id="n1", bootstrap_disk_id="disk-1")
        (folder.raft / "journal").write_bytes(b"x")
        assert folder.note_journal(identity).has_journal
    assert serve(tmp_path).has_journal
    (tmp_path / "raft" / "journal").unlink()
    with pytest.raises(IdentityError, match="the journal of node n1 is gone"):
        serve(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "no object"),
        ('{"format": 3}', "format 3"),
        ('{"format": true, "cluster_id": "tests"}', "damaged"),
        (
            '{"format": 2, "cluster_id": "tests", "node_id": "n1", "disk_id": "d", "incarnation": 1, "has_journal": true}',
            "damaged",
        ),
        ('{"format": 1, "cluster_id": "tests"}', "damaged"),
        (
            '{"format": 1, "cluster_id": "tests", "node_id": "n1", "disk_id": 7, "incarnation": 1, "has_journal": true}',
            "damaged",
        ),
    ],
)
def test_a_damaged_or_newer_identity_is_refused_by_name(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "node.json").write_text(content)
    with pytest.raises(IdentityError, match=complaint) as caught:
        serve(tmp_path)
    assert "node.json" in str(caught.value)


def test_a_folder_without_an_identity_but_with_a_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raft").mkdir()
    (tmp_path / "raft" / "journal").write_bytes(b"x")
    with pytest.raises(IdentityError, match=r"has no node\.json"):
        serve(tmp_path)
    with pytest.raises(IdentityError, match="not empty"):
        bootstrap(tmp_path)


# -- read after a disaster, and founded by a restore ---------------------------------------------------------------------

SECOND = NodeIdentity(cluster_id="tests", node_id="n9", disk_id="disk-9", incarnation=2, has_journal=False)


def contents(path: Path) -> dict[str, tuple[int, bytes]]:
    return {str(each): (each.stat().st_mtime_ns, each.read_bytes()) for each in path.rglob("*") if each.is_file()}


def test_looking_at_a_folder_changes_nothing_in_it_and_keeps_others_from_serving_it(tmp_path: Path) -> None:
    made = bootstrap(tmp_path)
    before = contents(tmp_path)
    with DataFolder(tmp_path) as folder:
        assert folder.look() == made
        with pytest.raises(FolderServedError, match="stop that one first"):
            serve(tmp_path)
    assert contents(tmp_path) == before
    assert serve(tmp_path) == made


def test_a_folder_that_is_served_cannot_be_looked_at(tmp_path: Path) -> None:
    bootstrap(tmp_path)
    with DataFolder(tmp_path) as serving:
        serving.open(cluster_id="tests", node_id="n1", bootstrap_disk_id=None)
        with pytest.raises(FolderServedError, match="served by another process"):
            DataFolder(tmp_path).look()


def test_a_copy_without_a_lock_can_be_looked_at(tmp_path: Path) -> None:
    made = bootstrap(tmp_path)
    (tmp_path / "lock").unlink()
    with DataFolder(tmp_path) as folder:
        assert folder.look() == made
    assert not (tmp_path / "lock").exists()


def test_a_founded_folder_is_served_by_its_node(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "n9"
    DataFolder(path).found(SECOND, lambda raft: (raft / "log").touch())
    assert serve(path, node_id="n9") == SECOND


def test_nothing_is_founded_where_something_is(tmp_path: Path) -> None:
    bootstrap(tmp_path)
    with pytest.raises(FolderTakenError, match="nothing is ever written over"):
        DataFolder(tmp_path).found(SECOND, lambda raft: (raft / "log").touch())
    assert serve(tmp_path).node_id == "n1"


def test_i9_a_founding_that_was_interrupted_is_never_served_nor_bootstrapped(tmp_path: Path) -> None:
    def fill(raft: Path) -> None:
        (raft / "half").touch()
        raise OSError("power")

    with pytest.raises(OSError, match="power"):
        DataFolder(tmp_path).found(SECOND, fill)
    with pytest.raises(IdentityError, match=r"has no node\.json"):
        serve(tmp_path, node_id="n9")
    with pytest.raises(IdentityError, match="not empty"):
        bootstrap(tmp_path, node_id="n9")
    with pytest.raises(FolderTakenError, match="can be deleted"):
        DataFolder(tmp_path).found(SECOND, fill)


# -- nodes that come later, and nodes that go ---------------------------------------------------------------------


def test_a_node_that_joins_has_an_identity_that_says_so_from_then_on(tmp_path: Path) -> None:
    made = join(tmp_path)
    assert (made.joined, made.disk_id) == (True, "disk-9")
    assert join(tmp_path, disk_id="disk-10") == serve(tmp_path) == made, "the same command may start it ever after"


def test_a_node_joins_the_life_of_the_cluster_that_it_is_told_of(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        made = folder.open(
            cluster_id="tests", node_id="n1", bootstrap_disk_id=None, join_disk_id="disk-9", join_incarnation=2
        )
    assert made.incarnation == serve(tmp_path).incarnation == 2


def test_a_founder_that_is_told_to_join_is_what_it_was(tmp_path: Path) -> None:
    made = bootstrap(tmp_path)
    assert join(tmp_path) == made
    assert not made.joined


def test_what_an_older_version_wrote_is_read_and_left_readable_for_it(tmp_path: Path) -> None:
    old = {"format": 1, "cluster_id": "tests", "node_id": "n1", "disk_id": "d", "incarnation": 1, "has_journal": False}
    (tmp_path / "node.json").write_text(json.dumps(old))
    with DataFolder(tmp_path) as folder:
        folder.note_journal(folder.open(cluster_id="tests", node_id="n1", bootstrap_disk_id=None))
    assert json.loads((tmp_path / "node.json").read_text()) == {**old, "has_journal": True}


@pytest.mark.parametrize("again", [serve, join])
def test_a_folder_of_a_node_that_was_removed_is_never_served_again(
    tmp_path: Path, again: Callable[[Path], NodeIdentity]
) -> None:
    with DataFolder(tmp_path) as folder:
        identity = folder.open(cluster_id="tests", node_id="n1", bootstrap_disk_id="disk-1")
        (folder.raft / "journal").write_bytes(b"x")
        folder.note_removal(identity)
    with pytest.raises(IdentityError, match="node n1 was removed from cluster tests"):
        again(tmp_path)
