"""What falls due when. Derived from the tables, never part of a snapshot.

An extension of a deadline touches nothing here: the entry stays where it was and is put back when it surfaces.
So a renewal costs no timer work. The order in which things *fall due* is (deadline, kind, key) whatever the entries
looked like before: an entry surfaces no later than its thing's deadline, and is put back at that deadline before
anything later can surface. Nodes whose entries differ therefore still agree.

Entries of what is over stay until they surface, which for a lease of 30 days takes 30 days. `tidy` keeps their number
in proportion to what lives, a bounded part at a time.
"""

from collections.abc import Callable, Sequence

from garbagetruck.cluster.machine.agenda import Agenda, Entry, TimerKey, TimerKind

__all__ = ["Entry", "TimerKey", "TimerKind", "Timers"]

TIDY_MIN = 10_000
"""So many dead entries are nobody's concern."""
TIDY_STEP = 500


Deadline = Callable[[TimerKind, TimerKey], int | None]
"""The first stamp at which a thing is due, in cluster milliseconds, or None when it needs no timer any more."""


class Timers:
    """`deadline_of` tells the truth that the entries only point at."""

    __slots__ = ("_added", "_agenda", "_deadline_of", "_moved", "_old", "_tidying")

    def __init__(self, deadline_of: Deadline) -> None:
        self._deadline_of = deadline_of
        self._agenda = Agenda()
        self._old = Agenda()
        """What is being tidied up: entries leave it for `_agenda`, none come."""
        self._moved: dict[TimerKind, set[TimerKey]] = {}
        """What `_agenda` has an entry for since the tidying began, so that a second one from `_old` is not needed."""
        self._tidying = False
        self._added = 0

    def __len__(self) -> int:
        return len(self._agenda) + len(self._old)

    def schedule(self, deadline_ms: int, kind: TimerKind, key: TimerKey) -> None:
        """Needed when a thing is new, or its deadline moved earlier."""
        self._agenda.push(deadline_ms, kind, key)
        self._added += 1

    def schedule_all(self, deadline_ms: int, kind: TimerKind, keys: Sequence[TimerKey]) -> None:
        """As many times `schedule`, for things of one deadline."""
        self._agenda.push_all(deadline_ms, kind, keys)
        self._added += len(keys)

    def next_due(self, clock_ms: int) -> tuple[TimerKind, TimerKey] | None:
        """The next thing that is due at `clock_ms`, None when there is none.

        Puts entries back whose deadline moved. What is next stays next until it is taken.
        """
        while True:
            agenda = self._first() if self._tidying else self._agenda
            due = agenda.due(clock_ms)
            if due is None:
                return None
            scheduled_ms, kind, key = due
            deadline_ms = self._deadline_of(kind, key)
            if deadline_ms == scheduled_ms:
                return kind, key
            agenda.pop()
            if deadline_ms is not None and deadline_ms > scheduled_ms:  # if earlier, another entry stands there
                self._agenda.push(deadline_ms, kind, key)

    def take(self) -> None:
        """Remove what `next_due` told."""
        self._first().pop()

    def earliest_ms(self) -> int | None:
        """No later than the first stamp at which something is due; None when nothing waits."""
        return self._first().first_ms()

    def tidy(self, living: int) -> None:
        """Drop entries of what is over, once they outnumber the `living` things. Costs what was added lately."""
        step, self._added = TIDY_STEP + 2 * self._added, 0
        if not self._tidying:
            self._moved = {kind: set() for kind in TimerKind}
            if len(self._agenda) <= 2 * living + TIDY_MIN:
                return
            self._old, self._agenda, self._tidying = self._agenda, Agenda(), True
        for _ in range(min(step, len(self._old))):
            scheduled_ms, kind, key = self._old.pop_any()
            deadline_ms = self._deadline_of(kind, key)
            if deadline_ms is not None and deadline_ms >= scheduled_ms and key not in self._moved[kind]:
                self._moved[kind].add(key)
                self._agenda.push(deadline_ms, kind, key)
        self._tidying = len(self._old) > 0

    def entries(self) -> list[Entry]:
        """All of them, in no order: what is scheduled, whether or not anything waits for it."""
        return self._agenda.entries() + self._old.entries()

    def _first(self) -> Agenda:
        """The agenda whose first entry is the earlier one."""
        if not self._old:
            return self._agenda
        return self._old if not self._agenda or self._old.first() < self._agenda.first() else self._agenda
