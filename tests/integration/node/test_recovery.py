"""A cluster restored from one node's folder: read as it is, founded anew, and served by a real node."""

import asyncio
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import garbagetruck
from garbagetruck.client import CleanupSettings
from garbagetruck.client.errors import PreconditionFailed
from garbagetruck.cluster.machine.model import TOKEN_COUNTER_BITS
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.identity import DataFolder, IdentityError
from garbagetruck.cluster.node.recovery import target
from garbagetruck.cluster.node.recovery.errors import (
    IncarnationTaken,
    LevelTooLow,
    NothingToRestore,
    RecoveryError,
    SourceAway,
    SourceDamaged,
    SourceForeign,
    SourceInUse,
    SourceStillWritten,
    SourceUnreadable,
    TargetTaken,
)
from garbagetruck.cluster.node.recovery.restore import Restored, restore
from garbagetruck.cluster.node.recovery.source import Source
from tests.integration.node.test_one_node import Place, prepared, running


@dataclass
class Disaster:
    """A cluster's only node, which has ended; and where it is to be begun again."""

    place: Place
    leases: list[tuple[str, int]]
    """Ids and tokens of what was acknowledged."""

    @property
    def source(self) -> Path:
        return self.place.folder / "n1"

    @property
    def config(self) -> Path:
        return self.place.folder / "n1.toml"

    def restore(
        self, data_dir: Path, *, source: Path | None = None, incarnation: int | None = None
    ) -> Restored[Source]:
        settings = load_settings(self.config, {}).settings
        return restore(
            settings,
            source or self.source,
            random=random.SystemRandom(),
            data_dir=data_dir,
            incarnation=incarnation,
        )

    def serve_from(self, data_dir: Path) -> None:
        """Have the node's configuration name another folder."""
        self.config.write_text(self.config.read_text().replace(str(self.source), str(data_dir)))


@pytest.fixture
def disaster(first_disaster: Disaster, tmp_path: Path) -> Iterator[Disaster]:
    """20 leases of a minute, a session of an hour, and an orphan that would be cleaned next; as it was, for each test."""
    folder = first_disaster.place.folder
    shutil.copytree(folder, tmp_path / "as it was")
    yield first_disaster
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "as it was", folder)


@pytest.fixture(scope="module")
def first_disaster(tmp_path_factory: pytest.TempPathFactory) -> Disaster:
    return asyncio.run(happen(prepared(tmp_path_factory.mktemp("disaster"))))


async def happen(place: Place) -> Disaster:
    leases = []
    async with running(place, bootstrap=True) as node:
        await node.become_ready()
        async with garbagetruck.connect(place.api) as truck:
            await truck.namespaces.set(cleanup=CleanupSettings(grace_ms_min=0))
            session = await truck.sessions.open(holder="worker", ttl=3_600.0)
            for number in range(20):
                lease = await truck.acquire(f"kept/{number}", holder="tests", ttl=60.0)
                leases.append((lease.id, lease.fencing_token))
            held = await truck.acquire("held", session_id=session.id)
            leases.append((held.id, held.fencing_token))
            await truck.cleanups.pause(all_namespaces=True, reason="before the disaster")
            cleanup = garbagetruck.Cleanup("file", path="orphan")
            (place.files / "orphan").write_text("nobody's")
            await truck.release((await truck.acquire("orphan", holder="tests", ttl=60.0, cleanup=cleanup)).id)
    return Disaster(place, leases)


def fingerprint(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (folder, *folder.rglob("*"))
    }


@pytest.fixture
def unchanged(disaster: Disaster) -> Iterator[None]:
    before = fingerprint(disaster.source)
    yield
    assert fingerprint(disaster.source) == before, "a source is never changed"


@pytest.mark.usefixtures("unchanged")
async def test_i2_i5_i9_a_restored_cluster_has_everything_and_deletes_nothing(
    disaster: Disaster, tmp_path: Path
) -> None:
    restored = disaster.restore(tmp_path / "new")
    assert (restored.cluster_id, restored.node_id, restored.incarnation) == ("tests", "n1", 2)
    assert (restored.holds.leases, restored.holds.sessions, restored.holds.resources) == (21, 1, 22)
    assert restored.wait_ms == 3_600_000
    disaster.serve_from(tmp_path / "new")
    async with running(disaster.place, bootstrap=False) as node:
        await node.become_ready()
        machine = node.core.machine
        assert machine.incarnation == 2
        assert [member.version for member in machine.members()] == [garbagetruck.__version__]
        async with garbagetruck.connect(disaster.place.api) as truck:
            for lease_id, token in disaster.leases:
                found = await truck.get_lease(lease_id)
                assert found.fencing_token == token
                assert found.remaining > 30
            await truck.renew(disaster.leases[0][0])
            after = await truck.acquire("new", holder="tests", ttl=60.0)
            assert after.fencing_token > 2 << TOKEN_COUNTER_BITS
            (waiting,) = [each async for each in truck.cleanups.list()]
            assert waiting.blocked_by == "paused"
            await truck.cleanups.resume(all_namespaces=True)
            (waiting,) = [each async for each in truck.cleanups.list()]
            assert waiting.blocked_by == "restored"
            status = await truck.status()
            assert status.incarnation == 2
        assert (disaster.place.files / "orphan").exists()
    async with running(disaster.place, bootstrap=False) as node:
        await node.become_ready()
        assert node.core.machine.summary().leases == len(disaster.leases) + 1, "it starts again like any other"
    assert disaster.place.died == []


