"""What keeps pysyncobj's log replication true to Raft.

pysyncobj 0.3.17 has a follower cut its log behind `prev_index` of every message, matching entries or not, and has a
leader step back and repeat itself after every acknowledgement; so entries that were acknowledged, and even applied,
vanish for a while (syncobj.py 991-1006, 1078-1082). Raft lets a follower remove an entry only when another of a
different term takes its place (Ongaro and Ousterhout, section 5.3, rule 3 of AppendEntries). Both sides are put
right here, on messages, before pysyncobj sees them:

- the leader does not repeat on a connection what that connection already carried (`Carriage`);
- the follower moves a message's beginning past everything it already has (`fit`).

Pure: no I/O, no clock, no state but what one connection carried.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from garbagetruck.cluster.raft.snapshots.format import is_hollow
from garbagetruck.cluster.raft.wire import AppendEntries, NextIndex


class LogView(Protocol):
    """A node's own log, to be read."""

    @property
    def last_index(self) -> int: ...

    def term_at(self, index: int) -> int | None:
        """Term of the entry at `index`; None when the log has none."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A message that pysyncobj can take as it is, and the bound on what it may then acknowledge.

    `verified_index` is None unless this node's log goes on behind what the leader has vouched for.
    """

    message: AppendEntries
    verified_index: int | None = None

    def bound(self, answer: NextIndex) -> NextIndex:
        """The answer to `message`, acknowledging no more than the leader has vouched for."""
        if self.verified_index is None or not answer.success:
            return answer
        return replace(answer, next_index=min(answer.next_index, self.verified_index + 1))


def fit(message: AppendEntries, log: LogView) -> Fitted:
    """Move the beginning of `message` past the entries that `log` has already, so that no matching one is cut.

    What conflicts is left to be cut, what is not there yet to be appended, and a message whose beginning does not
    match to be refused.
    """
    if log.term_at(message.prev_index) != message.prev_term:
        return Fitted(message)
    for _, index, term in message.entries:
        own_term = log.term_at(index)
        if own_term is None:
            break
        if own_term != term:
            return Fitted(_begin_at(message, log, index - 1))
    fitted = _begin_at(message, log, log.last_index)
    if message.end_index >= log.last_index or log.term_at(log.last_index) == message.term:
        # A log that ends with an entry of the leader's own term is a beginning of the leader's log.
        return Fitted(fitted)
    # What lies behind may be another leader's. It must not be cut, for it may be committed; nor may it be acknowledged
    # or committed on this message's word. pysyncobj commits up to the end of its log (syncobj.py 1033).
    end_index = message.end_index
    return Fitted(replace(fitted, commit_index=min(message.commit_index, end_index)), verified_index=end_index)


def _begin_at(message: AppendEntries, log: LogView, index: int) -> AppendEntries:
    """`message` without its entries up to `index`, which match `log`."""
    term = log.term_at(index)
    assert term is not None
    return replace(
        message, prev_index=index, prev_term=term, entries=message.entries[max(0, index - message.prev_index) :]
    )


class Carriage:
    """The end of what one connection has carried to a follower in one term of this leader."""

    def __init__(self) -> None:
        self._term = -1
        self._index = 0
        self._index_term = 0

    def strip(self, message: AppendEntries) -> AppendEntries:
        """`message` without what was carried before; the rest counts as carried from now on.

        When the follower did not take what was carried, it refuses the message, as it refuses any gap, and `forget`
        is due. So this can delay an entry, and never lose one.
        """
        if message.term != self._term:
            self._term, self._index = message.term, 0
        if message.prev_index < self._index:
            message = replace(
                message,
                prev_index=self._index,
                prev_term=self._index_term,
                entries=message.entries[self._index - message.prev_index :],
            )
        if message.entries:
            _, self._index, self._index_term = message.entries[-1]
        return message

    def forget(self) -> None:
        """The follower refused something: repeat what pysyncobj wants repeated."""
        self._index = 0


def withheld(message: AppendEntries, changed_index: int) -> AppendEntries:
    """What a leader may tell that has not stored yet that a change of the voters at `changed_index` (0: none) is committed.

    Who hears that its own removal is committed ends for good. The leader, started again without knowing, would wait for its vote.
    """
    return replace(message, commit_index=changed_index - 1) if 0 < changed_index <= message.commit_index else message


def begins_hollow(message: AppendEntries) -> bool:
    """Whether its first entry only stands for one that is in a snapshot.

    A log that began with a snapshot begins with two such entries, and pysyncobj sends the second like any other: whoever has all
    before it, and not that, would take nothing for what was committed there.
    """
    return bool(message.entries) and is_hollow(message.entries[0], message.prev_term)


def in_parts(message: AppendEntries, entries_max: int) -> Iterator[AppendEntries]:
    """The same in several messages of at most so many entries, which follow each other."""
    while len(message.entries) > entries_max:
        head, tail = message.entries[:entries_max], message.entries[entries_max:]
        yield replace(message, entries=head)
        message = replace(message, prev_index=head[-1][1], prev_term=head[-1][2], entries=tail)
    yield message
