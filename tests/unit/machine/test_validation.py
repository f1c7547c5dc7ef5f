"""What arguments may be: one table for the door and for `apply`, and bad ones leave no trace."""

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.brake_operations import CloseBreaker, SetFleetBrake
from garbagetruck.cluster.machine.brake_records import FleetSettings
from garbagetruck.cluster.machine.model import BrakeSettings, CleanupSpec
from garbagetruck.cluster.machine.operations import (
    AcquireLease,
    AddMember,
    ClientOperation,
    CloseSession,
    OpenSession,
    PauseCleanups,
    PlaceHold,
    RegisterMember,
    ReleaseHolder,
    ReleaseLeases,
    RenewLeases,
    RenewSessions,
    SetNamespace,
)
from garbagetruck.cluster.machine.outcomes import Reason, Refused
from garbagetruck.cluster.machine.validation import check_operation
from tests.unit.machine.scribe import Scribe, file, founder, member, refused

SPEC = file("a/b")
LOG = Scribe().begin()
LOG.one(RegisterMember(replace(founder(1), feature_level=4)))  # at a level that has all operations
ACQUIRE = LOG.acquiring("r", cleanup=SPEC, labels=(("k", "v"),), request_id="q")
OPEN = LOG.opening(request_id="q")
HOLD = LOG.holding()
SET = LOG.setting("team")
RENEW = LOG.renewing("lease-1")
PAUSE = LOG.pausing()
ADD = LOG.adding(member(4))
CLOSE = CloseBreaker(0, "", "ann", "http", "it is up again")
FLEET = SetFleetBrake(0, "", "ann", FleetSettings(holders_min=7), ("holders_min", "share"))
YEAR_MS = 365 * 86_400_000


def spec(target: str) -> CleanupSpec:
    return CleanupSpec("file", (), target)


def adding(**fields: str) -> AddMember:
    return replace(ADD, member=replace(ADD.member, **fields))


def many(count: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"{number:03}", "") for number in range(count))


GOOD: list[ClientOperation] = [
    ACQUIRE,
    OPEN,
    HOLD,
    SET,
    RENEW,
    PAUSE,
    ADD,
    LOG.removing("n4"),
    adding(id="N-4.x_y", raft="raft.example.com:1", peer="[::1]:65535", disk_id="d" * 64),
    LOG.unholding(),
    LOG.retrying(),
    LOG.discarding(),
    LOG.forgetting(),
    LOG.forgetting(generation=1, force=True),
    LOG.resuming("default"),
    CLOSE,
    FLEET,
    LOG.releasing("x", keep=True),
    LOG.heartbeat("s"),
    LOG.closing("s"),
    ReleaseHolder(0, "default", "h", 1),
    replace(ACQUIRE, resource="é" * 512),
    replace(ACQUIRE, resource="a\u00a0b\u202ec\U0001f980\ue000"),
    replace(ACQUIRE, ttl_ms=100),
    replace(ACQUIRE, ttl_ms=30 * 86_400_000),
    replace(ACQUIRE, ttl_ms=0, session_id="s"),
    replace(ACQUIRE, ttl_ms=0, session_id="s", holder=""),
    replace(ACQUIRE, grace_ms=YEAR_MS),
    replace(ACQUIRE, labels=many(32)),
    replace(ACQUIRE, cleanup=spec("file:/a")),
    replace(ACQUIRE, cleanup=spec("file:/...")),
    replace(ACQUIRE, cleanup=spec("file:/.a/b..")),
    replace(ACQUIRE, cleanup=spec("http:/base/http:/evil?x=1#y")),
    replace(ACQUIRE, cleanup=spec("s3+v2.x-1:/bucket/a b")),
    replace(ACQUIRE, cleanup=spec("file:" + "/a" * 128)),
    replace(RENEW, lease_ids=("x",) * 1_000),
    replace(HOLD, reason=""),
    replace(HOLD, actor="", request_id=""),
    replace(SET, brake=BrakeSettings(share=0.999)),
]

