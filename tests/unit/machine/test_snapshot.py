"""Snapshots: what is restored is the same machine, now and for ever after; what is damaged is refused."""

import random
import zlib
from collections.abc import Callable, Iterator

import msgspec
import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import capture, snapshot
from garbagetruck.cluster.machine.capture import Capture
from garbagetruck.cluster.machine.codec import FormatTooNew, Unreadable
from garbagetruck.cluster.machine.features import LEVEL_NEWEST
from garbagetruck.cluster.machine.kinds import Kind
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Bounds, BrakeSettings, CleanupSettings, ReportResult, Resource
from garbagetruck.cluster.machine.outcomes import CleanupClaimed, Reason
from garbagetruck.cluster.machine.questions import LeaseFilter
from garbagetruck.cluster.machine.state import State
from tests.unit.machine import integrity
from tests.unit.machine.chorus import Chorus
from tests.unit.machine.integrity import restored, state_of
from tests.unit.machine.scribe import Scribe, accepted, file, refused
from tests.unit.machine.walker import Walker


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin()


def chunks_of(machine: Machine) -> list[bytes]:
    return list(capture.write(state_of(machine), applied_index=42, term=7))


def steps(capture: Capture, rows_max: int) -> Iterator[bytes]:
    while (chunk := capture.step(rows_max)) is not None:
        yield chunk


def fork(log: Scribe) -> Scribe:
    """The same log, written on with a machine that was restored here."""
    return Scribe(restored(log.machine), log.at_ms, log.epoch, drawn=log.drawn)


# -- the same machine ---------------------------------------------------------------------------------------------


def test_an_empty_machine_survives() -> None:
    machine = Machine()
    assert restored(machine).digest() == machine.digest()


def test_the_header_tells_what_it_is_of(log: Scribe) -> None:
    header, _ = snapshot.read(chunks_of(log.machine))
    assert (header.applied_index, header.term, header.cluster_id, header.incarnation) == (42, 7, "cluster-1", 1)
    assert (header.clock_ms, header.epoch, header.digest) == (log.machine.clock_ms, 1, log.machine.digest())


def test_a_machine_restored_anywhere_in_a_history_goes_on_the_same(seed: int) -> None:
    """Also with a backlog: the chorus compares outcomes, digests and backlogs after every further batch."""
    rng = random.Random(seed)
    with_backlog = histories = 0
    while histories < 4 or not with_backlog:
        histories += 1
        assert histories < 40, f"seed {seed} meets no backlog, so it proves nothing about one"
        chorus = Chorus()
        walker = Walker(chorus, random.Random(rng.getrandbits(32)))
        walker.begin()
        for _ in range(150):
            if chorus.leader.sweep_backlog() or rng.random() < 0.1:
                with_backlog += chorus.leader.sweep_backlog()
                chorus.add_late_one()
                integrity.check(chorus.late[-1])
            walker.step()


def test_a_restored_machine_answers_every_question_alike(log: Scribe) -> None:
    session = log.session("ann", 60_000)
    for number in range(30):
        log.lease(f"r{number}", "ann", session=session.id, cleanup=file(f"f{number}"))
        log.release(log.lease(f"d{number}", "bob", cleanup=file(f"g{number}")).id)
        log.at_ms += 10
    log.claim("d3")
    log.one(log.holding("d4"))
    other, now = restored(log.machine), log.at_ms
    for machine in (other, log.machine):
        assert machine.summary() == log.machine.summary()
        assert machine.members() == log.machine.members()
        assert machine.namespaces() == log.machine.namespaces()
        assert machine.usage("default") == log.machine.usage("default")
        assert machine.ready(100) == log.machine.ready(100)
        assert machine.events_after(0, 10_000) == log.machine.events_after(0, 10_000)
        assert machine.leases(LeaseFilter("default"), 0, 100, now) == log.machine.leases(
            LeaseFilter("default"), 0, 100, now
        )
        assert machine.cleanups(None, None, 0, 100) == log.machine.cleanups(None, None, 0, 100)
        assert machine.session(session.id, now) == log.machine.session(session.id, now)


