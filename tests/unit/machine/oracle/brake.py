"""The brake, by counting people: who lost a lease lately, of all who are known."""

from tests.unit.machine.oracle.books import Books


def lost(books: Books, namespace: str, holder: str) -> None:
    space = books.spaces[namespace]
    space.lost[holder] = books.clock
    if space.braked:
        space.missing.add(holder)


def judge(books: Books, namespace: str) -> None:
    space = books.spaces[namespace]
    recent = {each for each, when in space.lost.items() if when > books.clock - space.brake.window_ms}
    space.lost = {each: when for each, when in space.lost.items() if each in recent}
    known = recent | books.holders(namespace)
    many = len(recent) >= space.brake.holders_min and len(recent) > space.brake.share * len(known)
    if space.brake.enabled and not space.braked and many:
        space.braked, space.known, space.missing = True, len(known), set(recent)


def heard(books: Books, namespace: str, holder: str) -> None:
    space = books.spaces[namespace]
    space.lost.pop(holder, None)
    if not space.braked or holder not in space.missing:
        return
    space.missing.discard(holder)
    if len(space.missing) < space.brake.holders_min or len(space.missing) <= space.brake.share * space.known:
        release(books, namespace)


def release(books: Books, namespace: str) -> None:
    space = books.spaces[namespace]
    space.braked, space.known, space.missing, space.lost = False, 0, set(), {}
    space.not_before_ms = books.after(space.cleanup.grace_ms_min)
