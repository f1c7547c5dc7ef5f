"""The lock of a root and its table of tokens."""

import random
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handlers.file import fence
from garbagetruck.cluster.cleanup.handlers.file.fence import Fence, FenceBusyError, FenceUnusableError, OvertakenError

HERE = {"path": "42"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


def the_fence(root: Path) -> Path:
    (found,) = root.glob(".garbagetruck-fence-*")
    return found


def test_i5_a_lower_token_is_refused_and_an_equal_one_is_a_retry(root: Path) -> None:
    one, other = Fence(str(root), "c"), Fence(str(root), "c")
    with one.held() as table:
        assert table.admit("file:/x", 10) is None
        table.note("file:/x", b"12345678")
    with other.held() as table:
        assert table.admit("file:/x", 10) == b"12345678"
        with pytest.raises(OvertakenError):
            table.admit("file:/x", 9)
        assert table.admit("file:/x", 11) == b"12345678", "the note outlives the next attempt's arrival"
        assert table.admit("file:/y", 1) is None
    one.close()
    other.close()


def test_i5_a_full_bucket_forgets_the_oldest_and_stays_safe(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "BUCKETS", 1)
    one = Fence(str(root), "c")
    with one.held() as table:
        for token in range(1, fence.ENTRIES_PER_BUCKET + 3):
            table.admit(f"file:/{token}", token)
        for forgotten in (1, 2):
            with pytest.raises(OvertakenError):
                table.admit(f"file:/{forgotten}", forgotten - 1)
        with pytest.raises(OvertakenError):
            table.admit("file:/never-seen", 1)
        assert table.admit("file:/never-seen", 100) is None, "a new claim's token is higher than all"
        assert table.admit("file:/7", 7) is None, "what is remembered is compared with itself alone"
    one.close()


def test_the_table_agrees_with_a_plain_dictionary(root: Path, seed: int) -> None:
    draw = random.Random(seed)
    one, seen = Fence(str(root), "c"), dict[str, int]()
    with one.held() as table:
        for _ in range(5_000):
            target, token = f"file:/{draw.randrange(2_000)}", draw.randrange(1, 1 << 53)
            overtaken = token < seen.get(target, 0)
            try:
                table.admit(target, token)
            except OvertakenError:
                assert overtaken
            else:
                assert not overtaken
                seen[target] = token
    one.close()


def test_a_lock_is_one_across_descriptors_and_ends_with_them(root: Path) -> None:
    one, other = Fence(str(root), "c"), Fence(str(root), "c")
    with one.held():
        with pytest.raises(FenceBusyError, match="another process"), other.held():
            pass
        with Fence(str(root), "another cluster").held():
            pass
    with other.held():
        pass
    other.close()
    with pytest.raises(FenceBusyError, match="stopped"), other.held():
        pass
    one.close()


def test_a_fence_emptied_by_a_loss_of_power_begins_anew_and_a_foreign_one_is_refused(root: Path) -> None:
    one = Fence(str(root), "c")
    with one.held():
        pass
    one.close()
    size = the_fence(root).stat().st_size
    the_fence(root).write_bytes(bytes(size))
    other = Fence(str(root), "c")
    with other.held() as table:
        table.admit("file:/x", 1)
    other.close()
    the_fence(root).write_bytes(b"garbagetruck fence 2\n")
    foreign = Fence(str(root), "c")
    for _ in range(2):
        with pytest.raises(FenceUnusableError), foreign.held():
            pass
    foreign.close()


def test_a_link_in_the_fences_place_is_not_followed(root: Path, tmp_path: Path) -> None:
    one = Fence(str(root), "c")
    with one.held():
        pass
    one.close()
    path = the_fence(root)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), Fence(str(root), "c").held():
        pass
    assert not (tmp_path / "elsewhere").exists()
