"""Every operation on a resource in every state of its life, as literal tables.

A lower-case cell is the state of resource `r` afterwards (`gone`: off the books); an upper-case one is the refusal,
which must have changed nothing. `-`: the state cannot be had under the table's condition.

Columns: LIVE ann holds it · ORPHANED in its grace · DUE · CLAIMED · WAITS for its next attempt · RETRY is due again
after a failure · PARKED as a dead letter · CLEANED a tombstone · NONE never heard of.
"""

import pytest

from garbagetruck.cluster.machine.model import (
    Bounds,
    BrakeSettings,
    CleanupSettings,
    ReportResult,
    Resource,
    ResourceState,
)
from garbagetruck.cluster.machine.operations import ClaimCleanup, Operation, ReleaseHolder
from garbagetruck.cluster.machine.outcomes import LeasesReleased, LeasesRenewed, Outcome, Refused
from tests.unit.machine import integrity
from tests.unit.machine.scribe import EXECUTOR, NO_BRAKE, Scribe, file

MINUTE_MS = 60_000

PLAIN = """
operation                LIVE               ORPHANED           DUE                CLAIMED            WAITS              RETRY              PARKED             CLEANED            NONE
acquire                  live               live               live               BEING_CLEANED      BEING_CLEANED      BEING_CLEANED      BEING_CLEANED      live               live
acquire_same_cleanup     live               live               live               BEING_CLEANED      BEING_CLEANED      BEING_CLEANED      BEING_CLEANED      live               live
acquire_other_cleanup    CLEANUP_CONFLICT   CLEANUP_CONFLICT   CLEANUP_CONFLICT   BEING_CLEANED      BEING_CLEANED      BEING_CLEANED      BEING_CLEANED      live               live
acquire_same_target      TARGET_IN_USE      TARGET_IN_USE      TARGET_IN_USE      TARGET_IN_USE      TARGET_IN_USE      TARGET_IN_USE      TARGET_IN_USE      cleaned            gone
acquire_target_below     TARGET_OVERLAPS    TARGET_OVERLAPS    TARGET_OVERLAPS    TARGET_OVERLAPS    TARGET_OVERLAPS    TARGET_OVERLAPS    TARGET_OVERLAPS    cleaned            gone
renew                    live               LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        LEASE_NOT_FOUND
release                  orphaned           orphaned           due                claimed            due                due                dead_letter        cleaned            LEASE_NOT_FOUND
release_and_keep         gone               LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        LEASE_NOT_FOUND
release_holder           orphaned           orphaned           due                claimed            due                due                dead_letter        cleaned            gone
hold                     live               orphaned           due                HOLD_CONFLICT      due                due                dead_letter        RESOURCE_NOT_FOUND RESOURCE_NOT_FOUND
unhold                   HOLD_NOT_FOUND     HOLD_NOT_FOUND     HOLD_NOT_FOUND     HOLD_NOT_FOUND     HOLD_NOT_FOUND     HOLD_NOT_FOUND     HOLD_NOT_FOUND     RESOURCE_NOT_FOUND RESOURCE_NOT_FOUND
claim                    CLEANUP_NOT_DUE    CLEANUP_NOT_DUE    claimed            CLEANUP_NOT_DUE    CLEANUP_NOT_DUE    claimed            CLEANUP_NOT_DUE    RESOURCE_NOT_FOUND RESOURCE_NOT_FOUND
report_done              CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  cleaned            CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT
report_failed            CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  due                CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT
report_failed_for_good   CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  dead_letter        CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT
report_not_attempted     CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  due                CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT
retry                    NOT_DEAD_LETTER    NOT_DEAD_LETTER    NOT_DEAD_LETTER    NOT_DEAD_LETTER    due                due                due                RESOURCE_NOT_FOUND RESOURCE_NOT_FOUND
discard                  NOT_DEAD_LETTER    NOT_DEAD_LETTER    NOT_DEAD_LETTER    NOT_DEAD_LETTER    NOT_DEAD_LETTER    NOT_DEAD_LETTER    gone               RESOURCE_NOT_FOUND RESOURCE_NOT_FOUND
forget                   IN_USE             gone               gone               BEING_CLEANED      gone               gone               gone               RESOURCE_NOT_FOUND RESOURCE_NOT_FOUND
forget_by_force          gone               gone               gone               BEING_CLEANED      gone               gone               gone               RESOURCE_NOT_FOUND RESOURCE_NOT_FOUND
a_minute_passes          live               due                due                due                due                due                dead_letter        cleaned            gone
"""

