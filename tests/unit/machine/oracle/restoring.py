"""A restore, as the oracle sees it: nothing is deleted for want of knowledge.

It must not know: any module of the machine but its records.
"""

from garbagetruck.cluster.machine.model import Member, ResourceState
from tests.unit.machine.oracle.books import Books, Thing, ThingKey


def restore(books: Books, incarnation: int, founder: Member) -> None:
    held = [each.ttl_ms for each in books.leases.values()]
    held += [each.ttl_ms for each in books.sessions.values()]
    lately = (*books.ended.values(), *books.ended_sessions.values(), *books.draining.values())
    held += [each.ttl_ms for each in lately if books.clock - each.ended_ms <= each.ttl_ms]
    claimed = {key: each for key, each in books.things.items() if each.state is ResourceState.CLAIMED}
    running = [each.claim_deadline_ms - books.clock for each in claimed.values()]
    pending = books.wait_ms if books.waits() >= 0 else 0
    books.wait_ms = max([pending, *held, *running])
    books.wait_until_ms = -1
    books.paused = True
    books.members = {founder.id: founder}
    books.notes.clear()
    books.reports.clear()
    books.incarnation, books.tokens, books.named = incarnation, 0, False
    for lease in books.leases.values():
        if not lease.session:
            lease.deadline_ms = books.clock + lease.ttl_ms
    for session in books.sessions.values():
        session.deadline_ms = books.clock + session.ttl_ms
    for key, thing in claimed.items():
        _void(books, key, thing)


def _void(books: Books, key: ThingKey, thing: Thing) -> None:
    thing.failures += 1
    thing.touch()
    if thing.failures >= books.spaces[key[0]].cleanup.attempts_max:
        thing.state, thing.due_ms = ResourceState.DEAD_LETTER, 0
        return
    thing.state, thing.due_ms = ResourceState.DUE, books.clock + books.delay_of(thing.claim_token)
    assert thing.due_ms > thing.claim_deadline_ms, "a claim's deadline is waited out"
