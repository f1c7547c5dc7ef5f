"""The brake: a mass of holders that seem to die at once is probably our fault; one crashed service is not."""

import pytest

from garbagetruck.cluster.machine.model import Bounds, BrakeSettings, CleanupSettings, EventType, ResourceState
from garbagetruck.cluster.machine.outcomes import Acknowledged, CleanupClaimed, Reason
from tests.unit.machine.scribe import AT_ONCE, NO_BRAKE, Scribe, accepted, file, refused

BRAKE = BrakeSettings(enabled=True, holders_min=3, share=0.5, window_ms=60_000)
GRACE = CleanupSettings(grace_ms_min=2_000)


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin(brake=BRAKE)


def with_holders(log: Scribe, count: int, ttl_ms: int = 1_000, first: int = 0) -> list[str]:
    """So many holders with one resource each; their lease ids."""
    return [
        log.lease(f"r{number}", f"h{number}", ttl_ms, cleanup=file(f"f{number}")).id
        for number in range(first, first + count)
    ]


def engaged(log: Scribe, namespace: str = "default") -> bool:
    seen = log.machine.namespace(namespace)
    assert seen is not None
    return seen.brake_engaged


# -- when it engages ----------------------------------------------------------------------------------------------


def test_most_holders_expiring_together_engage_it_and_nothing_is_claimed(log: Scribe) -> None:
    with_holders(log, 6)
    with_holders(log, 4, ttl_ms=3_600_000, first=6)
    log.outlast(1_000)
    assert engaged(log)
    assert log.machine.summary().braked == ("default",)
    assert log.machine.usage("default").brake_missing_holders == 6
    assert log.resource("r0").state is ResourceState.DUE
    assert log.machine.ready(100) == []
    refused(log.one(log.claiming("r0")), Reason.CLEANUPS_PAUSED)
    assert [each.detail for each in log.events(EventType.BRAKE_ENGAGED)] == [
        "6 of 10 holders lost leases by expiry within 60000 ms"
    ]


@pytest.mark.parametrize(("expiring", "lasting", "engages"), [(5, 5, False), (6, 5, True), (3, 3, False), (3, 2, True)])
def test_it_takes_more_than_the_share(log: Scribe, expiring: int, lasting: int, engages: bool) -> None:
    with_holders(log, expiring)
    with_holders(log, lasting, ttl_ms=3_600_000, first=expiring)
    log.outlast(1_000)
    assert engaged(log) is engages


@pytest.mark.parametrize(("expiring", "engages"), [(2, False), (3, True)])
def test_it_takes_a_least_number_of_holders(log: Scribe, expiring: int, engages: bool) -> None:
    with_holders(log, expiring)
    log.outlast(1_000)
    assert engaged(log) is engages


def test_one_crashed_holder_with_ten_thousand_leases_does_not_engage_it() -> None:
    log = Scribe().begin(brake=BRAKE)
    session = log.session("crashed", 1_000)
    for start in range(0, 10_000, 1_000):
        log.many(
            *(
                log.acquiring(f"r{number}", "crashed", session=session.id, cleanup=file(f"f{number}"))
                for number in range(start, start + 1_000)
            )
        )
    with_holders(log, 2, ttl_ms=3_600_000, first=20_000)
    log.outlast(1_000)
    log.settle()
    assert not engaged(log)
    assert len(log.machine.ready(20_000)) == 10_000
    assert log.machine.usage("default").due == 10_000
    accepted(log.one(log.claiming("r9999")), CleanupClaimed)


def test_it_sees_all_of_a_mass_expiry_before_the_first_claim() -> None:
    """The sweep is bounded, so the brake learns of a mass expiry a part at a time; until then claims must wait."""
    log = Scribe().begin(brake=BRAKE)
    log.bounds(Bounds(expirations_per_batch_max=2))
    with_holders(log, 6)
    with_holders(log, 4, ttl_ms=3_600_000, first=6)
    log.outlast(1_000)
    assert not engaged(log)
    assert log.machine.ready(10) == []
    refused(log.one(log.claiming("r0")), Reason.SWEEP_BEHIND)
    log.settle()
    assert engaged(log)
    refused(log.one(log.claiming("r0")), Reason.CLEANUPS_PAUSED)


