"""The digest (I3): follows every change, does not depend on the way to a state, and tells states apart."""

import random

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine.model import Lease, Session
from garbagetruck.cluster.machine.tables import DeadlineTable, DigestSum
from tests.unit.machine import integrity
from tests.unit.machine.scribe import AT_ONCE, Scribe, file

Rows = dict[str, Lease]


def digest_of(rows: Rows) -> int:
    """The digest of a table that was filled with these rows, and never prolonged."""
    total = DigestSum()
    table: DeadlineTable[str, Lease] = DeadlineTable(total, 3)
    for key, row in rows.items():
        table.put(key, row)
    return total.value


def lease(number: int, deadline_ms: int = 5_000) -> Lease:
    return Lease(f"lease-{number}", "default", f"r{number}", "ann", number, 1_000, deadline_ms, "", 7, ())


def test_i3_prolonging_gives_the_digest_of_what_comes_out(seed: int) -> None:
    rng = random.Random(seed)
    rows = {f"lease-{number}": lease(number) for number in range(1, 30)}
    total = DigestSum()
    table: DeadlineTable[str, Lease] = DeadlineTable(total, 3)
    for key, row in rows.items():
        table.put(key, row)
    for _ in range(200):
        some = rng.sample(sorted(rows), rng.randrange(1, 10))
        changed = {
            key: replace(rows[key], ttl_ms=rng.randrange(1, 5_000), deadline_ms=rng.randrange(1 << 53)) for key in some
        }
        table.prolong(changed)
        rows |= changed
        assert total.value == digest_of(rows)
        assert dict(table.items()) == rows


@pytest.mark.parametrize("field", Lease.__struct_fields__)
def test_i3_every_field_of_a_lease_counts(field: str) -> None:
    one = lease(1)
    value = getattr(one, field)
    other = {str: f"{value}x", int: value + 1 if isinstance(value, int) else 0, tuple: (("key", "value"),)}[type(value)]
    assert digest_of({"a": one}) != digest_of({"a": replace(one, **{field: other})})


def test_i3_two_leases_that_exchange_their_deadlines_make_another_state() -> None:
    straight = {"a": lease(1, 5_000), "b": lease(2, 6_000)}
    crossed = {"a": lease(1, 6_000), "b": lease(2, 5_000)}
    assert digest_of(straight) != digest_of(crossed)


def test_i3_three_deadlines_that_move_against_each_other_make_another_state() -> None:
    """What a sum of products would take for the same: +1, -2 and +1 on tokens that follow each other."""
    before = {str(n): lease(n, 5_000) for n in (1, 2, 3)}
    after = {str(n): lease(n, 5_000 + by) for n, by in ((1, 1), (2, -2), (3, 1))}
    assert digest_of(before) != digest_of(after)


def test_i3_a_session_and_a_lease_of_the_same_numbers_do_not_cancel_each_other_out() -> None:
    total = DigestSum()
    leases: DeadlineTable[str, Lease] = DeadlineTable(total, 3)
    sessions: DeadlineTable[str, Session] = DeadlineTable(total, 4)
    leases.put("a", lease(1, 5_000))
    sessions.put("s", Session("s", "default", "ann", 1, 1_000, 5_000, 7))
    before = total.value
    leases.prolong({"a": lease(1, 6_000)})
    sessions.prolong({"s": Session("s", "default", "ann", 1, 1_000, 4_000, 7)})
    assert total.value != before


def test_i3_a_lease_renewed_twice_in_one_operation_counts_once() -> None:
    log = Scribe().begin()
    first = log.lease("r", cleanup=file("a"))
    log.at_ms += 10
    assert log.renew(first.id, first.id, ttl_ms=2_000).remaining_ms == (2_000, 2_000)
    integrity.check(log.machine)
    assert integrity.restored(log.machine).digest() == log.machine.digest()


def test_i3_a_request_counts_for_as_long_as_it_is_remembered() -> None:
    """And which one it was. A retry that only some nodes remember is one operation there, and two elsewhere (I6)."""
    logs = [Scribe().begin() for _ in range(3)]
    for log, request_id in zip(logs, ("", "one", "two"), strict=True):
        log.one(log.acquiring(request_id=request_id, ttl_ms=120_000))
    assert len({log.machine.digest() for log in logs}) == 3
    for log in logs:
        log.advance(log.machine.bounds.request_age_ms_max + 1)
    assert len({log.machine.digest() for log in logs}) == 1


def test_i3_what_a_namespace_is_set_to_counts() -> None:
    """Nodes that wait differently for a holder clean differently."""
    logs = [Scribe().begin(cleanup=replace(AT_ONCE, grace_ms_min=grace_ms)) for grace_ms in (0, 1)]
    assert len({log.machine.digest() for log in logs}) == 2
