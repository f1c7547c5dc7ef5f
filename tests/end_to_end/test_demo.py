"""`make demo`: that it plays to its end and leaves nothing behind, and that its counting would not hide a failure."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from examples.upload_workflow.index_service import IndexService, open_database
from examples.upload_workflow.journal import Did, Journal
from examples.upload_workflow.pictures import DATABASE, FILES, GRACE_S, JOURNALS, Fate, fate_of
from examples.upload_workflow.png import SHRINK, SIDE, decode, paint, shrink
from examples.upload_workflow.verdict import judge, unreclaimed

Index = TestClient[web.Request, web.Application]

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 24
DEMO_S_MAX = 110.0
SECRET = "Bearer test"
END_S = 100.0
"""When, in the doctored folders, the last lease on each orphan ended."""


# -- a demo that was played -------------------------------------------------------------------------------------------


def start_demo(*arguments: str, scratch: Path) -> subprocess.Popen[str]:
    scratch.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "examples.upload_workflow", "--images", str(IMAGES), *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and any(str(folder) in part for part in process.info["cmdline"] or [])
    ]


@pytest.mark.slow
def test_i1_i4_the_demo_reclaims_every_orphan_and_nothing_in_use_and_its_folder_cannot_be_doctored(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "kept"
    demo = start_demo("--keep", str(folder), scratch=tmp_path / "scratch")
    out, told = demo.communicate(timeout=DEMO_S_MAX)
    print(told)
    assert demo.returncode == 0
    assert processes_of(folder) == []
    [line] = out.splitlines()
    said = json.loads(line)
    assert set(said) == {
        "resources",
        "orphans",
        "reclaimed",
        "in_use",
        "in_use_deleted",
        "leader_killed",
        "failover_ms",
        "reclaim_lateness_ms_p99",
    }
    drafts = sum(fate_of(number) is Fate.DRAFT for number in range(IMAGES))
    # Image, row and thumbnail of each, no thumbnail of a draft, nor of what was begun just before the kill.
    assert 60 <= said["resources"] <= 3 * IMAGES - drafts
    assert said["orphans"] == said["reclaimed"] > 0
    assert said["in_use"] == said["resources"] - said["orphans"] > 0
    assert said["in_use_deleted"] == 0
    assert said["leader_killed"] is True
    assert judge(folder).line() == line, "whoever counts again counts the same"

    draft = folder / FILES / "images" / "0000.png"
    draft.unlink()
    doctored = judge(folder)
    assert doctored.in_use_deleted == 1
    assert doctored.reasons[0] == "images/0000.png is in use, and was deleted"
    discarded = next(number for number in range(IMAGES) if fate_of(number) is Fate.DISCARDED)
    (folder / FILES / "images" / f"{discarded:04d}.png").write_bytes(b"back")
    doctored = judge(folder)
    assert doctored.reclaimed == doctored.orphans - 1
    assert "1 orphans are still there" in doctored.reasons


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_neither_process_nor_folder(tmp_path: Path, number: signal.Signals) -> None:
    scratch = tmp_path / "scratch"
    demo = start_demo(scratch=scratch)
    assert demo.stderr is not None
    for line in demo.stderr:
        if "makes thumbnails" in line:
            break
    assert len(processes_of(scratch)) >= 7, "three nodes, their supervisor, index, watcher, upload"
    demo.send_signal(number)
    demo.send_signal(number)  # an impatient second one must not interrupt the clearing up
    out, told = demo.communicate(timeout=DEMO_S_MAX)
    print(told)
    assert (demo.returncode, out) == (130, "")
    assert processes_of(scratch) == []
    assert list(scratch.iterdir()) == []


# -- folders that were made up ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A demo that went well: one published, one held and one discarded image, one row and one image of a killed service."""
    for thing in ("images/0001.png", "images/0002.png"):
        path = tmp_path / FILES / thing
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a picture")
    open_database(tmp_path / DATABASE).close()
    with Journal(tmp_path / JOURNALS / "upload.jsonl") as journal:
        for thing in ("images/0001.png", "images/0002.png", "images/0003.png"):
            journal.note(Did.LEASED, thing, at_s=1.0)
            journal.note(Did.CREATED, thing)
        journal.note(Did.KEEPING, "images/0001.png")
        journal.note(Did.KEPT, "images/0001.png")
        journal.note(Did.GIVING_BACK, "images/0003.png", at_s=END_S)
        journal.note(Did.GAVE_BACK, "images/0003.png")
    with Journal(tmp_path / JOURNALS / "killed.jsonl") as journal:
        for thing in ("images/0004.png", "rows/0004"):
            journal.note(Did.LEASED, thing, at_s=1.0)
            journal.note(Did.CREATED, thing)
        journal.note(Did.ALIVE, until_s=END_S)
    with Journal(tmp_path / JOURNALS / "play.jsonl") as journal:
        journal.note(Did.KILLED, "killed")
        journal.note(Did.LEADER_KILLED, "n1", at_s=50.0)
        journal.note(Did.ACQUIRED_AGAIN, "probe", at_s=50.75)
    for position, thing in enumerate(("images/0003.png", "images/0004.png", "rows/0004")):
        note_gone(tmp_path, thing, END_S + GRACE_S + 0.1 * (position + 1))
    return tmp_path