HELD = """
operation                LIVE               ORPHANED           DUE                CLAIMED            WAITS              RETRY              PARKED             CLEANED            NONE
acquire                  live               live               live               -                  BEING_CLEANED      BEING_CLEANED      BEING_CLEANED      -                  -
acquire_same_cleanup     live               live               live               -                  BEING_CLEANED      BEING_CLEANED      BEING_CLEANED      -                  -
acquire_other_cleanup    CLEANUP_CONFLICT   CLEANUP_CONFLICT   CLEANUP_CONFLICT   -                  BEING_CLEANED      BEING_CLEANED      BEING_CLEANED      -                  -
acquire_same_target      TARGET_IN_USE      TARGET_IN_USE      TARGET_IN_USE      -                  TARGET_IN_USE      TARGET_IN_USE      TARGET_IN_USE      -                  -
acquire_target_below     TARGET_OVERLAPS    TARGET_OVERLAPS    TARGET_OVERLAPS    -                  TARGET_OVERLAPS    TARGET_OVERLAPS    TARGET_OVERLAPS    -                  -
renew                    live               LEASE_ENDED        LEASE_ENDED        -                  LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        -                  -
release                  orphaned           orphaned           due                -                  due                due                dead_letter        -                  -
release_and_keep         HOLD_CONFLICT      LEASE_ENDED        LEASE_ENDED        -                  LEASE_ENDED        LEASE_ENDED        LEASE_ENDED        -                  -
release_holder           orphaned           orphaned           due                -                  due                due                dead_letter        -                  -
hold                     live               orphaned           due                -                  due                due                dead_letter        -                  -
unhold                   live               orphaned           due                -                  due                due                dead_letter        -                  -
claim                    CLEANUP_NOT_DUE    CLEANUP_NOT_DUE    HOLD_CONFLICT      -                  CLEANUP_NOT_DUE    HOLD_CONFLICT      CLEANUP_NOT_DUE    -                  -
report_done              CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  -                  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  -                  -
report_failed            CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  -                  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  -                  -
report_failed_for_good   CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  -                  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  -                  -
report_not_attempted     CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  -                  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  CLAIM_NOT_CURRENT  -                  -
retry                    NOT_DEAD_LETTER    NOT_DEAD_LETTER    NOT_DEAD_LETTER    -                  due                due                due                -                  -
discard                  NOT_DEAD_LETTER    NOT_DEAD_LETTER    NOT_DEAD_LETTER    -                  NOT_DEAD_LETTER    NOT_DEAD_LETTER    gone               -                  -
forget                   HOLD_CONFLICT      HOLD_CONFLICT      HOLD_CONFLICT      -                  HOLD_CONFLICT      HOLD_CONFLICT      HOLD_CONFLICT      -                  -
forget_by_force          HOLD_CONFLICT      HOLD_CONFLICT      HOLD_CONFLICT      -                  HOLD_CONFLICT      HOLD_CONFLICT      HOLD_CONFLICT      -                  -
a_minute_passes          live               due                due                -                  due                due                dead_letter        -                  -
"""

STOPPED = """
operation                LIVE               ORPHANED           DUE                CLAIMED            WAITS              RETRY              PARKED             CLEANED            NONE
claim                    CLEANUP_NOT_DUE    CLEANUP_NOT_DUE    CLEANUPS_PAUSED    CLEANUP_NOT_DUE    CLEANUP_NOT_DUE    CLEANUPS_PAUSED    CLEANUP_NOT_DUE    RESOURCE_NOT_FOUND RESOURCE_NOT_FOUND
"""
"""Paused, in the namespace or everywhere, or braked: nothing but claims is any different."""


def rows(table: str) -> dict[tuple[str, str], str]:
    lines = [line.split() for line in table.strip().splitlines()]
    columns = lines[0][1:]
    assert all(len(line) == len(columns) + 1 for line in lines)
    return {(line[0], column): cell for line in lines[1:] for column, cell in zip(columns, line[1:], strict=True)}