BAD: list[tuple[str, ClientOperation]] = [
    ("resource", replace(ACQUIRE, resource="")),
    ("resource", replace(ACQUIRE, resource="x" * 1_025)),
    ("resource", replace(ACQUIRE, resource="é" * 513)),
    ("resource", replace(ACQUIRE, resource="a\nb")),
    ("resource", replace(ACQUIRE, resource="a\0")),
    ("resource", replace(ACQUIRE, resource="\x85")),
    ("resource", replace(ACQUIRE, resource="\ud800")),
    ("holder", replace(ACQUIRE, holder="")),
    ("holder", replace(ACQUIRE, holder="x" * 257)),
    ("lease_id", replace(ACQUIRE, lease_id="")),
    ("lease_id", replace(ACQUIRE, lease_id="x" * 65)),
    ("request_id", replace(ACQUIRE, request_id="x" * 193)),
    ("namespace", replace(ACQUIRE, namespace="")),
    ("namespace", replace(ACQUIRE, namespace="x" * 64)),
    *(
        ("namespace", replace(operation, namespace=name))
        for operation in (ACQUIRE, OPEN, HOLD, SET, RENEW, PAUSE)
        for name in ("-a", "a-", "A", "a_b", "a.b", "ä", "a b")
    ),
    ("session_id", replace(ACQUIRE, ttl_ms=0, session_id="x" * 65)),
    ("ttl_ms", replace(ACQUIRE, ttl_ms=0)),
    ("ttl_ms", replace(ACQUIRE, ttl_ms=-1)),
    ("ttl_ms", replace(ACQUIRE, ttl_ms=99)),
    ("ttl_ms", replace(ACQUIRE, ttl_ms=30 * 86_400_000 + 1)),
    ("ttl_ms", replace(ACQUIRE, ttl_ms=(1 << 64) - 1)),
    ("ttl_ms", replace(ACQUIRE, session_id="s")),
    ("grace_ms", replace(ACQUIRE, grace_ms=-1)),
    ("grace_ms", replace(ACQUIRE, grace_ms=YEAR_MS + 1)),
    ("labels", replace(ACQUIRE, labels=many(33))),
    ("labels", replace(ACQUIRE, labels=(("b", ""), ("a", "")))),
    ("labels", replace(ACQUIRE, labels=(("a", ""), ("a", "")))),
    ("labels.key", replace(ACQUIRE, labels=(("", ""),))),
    ("labels.key", replace(ACQUIRE, labels=(("x" * 65, ""),))),
    ("labels[k]", replace(ACQUIRE, labels=(("k", "x" * 257),))),
    ("cleanup.handler", replace(ACQUIRE, cleanup=replace(SPEC, handler=""))),
    ("cleanup.handler", replace(ACQUIRE, cleanup=replace(SPEC, handler="x" * 65))),
    ("cleanup.parameters", replace(ACQUIRE, cleanup=replace(SPEC, parameters=many(33)))),
    ("cleanup.parameters[k]", replace(ACQUIRE, cleanup=replace(SPEC, parameters=(("k", "x" * 4_097),)))),
    *(
        ("cleanup.target", replace(ACQUIRE, cleanup=spec(target)))
        for target in (
            "",
            "a",
            "/a",
            "file",
            "file:",
            "file:/",
            "file:a",
            "file://a",
            "file:/a/",
            "file:/a//b",
            "file:/.",
            "file:/..",
            "file:/a/../b",
            "file:/a/./b",
            "File:/a",
            ":/a",
            "f" * 33 + ":/a",
            "file:/a\n",
            "file:" + "/a" * 129,
            "file:/" + "a" * 4_096,
        )
    ),
    ("ttl_ms", replace(OPEN, ttl_ms=0)),
    ("holder", replace(OPEN, holder="")),
    ("session_id", replace(OPEN, session_id="")),
    ("request_id", replace(OPEN, request_id="\t")),
    ("lease_ids", RenewLeases(0, "default", ())),
    ("lease_ids", RenewLeases(0, "default", ("x",) * 1_001)),
    ("lease_ids", RenewLeases(0, "default", ("",))),
    ("lease_ids", RenewLeases(0, "default", ("x" * 65,))),
    ("ttl_ms", replace(RENEW, ttl_ms=-5)),
    ("ttl_ms", replace(RENEW, ttl_ms=99)),
    ("lease_ids", ReleaseLeases(0, "default", ())),
    ("namespace", ReleaseLeases(0, "", ("x",))),
    ("holder", ReleaseHolder(0, "default", "", 1)),
    ("limit", ReleaseHolder(0, "default", "h", 0)),
    ("limit", ReleaseHolder(0, "default", "h", -1)),
    ("session_ids", RenewSessions(0, "default", ())),
    ("session_id", CloseSession(0, "default", "")),
    ("hold_id", replace(HOLD, hold_id="")),
    ("hold_id", replace(HOLD, hold_id="x" * 65)),
    ("resource", replace(HOLD, resource="")),
    ("actor", replace(HOLD, actor="x" * 257)),
    ("reason", replace(HOLD, reason="x" * 1_025)),
    ("reason", replace(PAUSE, reason="\x1b[31m")),
    ("namespace", replace(PAUSE, namespace="\n")),
    ("namespace", replace(SET, namespace="")),
    ("limits.leases_max", replace(SET, limits=replace(SET.limits, leases_max=-1))),
    ("limits.sessions_max", replace(SET, limits=replace(SET.limits, sessions_max=-1))),
    ("limits.resources_max", replace(SET, limits=replace(SET.limits, resources_max=1 << 63))),
    ("cleanup.grace_ms_min", replace(SET, cleanup=replace(SET.cleanup, grace_ms_min=-1))),
    ("cleanup.attempts_max", replace(SET, cleanup=replace(SET.cleanup, attempts_max=0))),
    ("cleanup.retry_delay_ms_min", replace(SET, cleanup=replace(SET.cleanup, retry_delay_ms_min=0))),
    ("cleanup.retry_delay_ms_max", replace(SET, cleanup=replace(SET.cleanup, retry_delay_ms_max=9))),
    ("brake.holders_min", replace(SET, brake=BrakeSettings(holders_min=0))),
    ("brake.window_ms", replace(SET, brake=BrakeSettings(window_ms=999))),
    ("actor", replace(ADD, actor="x" * 257)),
    ("request_id", replace(ADD, request_id="\t")),
    ("member_id", LOG.removing("")),
    ("member_id", LOG.removing("x" * 65)),
    *(("member.id", adding(id=name)) for name in ("", "x" * 65, "a b", "-a", "a-", "a/b", "é")),
    *(
        ("member.api", adding(api=text))
        for text in ("", "host", ":1", "host:", "host:0", "host:65536", "h:1:2", "a b:1")
    ),
    ("member.http", adding(http="[::1:7201")),
    ("member.raft", adding(raft="x" * 258 + ":123")),
    ("member.raft", adding(raft=ADD.member.api)),
    ("member.peer", adding(peer="")),
    ("member.disk_id", adding(disk_id="x" * 65)),
    ("handler", replace(CLOSE, handler="")),
    ("handler", replace(CLOSE, handler="x" * 65)),
    ("reason", replace(CLOSE, reason="x" * 1_025)),
    ("given", replace(FLEET, given=("pace",))),
    ("holders_min", replace(FLEET, settings=FleetSettings(holders_min=0))),
    ("share", replace(FLEET, settings=FleetSettings(share=float("nan")))),
    *(
        ("brake.share", replace(SET, brake=BrakeSettings(share=share)))
        for share in (0.0, -0.1, 1.0, 1.0001, float("nan"), float("inf"))
    ),
]