def note_gone(folder: Path, thing: str, at_s: float) -> None:
    with Journal(folder / JOURNALS / "watcher.jsonl") as journal:
        journal.note(Did.GONE, thing, at_s=at_s, until_s=at_s - 0.025)


def test_a_folder_in_which_all_went_well_passes(folder: Path) -> None:
    verdict = judge(folder)
    assert verdict.reasons == []
    assert json.loads(verdict.line()) == {
        "resources": 5,
        "orphans": 3,
        "reclaimed": 3,
        "in_use": 2,
        "in_use_deleted": 0,
        "leader_killed": True,
        "failover_ms": 750,
        "reclaim_lateness_ms_p99": 300,
    }
    assert round(verdict.resolution_ms) == 25


@pytest.mark.parametrize("thing", ["images/0001.png", "images/0002.png"])
def test_i1_a_missing_file_that_is_permanent_or_held_fails_it(folder: Path, thing: str) -> None:
    (folder / FILES / thing).unlink()
    verdict = judge(folder)
    assert verdict.in_use_deleted == 1
    assert f"{thing} is in use, and was deleted" in verdict.reasons


def test_i1_a_file_in_use_that_went_and_came_back_fails_it(folder: Path) -> None:
    note_gone(folder, "images/0002.png", 60.0)
    assert judge(folder).in_use_deleted == 1


def test_i1_an_orphan_that_went_before_its_last_lease_ended_fails_it(folder: Path) -> None:
    (folder / JOURNALS / "watcher.jsonl").unlink()
    note_gone(folder, "images/0003.png", END_S - 0.5)
    note_gone(folder, "images/0004.png", END_S - 0.5)
    note_gone(folder, "rows/0004", END_S + GRACE_S)
    assert judge(folder).in_use_deleted == 2


def test_an_orphan_that_went_within_its_grace_fails_it(folder: Path) -> None:
    (folder / JOURNALS / "watcher.jsonl").unlink()
    for thing in ("images/0003.png", "images/0004.png", "rows/0004"):
        note_gone(folder, thing, END_S + GRACE_S - 0.5)
    verdict = judge(folder)
    assert verdict.in_use_deleted == 0
    assert len([reason for reason in verdict.reasons if "before its grace was over" in reason]) == 3


def test_i4_a_file_or_row_that_stayed_fails_it(folder: Path) -> None:
    (folder / FILES / "images" / "0004.png").write_bytes(b"still there")
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.execute("INSERT INTO rows VALUES ('rows/0004', 'images/0004.png', 1)")
    assert unreclaimed(folder) == {"images/0004.png", "rows/0004"}
    verdict = judge(folder)
    assert (verdict.orphans, verdict.reclaimed) == (3, 1)
    assert "2 orphans are still there" in verdict.reasons


def test_a_file_that_was_only_renamed_is_not_reclaimed(folder: Path) -> None:
    (folder / FILES / "images" / ".garbagetruck-1234").write_bytes(b"a tombstone")
    (folder / FILES / ".garbagetruck-fence-1234").write_bytes(b"the handler's lock")
    assert judge(folder).reasons == ["removed by name only: .garbagetruck-1234"]