CASES = [
    (condition, operation, column, cell)
    for condition, table in {
        "plain": rows(PLAIN),
        "held": rows(HELD),
        "paused": rows(PLAIN) | rows(STOPPED),
        "all paused": rows(PLAIN) | rows(STOPPED),
        "braked": rows(PLAIN) | rows(STOPPED),
    }.items()
    for (operation, column), cell in table.items()
    if cell != "-"
]

STATES = {
    "LIVE": "live",
    "ORPHANED": "orphaned",
    "DUE": "due",
    "CLAIMED": "claimed",
    "WAITS": "due",
    "RETRY": "due",
    "PARKED": "dead_letter",
    "CLEANED": "cleaned",
    "NONE": "gone",
}


def state_now(log: Scribe) -> str:
    seen = log.machine.resource("default", "r")
    if seen is None:
        return "gone"
    return seen.state.value if isinstance(seen, Resource) else ResourceState.CLEANED.value


def bring_about(log: Scribe, column: str) -> tuple[str, int]:
    """Bring `r` into a column's state; return ann's lease and the claim's token, as far as there are any."""
    if column == "NONE":
        return "lease-never", 1
    lease = log.lease("r", "ann", 10 * MINUTE_MS, cleanup=file("a"))
    if column == "LIVE":
        return lease.id, 1
    log.release(lease.id)
    if column == "ORPHANED":
        return lease.id, 1
    log.outlast(1_000)
    if column == "DUE":
        return lease.id, 1
    claim = log.claim("r", 20_000)
    result = {
        "WAITS": ReportResult.FAILED,
        "RETRY": ReportResult.FAILED,
        "PARKED": ReportResult.FAILED_FOR_GOOD,
        "CLEANED": ReportResult.DONE,
    }.get(column)
    if result is not None:
        log.one(log.reporting(claim.token, result))
    if column == "RETRY":
        log.advance(log.resource("r").due_ms - log.at_ms)
    return lease.id, claim.token


def put_under(log: Scribe, condition: str) -> None:
    match condition:
        case "held":
            log.one(log.holding("r"))
        case "paused":
            log.one(log.pausing("default"))
        case "all paused":
            log.one(log.pausing())
        case "braked":
            for number in range(3):
                log.lease(f"other-{number}", f"other-{number}", 100)
            log.outlast(100)
            assert log.machine.summary().braked == ("default",)
        case _:
            pass


def operations(log: Scribe, lease_id: str, token: int) -> dict[str, Operation]:
    seen = log.machine.resource("default", "r")
    there = isinstance(seen, Resource)
    claiming = log.claiming("r") if there else ClaimCleanup("default", "r", 1, 1, EXECUTOR, 5_000, "")
    return {
        "acquire": log.acquiring("r", "bob"),
        "acquire_same_cleanup": log.acquiring("r", "bob", cleanup=file("a")),
        "acquire_other_cleanup": log.acquiring("r", "bob", cleanup=file("z")),
        "acquire_same_target": log.acquiring("other", "bob", cleanup=file("a")),
        "acquire_target_below": log.acquiring("other", "bob", cleanup=file("a/b")),
        "renew": log.renewing(lease_id),
        "release": log.releasing(lease_id),
        "release_and_keep": log.releasing(lease_id, keep=True),
        "release_holder": ReleaseHolder(log.at_ms, "default", "ann", 10),
        "hold": log.holding("r"),
        "unhold": log.unholding("r"),
        "claim": claiming,
        "report_done": log.reporting(token),
        "report_failed": log.reporting(token, ReportResult.FAILED),
        "report_failed_for_good": log.reporting(token, ReportResult.FAILED_FOR_GOOD),
        "report_not_attempted": log.reporting(token, ReportResult.NOT_ATTEMPTED),
        "retry": log.retrying("r"),
        "discard": log.discarding("r"),
        "forget": log.forgetting("r"),
        "forget_by_force": log.forgetting("r", force=True),
    }


def refusal_in(outcome: Outcome) -> Refused | None:
    if isinstance(outcome, LeasesRenewed | LeasesReleased):
        return outcome.refusals[0][1] if outcome.refusals else None
    return outcome if isinstance(outcome, Refused) else None


