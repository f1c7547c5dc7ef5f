"""Any bytes in the log give an answer: never an exception, but for an entry of a later version."""

import contextlib
import random
from collections.abc import Iterator

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import example, given, settings
from msgspec.structs import replace

from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.codec import FormatTooNew, Unreadable
from garbagetruck.cluster.machine.model import ReportResult
from garbagetruck.cluster.machine.operations import BATCH_FORMAT, Batch, EnterEpoch, Operation
from garbagetruck.cluster.machine.outcomes import LeaseGranted, Reason
from tests.unit.machine import integrity
from tests.unit.machine.chorus import Chorus
from tests.unit.machine.scribe import Scribe, accepted, file, refused
from tests.unit.machine.walker import OPERATIONS, Walker

INTEGERS = (0, -1, 1 << 31, 1 << 53, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63))


def feed(log: Scribe, payload: bytes) -> None:
    """Apply; a refused entry must leave no trace, an accepted one a sound state."""
    digest = log.machine.digest()
    try:
        applied = log.machine.apply(payload)
    except FormatTooNew:
        assert log.machine.digest() == digest
        return
    if applied.refused is not None:
        assert applied.outcomes == ()
        assert applied.refused.reason in (Reason.INVALID_ARGUMENT, Reason.STALE_EPOCH)
        assert log.machine.digest() == digest
    integrity.check(log.machine)


def busy() -> Scribe:
    """A state with something of everything."""
    log = Scribe().begin()
    session = log.session("ann")
    log.lease("live", "ann", session=session.id, cleanup=file("live"))
    log.release(log.lease("r", cleanup=file("a")).id)
    log.claim("r")
    log.release(log.lease("due", cleanup=file("due")).id)
    log.one(log.holding("live"))
    log.one(log.acquiring("asked", request_id="q"))
    return log


@given(st.binary(max_size=300))
@example(b"")
@example(b"\xc1")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x96\x01\x01\x00\xa1n\x01\xdd\xff\xff\xff\xff")
@example(b"\x91" * 10_000)
@example(b"\x81\x01" * 10_000)
@example(b"\x96\x01\x01\x00\xa3\xed\xa0\x80\x01\x90")
@example(b"\x96\xcf\xff\xff\xff\xff\xff\xff\xff\xff")
@settings(max_examples=300)
def test_arbitrary_bytes_are_answered(payload: bytes) -> None:
    feed(Scribe().begin(), payload)


def test_damaged_batches_are_answered(seed: int) -> None:
    """Real batches with bytes changed, cut, doubled or swapped, and every integer made absurd."""
    rng = random.Random(seed)
    walker = Walker(Chorus(), rng)
    walker.begin()
    for _ in range(60):
        walker.step()
    log = Scribe(machine=walker.chorus.leader)
    for _ in range(1_500):
        operations = tuple(walker.draft(rng.choice(OPERATIONS)) for _ in range(rng.randrange(1, 3)))
        batch = Batch(BATCH_FORMAT, walker.epoch, walker.at_ms, "n1", 1, operations)
        feed(log, damaged(rng, codec.encode_batch(batch)))


def damaged(rng: random.Random, payload: bytes) -> bytes:
    if rng.random() < 0.5:
        return msgspec.msgpack.encode(with_absurd_values(rng, msgspec.msgpack.decode(payload)))
    spoilt = bytearray(payload)
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(spoilt))
        match rng.randrange(4):
            case 0:
                spoilt[place] = rng.randrange(256)
            case 1:
                del spoilt[place:]
                spoilt.append(0x90)
            case 2:
                spoilt[place:place] = spoilt[place : place + 8]
            case _:
                spoilt[place] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def with_absurd_values(rng: random.Random, value: object) -> object:
    if isinstance(value, list):
        return [with_absurd_values(rng, each) for each in value]
    if rng.random() < 0.8:
        return value
    if isinstance(value, int):
        return rng.choice(INTEGERS)
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, 1e308, float("inf"), float("nan"), 5e-324))
    if isinstance(value, str):
        return rng.choice(("", "\0", "x" * 5_000, "\u202e", "\U0001f980", "file:", "file:/", "/", "\ud7ff"))
    return value


@given(data=st.data(), name=st.sampled_from(sorted(set(OPERATIONS))))
@settings(max_examples=150)
def test_every_number_of_every_operation_may_be_absurd(data: st.DataObject, name: str) -> None:
    walker = Walker(Chorus(), random.Random(7))
    walker.begin()
    walker.draft("acquire")
    plain = msgspec.to_builtins(walker.draft(name))
    numbers = list(places_of_numbers(plain))[1:]
    if numbers:
        *way, last = data.draw(st.sampled_from(numbers))
        inner = plain
        for place in way:
            inner = inner[place]
        inner[last] = data.draw(st.sampled_from(INTEGERS))
    log = Scribe(machine=walker.chorus.leader)
    following = [msgspec.to_builtins(walker.draft(each)) for each in ("acquire", "open_session", "claim")]
    for at_ms in (1_000, data.draw(st.sampled_from(INTEGERS)), 1_000):
        feed(log, msgspec.msgpack.encode([BATCH_FORMAT, 1, at_ms, "n1", 1, [plain, *following]]))