def test_a_file_that_nobody_leased_fails_it(folder: Path) -> None:
    (folder / FILES / "images" / "0009.png").write_bytes(b"whose")
    assert "images/0009.png was made without a lease" in judge(folder).reasons


def test_a_leader_that_was_not_killed_fails_it(folder: Path) -> None:
    (folder / JOURNALS / "play.jsonl").unlink()
    verdict = judge(folder)
    assert not verdict.leader_killed
    assert "no leader was killed" in verdict.reasons


@pytest.mark.parametrize("there", [True, False])
def test_what_a_killed_service_was_about_to_keep_may_be_there_or_not(folder: Path, *, there: bool) -> None:
    with Journal(folder / JOURNALS / "killed.jsonl") as journal:
        journal.note(Did.KEEPING, "images/0004.png")
    if there:
        (folder / FILES / "images" / "0004.png").write_bytes(b"kept after all")
        journals = folder / JOURNALS / "watcher.jsonl"
        lines = [line for line in journals.read_text().splitlines() if "images/0004" not in line]
        journals.write_text("".join(f"{line}\n" for line in lines))
    verdict = judge(folder)
    assert verdict.reasons == []
    assert verdict.in_use == (3 if there else 2)


# -- the services' own parts ------------------------------------------------------------------------------------------


def test_a_thumbnail_is_made_of_the_pictures_own_bytes() -> None:
    picture = paint(7)
    assert picture == paint(7) != paint(8)
    small = decode(shrink(picture))
    assert (len(small), len(small[0])) == (SIDE // SHRINK, SIDE // SHRINK)
    assert shrink(picture) != shrink(paint(8))
    for broken in (picture[:-30], b"text", picture.replace(b"IDAT", b"XXXX")):
        with pytest.raises(ValueError, match="not a"):
            decode(broken)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / DATABASE)) as opened:
        yield opened


@pytest.fixture
async def index(database: sqlite3.Connection) -> AsyncIterator[Index]:
    async with TestClient(TestServer(IndexService(database, SECRET).application())) as client:
        yield client


def asking(token: int, key: str = "k") -> dict[str, str]:
    return {"Authorization": SECRET, "Idempotency-Key": key, "GarbageTruck-Fencing-Token": str(token)}


async def write(index: Index, token: int) -> int:
    answer = await index.put("/rows/1", json={"image": "images/1", "fencing_token": token})
    return answer.status


def rows(database: sqlite3.Connection) -> list[tuple[str, int]]:
    return database.execute("SELECT name, fencing_token FROM rows").fetchall()


async def test_i5_a_late_delete_of_a_deposed_leader_is_refused(
    index: Index,
    database: sqlite3.Connection,
) -> None:
    assert await write(index, 10) == 204
    for token in (9, 10):
        assert (await index.delete("/cleanups/rows/1", headers=asking(token))).status == 412
    assert rows(database) == [("rows/1", 10)]
    assert await write(index, 9) == 412, "nor does a writer with an older lease overwrite it"
    assert (await index.delete("/cleanups/rows/1", headers=asking(11))).status == 204
    assert rows(database) == []


async def test_i6_a_repeated_delete_gets_the_first_answer_and_touches_nothing_new(
    index: Index,
    database: sqlite3.Connection,
) -> None:
    await write(index, 10)
    assert (await index.delete("/cleanups/rows/1", headers=asking(11))).status == 204
    await write(index, 12)
    assert (await index.delete("/cleanups/rows/1", headers=asking(13))).status == 204
    assert rows(database) == [("rows/1", 12)]
    assert (await index.delete("/cleanups/rows/1", headers=asking(14, "another"))).status == 204
    assert (await index.delete("/cleanups/rows/1", headers=asking(15, "one more"))).status == 404, "already gone"


async def test_only_the_cluster_may_delete(
    index: Index,
    database: sqlite3.Connection,
) -> None:
    await write(index, 10)
    assert (await index.delete("/cleanups/rows/1", headers={**asking(11), "Authorization": "x"})).status == 401
    assert (await index.delete("/cleanups/rows/1", headers={"Authorization": SECRET})).status == 400
    assert rows(database) == [("rows/1", 10)]
