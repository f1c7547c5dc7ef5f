"""Opens a journal: reads all of it, and decides between a torn end, which is cut off, and damage, which is refused.

Duty: give back exactly the records that were written, up to a place behind everything that was ever durable; leave the
journal such that the next record can be appended.

How the two are told apart: a group is written only once all before it is durable. So a record that is not whole was
never acknowledged if it lies in the last segment's last group; and it does, unless a later group's mark is found behind
it. Everything else that does not fit was durable once, and must not be done without. What cannot be told apart is damage
to the very last group of all, after it was acknowledged and before another was written; the writer writes one every
second in which anything changed.

What was read is synced before it is believed: after the death of a process it may be in the kernel's memory only. The
last group is written again before that: if its sync failed, the kernel takes it for written, and a sync alone would
succeed without having done anything (https://wiki.postgresql.org/wiki/Fsync_Errors). All groups before it were synced.

Invariants: a refusal changes nothing. What is changed is changed again, the same, if this is interrupted and repeated.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import structlog

from garbagetruck.cluster.raft.disk import DiskFile
from garbagetruck.cluster.raft.errors import JournalDamaged, JournalForeign, JournalTooNew
from garbagetruck.cluster.raft.journal.format import (
    FORMAT,
    HEADER_BYTES,
    MARK_BYTES,
    ForeignFormat,
    SegmentHeader,
    decode_header,
)
from garbagetruck.cluster.raft.journal.replay import Impossible, Replay, Tip
from garbagetruck.cluster.raft.journal.scan import SegmentEnd, look_behind, read_records
from garbagetruck.cluster.raft.journal.segments import (
    SUFFIX,
    UNFINISHED,
    Active,
    Owner,
    Segment,
    Site,
    begin_segment,
    name_of,
    telling,
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """A journal as it was found, ready to be appended to."""

    replay: Replay
    sealed: Sequence[Segment]
    active: Active


@dataclass(frozen=True, slots=True)
class _Found:
    """A segment whose header is whole."""

    path: Path
    file: DiskFile
    header: SegmentHeader
    seed: int


def recover(site: Site, *, keep_from: int) -> Recovered:
    """Open the journal at `site`, or begin one where there is none. Entries below `keep_from` are not kept.

    Raises StorageRefused for what must not be served, and DiskFailed.
    """
    with ExitStack() as opened, telling("reading", site.folder):
        try:
            if site.disk.make_folder(site.folder):
                site.disk.sync_folder(site.folder.parent)
        except FileExistsError as error:
            raise JournalDamaged(site.folder, "it is a file, and should be a folder of segments") from error
        names = site.disk.names(site.folder)
        found = _open_segments(site, names, opened)
        replay, sealed, end = _read_all(found, keep_from)
        # All was read and found good. Only now is anything changed.
        for name in names:
            if name.endswith(UNFINISHED):
                site.disk.unlink(site.folder / name)
        site.disk.sync_folder(site.folder)
        if end is None:
            header = SegmentHeader(site.owner.cluster_id, site.owner.disk_id, 1, 1, 0, 0, 0, site.make_nonce())
            return Recovered(replay, sealed, begin_segment(site, header, replay.tip))
        _cut(found[-1], end, replay, site.owner)
    last = found[-1]
    with telling("opening", last.path):
        file = site.disk.open(last.path)
        segment = Segment(last.path, last.header.sequence, end.offset, replay.highest_index)
        return Recovered(replay, sealed, Active(segment, file, last.seed, end.chain, end.groups, file.size()))


def read(site: Site, *, keep_from: int) -> Replay:
    """What a journal holds up to a torn end, changing nothing. It must not be in use. Entries below `keep_from` are not kept.

    Raises as `recover` does.
    """
    with ExitStack() as opened, telling("reading", site.folder):
        return _read_all(_open_segments(site, site.disk.names(site.folder), opened), keep_from)[0]


def _open_segments(site: Site, names: Sequence[str], opened: ExitStack) -> list[_Found]:
    """All segments in their order, to be closed with `opened`."""
    found: list[_Found] = []
    for name in names:
        if name.endswith(SUFFIX):
            file = site.disk.open(site.folder / name)
            opened.callback(file.close)
            found.append(_read_header(file, site.owner))
    _check_order(site.folder, found)
    return found


def _read_all(found: Sequence[_Found], keep_from: int) -> tuple[Replay, list[Segment], SegmentEnd | None]:
    if not found:
        return Replay(Tip(), keep_from), [], None
    first = found[0].header
    replay = Replay(Tip(next_index=first.first_index, previous_term=first.previous_term), keep_from)
    sealed = [_read_sealed(each, successor.header, replay) for each, successor in pairwise(found)]
    return replay, sealed, _read_last(found[-1], replay)


def _read_header(file: DiskFile, owner: Owner) -> _Found:
    path = file.path
    try:
        header, seed = decode_header(file.read(HEADER_BYTES, 0))
    except ValueError as error:
        raise JournalDamaged(path, str(error), 0) from error
    except ForeignFormat as error:
        raise JournalTooNew(path, found=error.found, known=FORMAT) from error
    if path.name != name_of(header.sequence, header.first_index):
        raise JournalDamaged(path, f"by its header its name is {name_of(header.sequence, header.first_index)}", 0)
    if (header.cluster_id, header.disk_id) != (owner.cluster_id, owner.disk_id):
        raise JournalForeign(
            path,
            found=f"cluster {header.cluster_id}, disk {header.disk_id}",
            expected=f"cluster {owner.cluster_id}, disk {owner.disk_id}",
        )
    return _Found(path, file, header, seed)


def _check_order(folder: Path, found: Sequence[_Found]) -> None:
    for one, other in pairwise(found):
        if other.header.sequence != one.header.sequence + 1:
            raise JournalDamaged(folder, f"segment {one.header.sequence + 1} is missing, before {other.path.name}")
    if found and found[0].header.sequence == 1 and found[0].header.first_index != 1:
        raise JournalDamaged(found[0].path, "it is the first segment, and does not begin with the first entry", 0)


def _read_sealed(found: _Found, successor: SegmentHeader, replay: Replay) -> Segment:
    """Read a segment of which its successor says where it ends."""
    end = _read(found, replay, until=successor.previous_end)
    if (end.offset, end.chain) != (successor.previous_end, successor.previous_chain):
        raise JournalDamaged(found.path, "a record is not what was written, and more was written after it", end.offset)
    if (replay.tip.next_index, replay.tip.previous_term) != (successor.first_index, successor.previous_term):
        raise JournalDamaged(
            found.path,
            f"it ends with entry {replay.tip.next_index - 1}, and its successor begins with {successor.first_index}",
        )
    return Segment(found.path, found.header.sequence, end.offset, replay.highest_index)


def _read_last(found: _Found, replay: Replay) -> SegmentEnd:
    """Read the last segment, and refuse it unless what is not whole at its end can only be torn."""
    end = _read(found, replay)
    if end.offset <= HEADER_BYTES + MARK_BYTES:
        # It was durable before the segment got its name.
        raise JournalDamaged(found.path, "its first record is not what was written", HEADER_BYTES)
    later_mark = look_behind(found.file, end, found.seed).later_mark
    if later_mark is not None:
        raise JournalDamaged(
            found.path,
            f"a record is not what was written, and more was written after it, at offset {later_mark}",
            end.offset,
        )
    if replay.is_sealed:
        raise JournalDamaged(
            found.path.parent,
            f"segment {found.header.sequence + 1} is missing: {found.path.name} was sealed when that one was begun",
        )
    return end


def _cut(found: _Found, end: SegmentEnd, replay: Replay, owner: Owner) -> None:
    """Have nothing lie behind the end of the last segment, and all before it be durable."""
    if not look_behind(found.file, end, found.seed).is_empty:
        _log.warning(
            "journal_tail_cut",
            file=str(found.path),
            offset=end.offset,
            last_index=replay.tip.next_index - 1,
            disk_id=owner.disk_id,
            why="a write was under way when the node ended; nothing in it had been acknowledged",
        )
        found.file.truncate(end.offset)
    found.file.write(found.file.read(end.offset - end.last_group, end.last_group), end.last_group)
    found.file.sync_all()


def _read(found: _Found, replay: Replay, *, until: int | None = None) -> SegmentEnd:
    """Replay a segment's records, and say where they end."""
    replay.begin_segment(found.header.first_index)
    try:
        end = read_records(found.file, found.seed, replay.apply, until=until)
    except Impossible as error:
        raise JournalDamaged(found.path, f"its records contradict each other: {error}") from error
    replay.note_highest()
    return end