def places_of_numbers(value: object, way: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    if isinstance(value, list | tuple):
        for place, each in enumerate(value):
            yield from places_of_numbers(each, (*way, place))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield way


def test_a_later_format_ends_the_node_rather_than_be_guessed_at() -> None:
    log = busy()
    good = msgspec.msgpack.decode(codec.encode_batch(Batch(BATCH_FORMAT, 1, 1_000, "n1", 1, (EnterEpoch("n1"),))))
    digest = log.machine.digest()
    for later in ([BATCH_FORMAT + 1, *good[1:]], [BATCH_FORMAT + 1, "another", "shape"], [BATCH_FORMAT + 1]):
        with pytest.raises(FormatTooNew):
            log.machine.apply(msgspec.msgpack.encode(later))
    assert log.machine.digest() == digest


@pytest.mark.parametrize("number", [0, -1])
def test_a_format_that_never_was_is_no_batch(number: int) -> None:
    log = busy()
    applied = log.machine.apply(codec.encode_batch(Batch(number, 1, 1_000, "n1", 1, (log.acquiring(),))))
    assert applied.refused is not None


@pytest.mark.parametrize("where", ["batch", "operation"])
def test_a_field_that_this_version_does_not_know_is_no_guess(where: str) -> None:
    """A later version appends fields, and may write them once all nodes know them: to drop one would be divergence."""
    log = busy()
    plain = msgspec.msgpack.decode(codec.encode_batch(Batch(BATCH_FORMAT, 1, 1_000, "n1", 1, (log.acquiring("new"),))))
    if where == "batch":
        plain.append("more")
    else:
        plain[5][0].append("more")
    applied = log.machine.apply(msgspec.msgpack.encode(plain))
    assert applied.refused is not None
    assert log.machine.resource("default", "new") is None


def test_an_unknown_operation_spoils_its_batch_alike_on_every_node() -> None:
    log = busy()
    good = msgspec.to_builtins(log.acquiring("new"))
    applied = log.machine.apply(msgspec.msgpack.encode([BATCH_FORMAT, 1, 1_000, "n1", 1, [good, [99, "x"]]]))
    assert applied.refused is not None
    assert log.machine.resource("default", "new") is None


def test_claims_and_reports_of_any_shape_are_answered() -> None:
    """They come from the leader and pass no door: `apply` is all that stands before the state."""
    log = busy()
    claiming, token = log.claiming("due"), 1
    odd: list[Operation] = []
    for number in INTEGERS:
        odd += [replace(claiming, **{field: number}) for field in ("generation", "revision", "duration_ms")]
        odd.append(log.reporting(number, ReportResult.FAILED))
    for text in ("", "\0", "x" * 100_000, "\U0001f980"):
        odd += [replace(claiming, **{field: text}) for field in ("namespace", "resource", "executor", "identity")]
        odd.append(log.reporting(token, ReportResult.FAILED, name=text, error=text))
    for operation in odd:
        log.write(operation)
        integrity.check(log.machine)


def test_names_may_be_odd() -> None:
    log = Scribe().begin()
    namespace = log.namespace
    for name in (
        " ",
        "/",
        "a/b",
        "..",
        "\u202e",
        "\U0001f980",
        "Ａ",
        "é",
        "e\u0301",
        "\ue000",
        "\uffff",
        "%s{}",
        "'\"",
    ):
        # A namespace's own name becomes part of other things, and may not be.
        refusal = refused(log.one(log.setting(name)), Reason.INVALID_ARGUMENT)
        assert refusal.field == "namespace"
        log.namespace = namespace
        accepted(log.one(log.acquiring(name, name, request_id=name, labels=((name, name),))), LeaseGranted)
        integrity.check(log.machine)
    assert integrity.restored(log.machine).digest() == log.machine.digest()


def test_operations_and_outcomes_survive_the_way_between_nodes() -> None:
    log = busy()
    operations = (log.acquiring("x", cleanup=file("x")), log.renewing("a"), log.pausing())
    assert codec.decode_operations(codec.encode_operations(operations)) == operations
    outcomes = log.many(*operations)
    assert codec.decode_outcomes(codec.encode_outcomes(outcomes)) == outcomes


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_what_a_peer_sends_is_decoded_or_unreadable(payload: bytes) -> None:
    for decode in (codec.decode_operations, codec.decode_outcomes):
        with contextlib.suppress(Unreadable):
            decode(payload)


def test_a_peer_cannot_submit_what_only_a_leader_may_write() -> None:
    log = busy()
    with pytest.raises(Unreadable):
        codec.decode_operations(codec.encode_operations([log.claiming("due")]))
    with pytest.raises(Unreadable):
        codec.decode_operations(codec.encode_operations([EnterEpoch("n2")]))
