"""What should become of a batch: epoch, clock, sweep, then each operation once.

Duty: a second opinion on the whole machine, as naive as possible. It must not know: any module of the machine but
its records, operations and outcomes.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from garbagetruck.cluster.machine.brake_operations import OpenBreaker
from garbagetruck.cluster.machine.model import (
    BrakeSettings,
    CleanupSettings,
    EndReason,
    NamespaceLimits,
    ResourceState,
)
from garbagetruck.cluster.machine.operations import (
    AcquireLease,
    AddMember,
    Batch,
    ClaimCleanup,
    ClientOperation,
    CloseSession,
    CreateCluster,
    DiscardCleanup,
    EnterEpoch,
    ForgetResource,
    KeepChronicles,
    Mutation,
    NameIncarnation,
    NoteDigest,
    OpenSession,
    Operation,
    PauseCleanups,
    PlaceHold,
    RegisterMember,
    ReleaseHolder,
    ReleaseLeases,
    RemoveHold,
    RemoveMember,
    RenewLeases,
    RenewSessions,
    ReportCleanup,
    ReportDigest,
    ResumeCleanups,
    RetryCleanup,
    SetBounds,
    SetNamespace,
    SettleMember,
)
from garbagetruck.cluster.machine.outcomes import (
    Acknowledged,
    LeaseGranted,
    Outcome,
    Reason,
    Refused,
    SessionOpened,
)
from tests.unit.machine.oracle import brake, cleanups, digests, leases, members, sessions
from tests.unit.machine.oracle.books import Books, RequestKey, Space, no
from tests.unit.machine.oracle.views import view, view_session

Due = tuple[int, int, str | tuple[str, str]]
REMEMBERED = AcquireLease | OpenSession | Mutation
OF_LEVEL_2 = AddMember | RemoveMember | SettleMember | NoteDigest | ReportDigest
NEWER = NameIncarnation | ForgetResource | KeepChronicles


def judge(books: Books, batch: Batch) -> list[Outcome] | Refused:
    """The outcomes of a batch, without messages, or why it is refused as a whole."""
    opens = bool(batch.operations) and isinstance(batch.operations[0], EnterEpoch)
    if batch.epoch < books.epoch or (batch.epoch > books.epoch and not opens):
        return no(Reason.STALE_EPOCH)
    books.epoch = batch.epoch
    books.clock = max(books.clock, batch.at_ms)
    oldest_ms = books.clock - books.bounds.request_age_ms_max
    books.requests = {key: each for key, each in books.requests.items() if each[1] >= oldest_ms}
    sweep(books)
    return [_judge_one(books, operation) for operation in batch.operations]


# -- time ---------------------------------------------------------------------------------------------------------


def due(books: Books) -> list[Due]:
    """What is due now, in the order in which it happens.

    A lease, session or claim ends once its deadline is past. It was granted within a millisecond that had begun
    already, so at the deadline itself it may not have had all of its time.
    """
    found: list[Due] = []
    found += [(each.deadline_ms + 1, 1, key) for key, each in books.leases.items() if not each.session]
    found += [(each.deadline_ms + 1, 2, key) for key, each in books.sessions.items()]
    for key, thing in books.things.items():
        if thing.state is ResourceState.ORPHANED and thing.cleanup is not None:
            found.append((thing.due_ms, 3, key))
        elif thing.state is ResourceState.CLAIMED:
            found.append((thing.claim_deadline_ms + 1, 4, key))
    return sorted(each for each in found if each[0] <= books.clock)


def behind(books: Books) -> bool:
    return bool(books.draining) or bool(due(books))


def sweep(books: Books) -> None:
    touched: set[str] = set()
    budget = _drain(books, books.bounds.expirations_per_batch_max, touched)
    while budget > 0 and due(books):
        _, kind, key = due(books)[0]
        budget -= 1
        if isinstance(key, tuple):
            if kind == 3:
                books.things[key].state = ResourceState.DUE
                books.things[key].touch()
            else:
                cleanups.lapse(books, key)
        elif kind == 1:
            touched.add(books.leases[key].namespace)
            leases.end(books, key, EndReason.EXPIRED)
        else:
            sessions.end_session(books, key, EndReason.EXPIRED)
            budget = _drain(books, budget, touched)
    for namespace in touched:
        brake.judge(books, namespace)


def _drain(books: Books, budget: int, touched: set[str]) -> int:
    while budget > 0 and books.draining:
        session_id = next(iter(books.draining))
        ended = books.draining[session_id]
        expired = ended.why == EndReason.EXPIRED
        if expired:
            touched.add(ended.namespace)
        for lease_id in books.leases_in(session_id)[:budget]:
            why = EndReason.SESSION_EXPIRED if expired else EndReason.SESSION_CLOSED
            leases.end(books, lease_id, why, ended_ms=ended.ended_ms)
            budget -= 1
        if not books.leases_in(session_id):
            books.ended_sessions[session_id] = books.draining.pop(session_id)
            books.forget_oldest()
    return budget


# -- operations ---------------------------------------------------------------------------------------------------


def _judge_one(books: Books, asked: Operation) -> Outcome:
    needed = _level_of(asked)
    leaves = asked.member_id if isinstance(asked, RemoveMember) else ""
    if needed > 1 and books.level(without=leaves) < needed:
        return no(Reason.FEATURE_NOT_ENABLED)
    outcome = _judge_enabled(books, asked)
    if not isinstance(outcome, Refused):
        books.used = max(books.used, needed)
    return outcome


def _level_of(asked: Operation) -> int:
    if isinstance(asked, NEWER):
        return 3 if isinstance(asked, NameIncarnation) else 4
    newer = isinstance(asked, OF_LEVEL_2) or (isinstance(asked, RegisterMember) and asked.member.peer != "")
    return 2 if newer else 1


def _judge_enabled(books: Books, asked: Operation) -> Outcome:
    match asked:
        case EnterEpoch() | KeepChronicles():
            return Acknowledged()
        case NoteDigest():
            return digests.note(books, asked)
        case ReportDigest():
            return digests.report(books, asked)
        case CreateCluster() | NameIncarnation():
            return _create(books, asked) if isinstance(asked, CreateCluster) else _name(books, asked)
        case SetBounds():
            books.bounds = asked.bounds
            return Acknowledged()
        case RegisterMember():
            return members.register(books, asked)
        case SettleMember():
            return members.settle(books, asked)
        case ReportCleanup():
            return cleanups.report(books, asked)
        case ClaimCleanup():
            missing = _missing(books, asked.namespace)
            return missing or cleanups.claim(books, asked, behind=behind(books))
        case OpenBreaker():
            raise AssertionError("what is known here is less than level 4")
        case _:
            return _judge_clients(books, asked)


def _name(books: Books, asked: NameIncarnation) -> Outcome:
    if not asked.id or books.named or not books.members:
        return no(Reason.INVALID_ARGUMENT)
    books.named = True
    return Acknowledged()


def _judge_clients(books: Books, asked: ClientOperation) -> Outcome:
    if books.clock - asked.entered_ms > books.bounds.request_age_ms_max:
        return no(Reason.REQUEST_TOO_OLD, "", 0)
    whole = isinstance(asked, PauseCleanups | ResumeCleanups) and not asked.namespace
    if not whole and not isinstance(asked, SetNamespace | AddMember | RemoveMember):
        refusal = _missing(books, asked.namespace)
        if refusal is not None:
            return refusal
    if isinstance(asked, REMEMBERED) and asked.request_id:
        return _once(books, asked)
    return CARRIED_OUT[type(asked)](books, asked)


def _missing(books: Books, namespace: str) -> Refused | None:
    return None if namespace in books.spaces else no(Reason.NAMESPACE_NOT_FOUND, "namespace")


def _create(books: Books, asked: CreateCluster) -> Outcome:
    if books.incarnation:
        return no(Reason.CLUSTER_EXISTS)
    books.incarnation = asked.incarnation
    books.members = {each.id: each for each in asked.members}
    return Acknowledged()


def _once(books: Books, asked: REMEMBERED) -> Outcome:
    """I6: one effect, and the first answer again; of a lease or session, how it stands by now."""
    who = asked.holder if isinstance(asked, AcquireLease | OpenSession) else asked.actor
    if isinstance(asked, AcquireLease) and not who:
        who = asked.session_id
    key: RequestKey = (asked.namespace, who, asked.request_id)
    blank: Operation = replace(asked, entered_ms=0)
    if isinstance(blank, AcquireLease):
        blank = replace(blank, lease_id="")
    elif isinstance(blank, OpenSession):
        blank = replace(blank, session_id="")
    if key in books.requests:
        first, _, answer = books.requests[key]
        if first != blank:
            return no(Reason.REQUEST_ID_REUSED, "request_id")
        return _again(books, asked, answer) if isinstance(answer, str) else answer
    operators = not isinstance(asked, AcquireLease | OpenSession)
    if not operators and len(books.requests) >= books.bounds.requests_max:
        return no(Reason.REQUEST_TABLE_FULL, "", 1_000)
    outcome = CARRIED_OUT[type(asked)](books, asked)
    if not isinstance(outcome, Refused):
        made = asked.lease_id if isinstance(asked, AcquireLease) else ""
        made = asked.session_id if isinstance(asked, OpenSession) else made
        books.requests[key] = (blank, books.clock, made or outcome)
    return outcome


def _again(books: Books, asked: REMEMBERED, made: str) -> Outcome:
    if isinstance(asked, AcquireLease):
        seen = view(books, made)
        assert seen is not None, "the tests keep ended leases for longer than requests"
        return LeaseGranted(seen)
    session = view_session(books, made)
    assert session is not None, "the tests keep ended sessions for longer than requests"
    return SessionOpened(session)


def _pause(books: Books, asked: PauseCleanups) -> Outcome:
    if not asked.namespace:
        books.paused = True
        return Acknowledged()
    space = books.spaces[asked.namespace]
    space.paused = True
    space.revision += 1
    return Acknowledged(space.revision)


def _resume(books: Books, asked: ResumeCleanups) -> Outcome:
    if not asked.namespace:
        if not books.paused:
            return no(Reason.NOT_PAUSED, "namespace")
        books.paused = False
        if books.wait_ms >= 0 and books.wait_until_ms < 0:
            books.wait_until_ms = books.after(books.wait_ms)
        for index in [each for each in books.notes if books.contradicted(each)]:
            del books.notes[index], books.reports[index]
        return Acknowledged()
    space = books.spaces[asked.namespace]
    lifts = asked.release_brake and space.braked
    if not space.paused and not lifts:
        return no(Reason.NOT_PAUSED, "namespace")
    space.paused = False
    space.revision += 1
    if lifts:
        brake.release(books, asked.namespace)
    return Acknowledged(space.revision)


def _set_namespace(books: Books, asked: SetNamespace) -> Outcome:
    space = books.spaces.get(asked.namespace)
    if space is None:
        if len(books.spaces) >= books.bounds.namespaces_max:
            return no(Reason.QUOTA_EXCEEDED)
        if asked.revision:
            return no(Reason.NAMESPACE_NOT_FOUND, "namespace")
        space = Space(0, NamespaceLimits(), CleanupSettings(), BrakeSettings())
    elif asked.revision and asked.revision != space.revision:
        return no(Reason.NAMESPACE_CHANGED, "revision")
    settled = {}
    for section in ("limits", "cleanup", "brake"):
        now, wanted = getattr(space, section), getattr(asked, section)
        fields = {field: getattr(wanted, field) for field in wanted.__struct_fields__}
        if asked.given is not None:
            fields = {field: value for field, value in fields.items() if f"{section}.{field}" in asked.given}
        settled[section] = replace(now, **fields)
    if settled["cleanup"].retry_delay_ms_min > settled["cleanup"].retry_delay_ms_max:
        return no(Reason.INVALID_ARGUMENT, "cleanup.retry_delay_ms_max")
    books.spaces[asked.namespace] = space
    space.revision += 1
    space.limits, space.cleanup, space.brake = settled["limits"], settled["cleanup"], settled["brake"]
    if space.braked and not space.brake.enabled:
        brake.release(books, asked.namespace)
    return Acknowledged(space.revision)


CARRIED_OUT: dict[type[Operation], Callable[[Books, Any], Outcome]] = {
    AcquireLease: leases.acquire,
    RenewLeases: leases.renew,
    ReleaseLeases: leases.release,
    ReleaseHolder: leases.release_holder,
    OpenSession: sessions.open_session,
    RenewSessions: sessions.renew_sessions,
    CloseSession: sessions.close_session,
    PlaceHold: cleanups.place_hold,
    RemoveHold: cleanups.remove_hold,
    RetryCleanup: cleanups.retry,
    DiscardCleanup: cleanups.discard,
    ForgetResource: leases.forget,
    PauseCleanups: _pause,
    ResumeCleanups: _resume,
    SetNamespace: _set_namespace,
    AddMember: members.add,
    RemoveMember: members.remove,
}
