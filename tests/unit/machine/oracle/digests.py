"""Digests that are noted and reported, told over again: the first difference pauses, whoever is right."""

from garbagetruck.cluster.machine.operations import NoteDigest, ReportDigest
from garbagetruck.cluster.machine.outcomes import Acknowledged, Outcome, Reason
from tests.unit.machine.oracle.books import Books, no


def note(books: Books, asked: NoteDigest) -> Outcome:
    if asked.index <= max(books.notes, default=0):
        return no(Reason.INVALID_ARGUMENT)
    books.notes[asked.index] = asked.digest
    for index in sorted(books.notes)[:-8]:
        del books.notes[index]
        books.reports.pop(index, None)
    return Acknowledged()


def report(books: Books, asked: ReportDigest) -> Outcome:
    """Nobody's own word is remembered before someone differs; then cleanups pause."""
    if asked.node_id not in books.members:
        return no(Reason.MEMBER_UNKNOWN)
    if asked.index not in books.notes:
        return no(Reason.DIGEST_NOT_NOTED)
    noted = books.notes[asked.index]
    if asked.digest != noted or books.contradicted(asked.index):
        books.reports.setdefault(asked.index, {})[asked.node_id] = asked.digest
        books.paused = books.paused or asked.digest != noted
    return Acknowledged()