def name_of(value: object) -> str:
    return f"{type(value).__name__} {value}"[:80] if not isinstance(value, str) else value


@pytest.mark.parametrize("operation", GOOD, ids=name_of)
def test_good_arguments_pass(operation: ClientOperation) -> None:
    assert check_operation(operation, LOG.machine.bounds) is None


@pytest.mark.parametrize(("field", "operation"), BAD, ids=name_of)
def test_bad_arguments_are_refused_by_field_at_the_door_and_by_apply(field: str, operation: ClientOperation) -> None:
    at_the_door = refused(check_operation(operation, LOG.machine.bounds), Reason.INVALID_ARGUMENT)
    assert at_the_door.field == field
    assert at_the_door.message.startswith(f"{field}: ")
    assert len(at_the_door.message) < 5_000
    try:
        codec.encode_operations([operation])
    except UnicodeEncodeError:
        return  # it cannot even be written into the log
    digest = LOG.machine.digest()
    assert LOG.one(operation) == at_the_door
    assert LOG.machine.digest() == digest


def test_the_table_has_every_operation_that_a_door_takes() -> None:
    tried = {type(operation) for operation in GOOD}
    assert tried == set(ClientOperation.__args__)
    assert {AcquireLease, OpenSession, PauseCleanups, PlaceHold, SetNamespace} <= {type(each) for _, each in BAD}


def test_nothing_is_asked_of_the_state() -> None:
    """So that a door may ask it on a node that knows nothing yet."""
    assert isinstance(check_operation(replace(ACQUIRE, resource=""), LOG.machine.bounds), Refused)
    assert check_operation(replace(ACQUIRE, namespace="nowhere"), LOG.machine.bounds) is None