def test_what_waits_longest_is_known_after_a_restore_too(log: Scribe) -> None:
    """`oldest_overdue_cleanup_seconds` must not look better because a node was restored."""
    late, early = log.lease("made first", cleanup=file("a")), log.lease("made second", cleanup=file("b"))
    log.release(early.id)
    due_ms = log.at_ms
    log.at_ms += 5_000
    log.release(late.id)
    for machine in (log.machine, restored(log.machine)):
        assert machine.summary().oldest_due_ms == due_ms
        assert [each.name for each in machine.ready(10)] == ["made second", "made first"]


def test_a_retry_that_is_due_behind_a_backlog_makes_no_difference() -> None:
    """A restored node knows at once that the wait is over; a node with a backlog has yet to come to it. They must
    agree all the same on when the sweep has caught up, for claims depend on it."""
    log = Scribe().begin(cleanup=CleanupSettings(grace_ms_min=0, retry_delay_ms_min=1_000))
    log.release(log.lease("x", cleanup=file("x")).id)
    log.release(log.lease("retried", cleanup=file("r")).id)
    claim = log.claim("retried")
    log.one(log.reporting(claim.token, ReportResult.FAILED, "retried"))
    wait_ms = log.resource("retried").due_ms - log.at_ms
    log.bounds(Bounds(expirations_per_batch_max=1))
    for number in range(2):
        log.lease(f"l{number}", ttl_ms=wait_ms - 2 + number)
    log.at_ms += wait_ms
    log.many()
    assert log.machine.sweep_backlog()
    other = fork(log)
    for machine in (log, other):
        accepted(machine.one(machine.claiming("x")), CleanupClaimed)
    assert other.machine.digest() == log.machine.digest()


def test_the_brakes_memory_survives() -> None:
    log = Scribe().begin(brake=BrakeSettings(holders_min=3))
    for number in range(3):
        log.lease(f"r{number}", f"h{number}", ttl_ms=1_000 + 100 * (number == 2), cleanup=file(f"f{number}"))
    log.outlast(1_000)
    early = fork(log)
    for one in (log, early):
        one.outlast(100)
        assert one.machine.summary().braked == ("default",)
    assert early.machine.digest() == log.machine.digest()
    late = fork(log)
    for one in (log, late):
        one.lease("back", "h0")
        assert one.machine.summary().braked == ()
    assert late.machine.digest() == log.machine.digest()


def test_the_digest_covers_the_brakes_memory() -> None:
    """Or two nodes could agree until the brake decides otherwise on one of them (I3)."""
    log = Scribe().begin(brake=BrakeSettings(holders_min=3))
    for number in range(4):
        log.lease(f"r{number}", f"h{number}", ttl_ms=1_000 + 100 * (number == 3), cleanup=file(f"f{number}"))
    log.outlast(1_000)
    spoils: list[Callable[[State], object]] = [
        lambda state: state.expired_holders["default"].pop("h1"),
        lambda state: state.brake_missing["default"].pop("h1"),
    ]
    for spoil in spoils:
        other = restored(log.machine)
        spoil(state_of(other))
        assert other.digest() != log.machine.digest()


def test_requests_are_still_answered_after_a_restore(log: Scribe) -> None:
    asked = log.acquiring(request_id="q")
    first = log.one(asked)
    other = fork(log)
    assert other.one(asked) == first
    refused(other.one(replace(asked, ttl_ms=1_000)), Reason.REQUEST_ID_REUSED)


def test_a_snapshot_of_many_chunks_survives(log: Scribe) -> None:
    for number in range(20):
        log.release(log.lease(f"r{number}", cleanup=file(f"f{number}")).id)
    chunks = list(steps(log.machine.capture(42), 3))
    assert len(chunks) > 20
    assert Machine(snapshot.read(chunks)[1]).digest() == log.machine.digest()


# -- damage -------------------------------------------------------------------------------------------------------

Damage = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda chunks: [],
        lambda chunks: chunks[:-1],
        lambda chunks: chunks[1:],
        lambda chunks: [*chunks, chunks[-1]],
        lambda chunks: [chunks[0], *chunks],
        lambda chunks: [*chunks[:2], *chunks[3:]],
        lambda chunks: [*chunks[:2], chunks[2], chunks[2], *chunks[3:]],
        lambda chunks: [chunks[0][:5], *chunks[1:]],
        lambda chunks: [b"", *chunks],
        lambda chunks: [chunks[0][:-1] + b"\0", *chunks[1:]],
    ],
)
def test_a_damaged_snapshot_is_refused(log: Scribe, damage: Damage) -> None:
    for number in range(5):
        log.release(log.lease(f"r{number}", cleanup=file(f"f{number}")).id)
    with pytest.raises(Unreadable):
        snapshot.read(damage(chunks_of(log.machine)))


