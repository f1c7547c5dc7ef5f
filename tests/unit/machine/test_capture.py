"""A capture is of one moment, whatever is applied between its parts, and costs what was asked for at a time (I3)."""

import random

import pytest
from typing_extensions import override

from garbagetruck.cluster.machine import snapshot
from garbagetruck.cluster.machine.capture import Capture
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import BrakeSettings, CleanupSettings
from tests.unit.machine import integrity
from tests.unit.machine.chorus import Chorus
from tests.unit.machine.integrity import state_of
from tests.unit.machine.scribe import Scribe, file
from tests.unit.machine.walker import Walker


def rest_of(capture: Capture, rows_max: int = 1_000) -> list[bytes]:
    chunks = []
    while (chunk := capture.step(rows_max)) is not None:
        chunks.append(chunk)
    return chunks


class Alone(Chorus):
    """Without late ones: they come from captures, of which there is one at a time."""

    @override
    def add_late_one(self) -> None:
        return


def is_captured(machine: Machine) -> bool:
    tables = [getattr(state_of(machine), name) for name in integrity.TABLES]
    return any(getattr(table, "_view", None) is not None for table in tables)


def test_i3_a_capture_is_of_its_moment_whatever_is_applied_between_its_parts(seed: int) -> None:
    """Every step of random histories may begin one; some are given up half-way, most are read in steps of a few rows."""
    rng = random.Random(seed)
    changed = taken = 0
    for _ in range(6):
        chorus = Alone()
        walker = Walker(chorus, random.Random(rng.getrandbits(32)))
        walker.begin()
        for _ in range(60):
            walker.step()
        for _ in range(40):
            machine = chorus.leader
            digest, bytes_then = machine.digest(), rest_of(machine.capture(9))
            capture = machine.capture(9)
            chunks: list[bytes] = []
            pace, rows_max = rng.choice((0, 1, 3)), rng.choice((1, 2, 7))
            while (chunk := capture.step(rows_max)) is not None:
                chunks.append(chunk)
                for _ in range(pace):
                    if rng.random() < 0.3:
                        walker.step()
                if rng.random() < 0.005:
                    break
            else:
                header, state = snapshot.read(chunks)
                restored = Machine(state)
                assert restored.digest() == header.digest == digest
                assert rest_of(restored.capture(9)) == bytes_then, "the same rows in the same order"
                integrity.check(restored)
                taken += 1
                changed += machine.digest() != digest
            capture.end()
            assert not is_captured(machine)
            integrity.check(machine)
            walker.step()
    assert changed > taken // 4, f"seed {seed}: nothing was applied meanwhile, so it proves nothing"


@pytest.mark.parametrize("rows_max", [1, 2, 5, 1_000])
def test_no_part_has_more_rows_than_were_asked_for(rows_max: int) -> None:
    log = Scribe().begin()
    for number in range(20):
        log.lease(f"r{number}", cleanup=file(f"f{number}"))
    capture = log.machine.capture(1)
    for lease in list(state_of(log.machine).leases)[:15]:
        log.release(lease)  # what is gone counts like what is there
    parts = []
    while (part := capture.part(rows_max)) is not None:
        assert 0 < len(part.rows) <= rows_max
        parts.append(part)
    _, state = snapshot.read(part.encoded() for part in parts)
    assert len(state.leases) == 20


def test_what_was_read_and_what_is_new_is_not_set_aside() -> None:
    log = Scribe().begin()
    first = log.lease("first")
    view = state_of(log.machine).leases.view()
    log.renew(first.id, ttl_ms=20_000)
    log.at_ms += 1
    log.renew(first.id, ttl_ms=30_000)
    assert len(view._aside) == 1
    assert [row.ttl_ms for row in view.read(10)] == [first.ttl_ms]
    log.renew(first.id, ttl_ms=40_000)
    log.release(log.lease("second").id)
    log.release(first.id)
    assert (view._aside, view._gone) == ({}, [])
    assert view.read(10) == []


def test_one_capture_at_a_time_and_none_after_its_end() -> None:
    log = Scribe().begin()
    capture = log.machine.capture(1)
    with pytest.raises(AssertionError, match="one view"):
        log.machine.capture(1)
    capture.end()
    assert capture.step() is None
    assert rest_of(log.machine.capture(2))
    assert rest_of(log.machine.capture(3)), "one that was read to its end is out of the way"


def test_a_name_that_ends_and_begins_again_meanwhile_is_captured_in_its_first_life() -> None:
    log = Scribe().begin(cleanup=CleanupSettings(grace_ms_min=0), brake=BrakeSettings(enabled=False))
    log.release(log.lease("buried", cleanup=file("b")).id)
    log.one(log.reporting(log.claim("buried").token, name="buried"))
    lease = log.lease("again")
    digest = log.machine.digest()
    capture = log.machine.capture(1)
    log.release(lease.id)
    log.lease("again", cleanup=file("a"))
    log.lease("buried")
    header, state = snapshot.read(rest_of(capture, 1))
    assert header.digest == digest
    assert state.resources["default", "again"].cleanup is None
    assert ("default", "buried") in state.tombstones