@pytest.mark.parametrize("end", ["releases", "closed sessions"])
def test_only_an_expiry_counts(log: Scribe, end: str) -> None:
    if end == "releases":
        log.release(*with_holders(log, 10, ttl_ms=3_600_000))
    else:
        for number in range(10):
            session = log.session(f"h{number}")
            log.lease(f"r{number}", f"h{number}", session=session.id, cleanup=file(f"f{number}"))
            log.one(log.closing(session.id))
        log.advance(0)
    assert not engaged(log)
    assert len(log.machine.ready(100)) == 10


def test_an_expired_session_counts_for_its_holder_once_it_had_leases(log: Scribe) -> None:
    for number in range(10):
        session = log.session(f"h{number}", 1_000)
        if number < 2:
            log.lease(f"r{number}", f"h{number}", session=session.id, cleanup=file(f"f{number}"))
    log.outlast(1_000)
    assert not engaged(log), "eight holders lost no lease"
    with_holders(log, 1, first=90)
    log.outlast(1_000)
    assert engaged(log)


def test_expiries_further_apart_than_the_window_do_not_add_up(log: Scribe) -> None:
    for number in range(6):
        with_holders(log, 1, first=number)
        log.outlast(1_000)
        log.outlast(60_000)
    assert not engaged(log)


def test_expiries_within_the_window_add_up(log: Scribe) -> None:
    for number in range(3):
        with_holders(log, 1, first=number)
        log.outlast(1_000)
    assert engaged(log)


@pytest.mark.parametrize(("apart_ms", "engages"), [(59_999, True), (60_000, False)])
def test_the_window_has_sharp_edges(log: Scribe, apart_ms: int, engages: bool) -> None:
    with_holders(log, 2)
    with_holders(log, 1, ttl_ms=1_000 + apart_ms, first=2)
    log.outlast(1_000)
    log.advance(apart_ms)
    assert engaged(log) is engages


def test_a_holder_that_loses_again_counts_once_and_from_its_last_loss(log: Scribe) -> None:
    for number, ttl_ms in ((0, 1_000), (1, 10_000), (0, 50_000), (2, 75_000)):
        log.lease(f"r{number}-{ttl_ms}", f"h{number}", ttl_ms)
    for _ in range(75):
        log.advance(1_000)
    log.advance(1)
    assert not engaged(log), "after 75 s it is two: the one of 10 s is out of the window"
    log.lease("r3", "h3", 34_998)
    log.outlast(34_998)
    assert engaged(log), "at 110 s it is three, for the first was lost again a millisecond after 50 s"


def test_a_namespace_has_its_own_brake(log: Scribe) -> None:
    log.settings("team", brake=BRAKE)
    with_holders(log, 4)
    log.namespace = "team"
    lease = log.lease("mine", "somebody", cleanup=file("mine"))
    log.release(lease.id)
    log.outlast(1_000)
    assert engaged(log, "default")
    assert not engaged(log, "team")
    assert [each.name for each in log.machine.ready(10)] == ["mine"]


def test_a_brake_elsewhere_does_not_change_what_a_renewal_means(log: Scribe) -> None:
    """A renewal clears nobody in a namespace whose own brake is off, whatever other namespaces do."""
    log.settings("team", brake=BRAKE)
    with_holders(log, 4)
    log.namespace = "team"
    lasting = [log.lease(f"t{number}", f"h{number}", 3_600_000).id for number in range(3)]
    for number in range(3):
        log.lease(f"u{number}", f"h{number}", 2_000 + number)
    log.outlast(1_500)
    assert engaged(log, "default")
    log.advance(500)
    for _ in range(2):
        log.renew(*lasting)
        log.advance(1)
    assert engaged(log, "team")


# -- while it is on -----------------------------------------------------------------------------------------------


def test_a_running_claim_goes_on_while_braked(log: Scribe) -> None:
    first = log.lease("first", "h", cleanup=file("first"))
    with_holders(log, 4)
    log.release(first.id)
    claim = log.claim("first")
    log.outlast(1_000)
    assert engaged(log)
    log.one(log.reporting(claim.token, name="first"))
    assert log.machine.resource("default", "first") is not None


def test_switched_off_it_never_engages(log: Scribe) -> None:
    log.settings(brake=NO_BRAKE)
    with_holders(log, 10)
    log.outlast(1_000)
    assert not engaged(log)