@pytest.mark.parametrize(("condition", "operation", "column", "cell"), CASES)
def test_each_operation_in_each_state(condition: str, operation: str, column: str, cell: str) -> None:
    brake = BrakeSettings(holders_min=3) if condition == "braked" else NO_BRAKE
    log = Scribe().begin(cleanup=CleanupSettings(grace_ms_min=1_000, retry_delay_ms_min=10_000), brake=brake)
    if operation.startswith("forget"):
        log.upgrade()
    lease_id, token = bring_about(log, column)
    put_under(log, condition)
    assert state_now(log) == STATES[column]
    digest = log.machine.digest()
    if operation == "a_minute_passes":
        log.outlast(MINUTE_MS)
        assert state_now(log) == cell
        return
    refusal = refusal_in(log.one(operations(log, lease_id, token)[operation]))
    if cell.isupper():
        assert refusal is not None
        assert refusal.reason.value.removeprefix("RESOURCE_") in (cell, cell.removeprefix("RESOURCE_"))
        assert log.machine.digest() == digest, "I11: a refusal changes nothing"
    else:
        assert refusal is None
        assert state_now(log) == cell
    integrity.check(log.machine)


# -- leases -------------------------------------------------------------------------------------------------------

LEASES = """
operation           ACTIVE    OVERDUE   EXPIRED      RELEASED     SESSION_EXPIRED  DRAINING     SESSION_CLOSED  UNKNOWN
renew               ok        ok        LEASE_ENDED  LEASE_ENDED  LEASE_ENDED      LEASE_ENDED  LEASE_ENDED     LEASE_NOT_FOUND
renew_longer        ok        ok        LEASE_ENDED  LEASE_ENDED  LEASE_ENDED      LEASE_ENDED  LEASE_ENDED     LEASE_NOT_FOUND
release             ok        ok        LEASE_ENDED  ok           LEASE_ENDED      LEASE_ENDED  LEASE_ENDED     LEASE_NOT_FOUND
release_and_keep    ok        ok        LEASE_ENDED  LEASE_ENDED  LEASE_ENDED      LEASE_ENDED  LEASE_ENDED     LEASE_NOT_FOUND
"""
"""OVERDUE: not yet swept. DRAINING: its session is over, and it is not yet swept."""

LOOKS = {
    "ACTIVE": ("active", ""),
    "OVERDUE": ("active", ""),
    "EXPIRED": ("expired", "expired"),
    "RELEASED": ("released", "released"),
    "SESSION_EXPIRED": ("expired", "session_expired"),
    "DRAINING": ("expired", "session_expired"),
    "SESSION_CLOSED": ("released", "session_closed"),
}


def lease_brought_to(log: Scribe, column: str) -> str:
    """Expiry takes one lease a batch; `x` is always the first in line, so that the lease asked about waits behind."""
    log.bounds(Bounds(expirations_per_batch_max=1))
    in_session = column in ("SESSION_EXPIRED", "DRAINING", "SESSION_CLOSED")
    if column in ("OVERDUE", "DRAINING"):
        log.lease("x", "x", 1_000)
        log.lease("y", "y", 1_000)
    session = log.session("ann", 1_000).id if in_session else ""
    if column == "DRAINING":
        log.lease("z", "ann", session=session)
    lease_id = log.lease("r", "ann", 1_000, session=session, cleanup=file("a")).id
    match column:
        case "OVERDUE" | "EXPIRED" | "SESSION_EXPIRED":
            log.outlast(1_000)
        case "DRAINING":
            log.outlast(1_000)
            log.advance(0)
            log.advance(0)
        case "RELEASED":
            log.release(lease_id)
        case "SESSION_CLOSED":
            log.one(log.closing(session))
        case "UNKNOWN":
            return "lease-never"
        case _:
            pass
    return lease_id


@pytest.mark.parametrize(("operation", "column", "cell"), [(*key, cell) for key, cell in rows(LEASES).items()])
def test_each_word_about_each_lease(operation: str, column: str, cell: str) -> None:
    log = Scribe().begin()
    lease_id = lease_brought_to(log, column)
    seen = log.machine.lease(lease_id, log.at_ms)
    assert (None if seen is None else (seen.state.value, seen.end_reason)) == LOOKS.get(column)
    words: dict[str, Operation] = {
        "renew": log.renewing(lease_id),
        "renew_longer": log.renewing(lease_id, ttl_ms=5_000),
        "release": log.releasing(lease_id),
        "release_and_keep": log.releasing(lease_id, keep=True),
    }
    refusal = refusal_in(log.one(words[operation]))
    assert (refusal.reason.value if refusal is not None else "ok") == cell
    integrity.check(log.machine)