@pytest.mark.usefixtures("unchanged")
async def test_a_restored_folder_can_be_restored_again_started_or_not(disaster: Disaster, tmp_path: Path) -> None:
    disaster.restore(tmp_path / "second")
    third = disaster.restore(tmp_path / "third", source=tmp_path / "second")
    assert (third.incarnation, third.holds.leases) == (3, 21)
    disaster.serve_from(tmp_path / "third")
    async with running(disaster.place, bootstrap=False) as node:
        await node.become_ready()
        assert node.core.machine.incarnation == 3
    fourth = disaster.restore(tmp_path / "fourth", source=tmp_path / "third", incarnation=40)
    assert (fourth.incarnation, fourth.holds.leases) == (40, 21)
    assert fourth.source.identity.incarnation == 3


@pytest.mark.usefixtures("unchanged")
def test_what_is_in_the_way_is_told_exactly(disaster: Disaster, tmp_path: Path) -> None:
    new, empty = tmp_path / "new", tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NothingToRestore, match="is no folder"):
        disaster.restore(new, source=tmp_path / "absent")
    with pytest.raises(NothingToRestore, match="is empty: no node ever served from it, or its disk was wiped"):
        disaster.restore(new, source=empty)
    with pytest.raises(NothingToRestore, match=r"has no node\.json"):
        disaster.restore(new, source=disaster.source / "raft")
    with pytest.raises(TargetTaken, match="is not empty"):
        disaster.restore(disaster.source.parent)
    with pytest.raises(TargetTaken, match="which is only read"):
        disaster.restore(disaster.source / "new")
    with pytest.raises(IncarnationTaken, match="incarnation 1 is not above 1"):
        disaster.restore(new, incarnation=1)
    with pytest.raises(IncarnationTaken, match="above 8191"):
        disaster.restore(new, incarnation=8_192)
    content = disaster.config.read_text()
    disaster.config.write_text(content.replace("[node]", "[node]\nfeature_level = 1"))
    with pytest.raises(LevelTooLow, match=r"node\.feature_level is 1, and a restored state needs 2"):
        disaster.restore(new)
    disaster.config.write_text(content.replace('id = "tests"', 'id = "another"'))
    with pytest.raises(SourceForeign, match=r"belongs to cluster tests, and cluster\.id is another"):
        disaster.restore(new)
    assert not new.exists()


async def test_a_folder_that_is_served_is_not_restored_from(disaster: Disaster, tmp_path: Path) -> None:
    async with running(disaster.place, bootstrap=False):
        with pytest.raises(SourceInUse, match=r"served by another process.*nothing to restore"):
            disaster.restore(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_damage_is_told_by_file_and_offset(disaster: Disaster, tmp_path: Path) -> None:
    segment = max((disaster.source / "raft" / "journal").glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[4_200] ^= 1
    segment.write_bytes(content)
    with pytest.raises(SourceUnreadable, match=r"damaged: .* Restore from another node's folder") as caught:
        disaster.restore(tmp_path / "new")
    assert caught.value.path == segment
    assert caught.value.offset is not None
    assert not (tmp_path / "new").exists()


def test_i9_a_restore_that_is_interrupted_leaves_nothing_that_is_served(
    disaster: Disaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(target, "pieces", interrupted)
        with pytest.raises(KeyboardInterrupt):
            disaster.restore(tmp_path / "new")
    with pytest.raises(IdentityError, match=r"has no node\.json"):
        DataFolder(tmp_path / "new").open(cluster_id="tests", node_id="n1", bootstrap_disk_id=None)
    with pytest.raises(TargetTaken, match="can be deleted"):
        disaster.restore(tmp_path / "new")
    shutil.rmtree(tmp_path / "new")
    disaster.restore(tmp_path / "new")


async def test_i2_a_copy_of_a_running_nodes_folder_has_what_was_acknowledged(
    disaster: Disaster, tmp_path: Path
) -> None:
    """What the disk knows of commitment comes later than the acknowledgement."""
    async with running(disaster.place, bootstrap=False) as node:
        await node.become_ready()
        async with garbagetruck.connect(disaster.place.api) as truck:
            late = [await truck.acquire(f"late/{number}", holder="tests", ttl=60.0) for number in range(5)]
            shutil.copytree(disaster.source, tmp_path / "copy")
    (tmp_path / "copy" / "lock").unlink()
    restored = disaster.restore(tmp_path / "new", source=tmp_path / "copy")
    assert restored.holds.leases == 21 + len(late)
    assert all(restored.source.state.leases.get(lease.id) for lease in late)
    print(f"{restored.source.entries_beyond_commit} entries were not known to be committed")


def test_every_error_of_a_recovery_is_one_of_its_kind() -> None:
    kinds = {NothingToRestore, SourceInUse, SourceForeign, SourceUnreadable, TargetTaken, IncarnationTaken, LevelTooLow}
    kinds |= {SourceStillWritten, SourceAway, SourceDamaged}
    assert set(RecoveryError.__subclasses__()) == kinds


async def test_i9_resuming_one_namespace_resumes_nothing(disaster: Disaster, tmp_path: Path) -> None:
    disaster.restore(tmp_path / "new")
    disaster.serve_from(tmp_path / "new")
    async with running(disaster.place, bootstrap=False) as node:
        await node.become_ready()
        async with garbagetruck.connect(disaster.place.api) as truck:
            with pytest.raises(PreconditionFailed):
                await truck.cleanups.resume()  # the namespace alone was never paused