# -- how it ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["acquire", "renew", "session opened", "session renewed"])
def test_it_ends_when_enough_holders_are_heard_again_and_orphans_get_fresh_grace(sign: str) -> None:
    log = Scribe().begin(cleanup=GRACE, brake=BRAKE)
    with_holders(log, 4)
    lasting = [log.lease(f"keep{number}", f"h{number}", 3_600_000).id for number in range(4)]
    sessions = [log.session(f"h{number}", 3_600_000).id for number in range(4)]
    log.outlast(1_000)
    log.outlast(10_000)
    assert engaged(log)
    assert log.resource("r0").state is ResourceState.DUE
    for number in (2, 3):
        assert engaged(log)
        match sign:
            case "acquire":
                log.lease("other", f"h{number}")
            case "renew":
                log.renew(lasting[number])
            case "session opened":
                log.session(f"h{number}")
            case _:
                log.one(log.heartbeat(sessions[number]))
    assert not engaged(log)
    why = refused(log.one(log.claiming("r0")), Reason.CLEANUPS_PAUSED)
    assert why.retry_after_ms == GRACE.grace_ms_min + 1, "the millisecond that had begun already does not count"
    assert log.machine.ready(10) == []
    log.lease("r0", "h0")
    log.advance(2_000)
    refused(log.one(log.claiming("r1")), Reason.CLEANUPS_PAUSED)
    log.advance(1)
    accepted(log.one(log.claiming("r1")), CleanupClaimed)
    assert log.resource("r0").state is ResourceState.LIVE, "its holder came back in time"


def test_a_heartbeat_counts_even_when_it_moves_no_deadline(log: Scribe) -> None:
    """Two batches may bear one stamp: the session was renewed by the first, its holder went missing in the second."""
    log.bounds(Bounds(expirations_per_batch_max=2))
    sessions = [log.session(f"h{number}", 3_600_000).id for number in range(3)]
    with_holders(log, 3)
    log.at_ms += 1_001
    log.one(log.heartbeat(*sessions))
    assert not engaged(log)
    log.many()
    assert engaged(log)
    log.one(log.heartbeat(*sessions))
    assert not engaged(log)


def test_holders_that_stay_away_keep_it_on(log: Scribe) -> None:
    with_holders(log, 8)
    log.outlast(1_000)
    for number in range(3):
        log.lease("elsewhere", f"h{number}")
        log.lease("elsewhere", f"new{number}")
    assert engaged(log)
    assert log.machine.usage("default").brake_missing_holders == 5
    log.outlast(86_400_000)
    assert engaged(log)


def test_holders_that_go_missing_while_it_is_on_are_waited_for_too(log: Scribe) -> None:
    with_holders(log, 4)
    with_holders(log, 2, ttl_ms=2_000, first=4)
    log.outlast(1_000)
    assert log.machine.usage("default").brake_missing_holders == 4
    log.outlast(1_000)
    assert log.machine.usage("default").brake_missing_holders == 6


@pytest.mark.parametrize("how", ["approved", "switched off"])
def test_an_operator_may_end_it(log: Scribe, how: str) -> None:
    log.settings(cleanup=GRACE, brake=BRAKE)
    with_holders(log, 4)
    log.outlast(1_000)
    log.outlast(2_000)
    refused(log.one(log.resuming("default")), Reason.NOT_PAUSED)
    assert engaged(log), "lifting a pause is not approving"
    if how == "approved":
        accepted(log.one(log.resuming("default", release_brake=True)), Acknowledged)
    else:
        log.settings(cleanup=GRACE, brake=NO_BRAKE)
    assert not engaged(log)
    assert log.machine.ready(10) == []
    log.outlast(2_000)
    assert len(log.machine.ready(10)) == 4
    assert len(log.events(EventType.BRAKE_RELEASED)) == 1


def test_a_pause_and_a_brake_are_lifted_separately(log: Scribe) -> None:
    with_holders(log, 4)
    log.one(log.pausing("default"))
    log.outlast(1_000)
    log.one(log.resuming("default"))
    assert engaged(log)
    log.one(log.pausing("default"))
    log.one(log.resuming("default", release_brake=True))
    seen = log.machine.namespace("default")
    assert seen is not None
    assert (seen.paused, seen.brake_engaged) == (False, False)


def test_it_may_engage_again(log: Scribe) -> None:
    for round_ in range(2):
        with_holders(log, 4, first=10 * round_)
        log.outlast(1_000)
        assert engaged(log)
        log.one(log.resuming("default", release_brake=True))
    assert len(log.events(EventType.BRAKE_ENGAGED)) == 2
    assert AT_ONCE.grace_ms_min == 0