def test_every_flipped_bit_is_noticed(log: Scribe, seed: int) -> None:
    log.lease(cleanup=file("a"))
    chunks, rng = chunks_of(log.machine), random.Random(seed)
    for _ in range(300):
        place = rng.randrange(len(chunks))
        spoilt = bytearray(chunks[place])
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        with pytest.raises(Unreadable):
            snapshot.read([*chunks[:place], bytes(spoilt), *chunks[place + 1 :]])


def forged(chunk: bytes, change: Callable[[list[object]], object]) -> bytes:
    """A chunk with other content under a right checksum: what a bug or a stranger could have written."""
    kind, rows = msgspec.msgpack.decode(zlib.decompress(chunk[snapshot.PREFIX.size :]))
    body = zlib.compress(msgspec.msgpack.encode([kind, change(rows)]))
    return snapshot.PREFIX.pack(len(body), zlib.crc32(body)) + body


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: [],
        lambda rows: rows[1:],
        lambda rows: list(reversed(rows)),
        lambda rows: [["a", "b"]],
        lambda rows: "rows",
        lambda rows: [[*row, "a field of the future"] for row in rows],
    ],
)
def test_rows_that_do_not_belong_together_are_refused(log: Scribe, change: Callable[[list[object]], object]) -> None:
    for number in range(3):
        log.lease(f"r{number}", cleanup=file(f"f{number}"))
    chunks = chunks_of(log.machine)
    kinds = [msgspec.msgpack.decode(zlib.decompress(chunk[snapshot.PREFIX.size :]))[0] for chunk in chunks]
    for kind in (Kind.LEASES, Kind.RESOURCES):
        place = kinds.index(kind)
        spoilt = [*chunks[:place], forged(chunks[place], change), *chunks[place + 1 :]]
        with pytest.raises(Unreadable):
            snapshot.read(spoilt)


@pytest.mark.parametrize("change", [lambda rows: [], lambda rows: [*rows, *rows], lambda rows: [1]])
def test_a_snapshot_has_exactly_one_header(log: Scribe, change: Callable[[list[object]], object]) -> None:
    chunks = chunks_of(log.machine)
    with pytest.raises(Unreadable):
        snapshot.read([forged(chunks[0], change), *chunks[1:]])


def test_two_owners_of_one_target_are_damage(log: Scribe) -> None:
    """And no failure of the index, which is built before the digest is known."""
    for number in range(2):
        log.lease(f"r{number}", cleanup=file(f"f{number}"))
    chunks = chunks_of(log.machine)
    kinds = [msgspec.msgpack.decode(zlib.decompress(chunk[snapshot.PREFIX.size :]))[0] for chunk in chunks]
    place = kinds.index(Kind.RESOURCES)

    def one_target_for_all(rows: list[object]) -> object:
        resources = [msgspec.convert(row, Resource) for row in rows]
        return [replace(each, cleanup=file("f0")) for each in resources]

    with pytest.raises(Unreadable, match="own one target"):
        snapshot.read([*chunks[:place], forged(chunks[place], one_target_for_all), *chunks[place + 1 :]])


def test_a_later_format_is_told_from_damage(log: Scribe) -> None:
    chunks = chunks_of(log.machine)

    def later(rows: list[object]) -> object:
        (header,) = rows
        assert isinstance(header, dict)
        return [{**header, "format": LEVEL_NEWEST + 1, "more": 1}]

    with pytest.raises(FormatTooNew):
        snapshot.read([forged(chunks[0], later), *chunks[1:]])


def test_a_chunk_cannot_unpack_to_more_than_its_bound(log: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "CHUNK_BYTES_MAX", 1_000)
    bomb = zlib.compress(b"\0" * 1_000_000)
    with pytest.raises(Unreadable, match="larger than"):
        snapshot.read([snapshot.PREFIX.pack(len(bomb), zlib.crc32(bomb)) + bomb])
