"""What must be true of a replicated log, whatever happens to those who keep it.

Duty: hear what nodes apply and acknowledge, and what they say on the wire, and find what contradicts.

- One history: at each index all nodes have applied the same, in every life, with snapshots or without; nothing twice.
- What was acknowledged stays: it is part of that history, and of every node's at the end.
- One leader for each term; one vote of each node in each term, over all its lives; nobody goes back to an earlier term
  than it vouched for; an entry's index and term name its content.
- Two majorities of one time have somebody in common, while the voters change, too (`electorate`).
- A confirmation covers what was acknowledged before it was asked for.

Must not know: the nodes, pysyncobj, the files.
"""

from collections.abc import Callable, Sequence

from garbagetruck.chaos.simulator.raft.electorate import Electorate, Seen
from garbagetruck.chaos.simulator.raft.machine import extend
from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.log import Entry

LENGTH_BYTES = 4


class RaftOracle:
    """`fail` hears of everything that must not be. `look` shows who bears a name now, which of several that did: a node
    with another disk is another node; and by whom it counts votes.
    """

    def __init__(self, fail: Callable[[str], None], look: Callable[[str], tuple[int, Seen | None]]) -> None:
        self._fail = fail
        self._look = look
        self.electorate = Electorate(fail)
        self._history: list[bytes | None] = [None]
        self._checksums: list[int] = [0]
        """By index: of the history up to there."""
        self._index_of: dict[bytes, int] = {}
        self._contents: dict[tuple[int, int], bytes] = {}
        self._leaders: dict[int, str] = {}
        self._votes: dict[tuple[str, int], str] = {}
        self._vouched: dict[str, int] = {}
        self.term_max = 0
        self.acknowledged_max = 0
        """The highest index of an acknowledged entry."""
        self.acknowledgements = 0
        self.confirmations = 0
        self.restored_count = 0

    @property
    def applied_max(self) -> int:
        return len(self._history) - 1

    def payload_at(self, index: int) -> bytes | None:
        """What the one history has there, as far as anybody has applied it."""
        return self._history[index]

    def checksum_at(self, index: int) -> int:
        """Of the one history up to there; 0 where nobody has got to yet."""
        return self._checksums[index] if index < len(self._checksums) else 0

    # --- applying ---------------------------------------------------------------------------------------------------

    def applied(self, name: str, after: int, entries: Sequence[Entry], up_to: int, checksum: int) -> None:
        """`name` applied what comes after `after`, up to `up_to`; where there is no entry was nothing to apply."""
        payloads = {entry.index: entry.payload for entry in entries}
        if entries and (entries[0].index <= after or entries[-1].index > up_to):
            self._fail(f"I3: {name} applied entries {entries[0].index} to {entries[-1].index} after {after}")
        for index in range(after + 1, up_to + 1):
            payload = payloads.get(index)
            if index == len(self._history):
                self._append(index, payload)
            elif index > len(self._history):
                self._fail(f"I3: {name} skipped entries before {index}, and nobody has them")
                return
            elif self._history[index] != payload:
                self._fail(f"I3: {name} applied {_name(payload)} at {index}, where {_name(self._history[index])} was")
                return
        if self._checksums[up_to] != checksum:
            self._fail(f"I3: {name} has another state than others at {up_to}")

    def _append(self, index: int, payload: bytes | None) -> None:
        self._history.append(payload)
        checksum = self._checksums[-1]
        if payload is not None:
            checksum = extend(checksum, Entry(index, payload))
            former = self._index_of.setdefault(payload, index)
            if former != index:
                self._fail(f"I3: {_name(payload)} was applied at {former}, and again at {index}")
        self._checksums.append(checksum)

    def restored(self, name: str, index: int, state_index: int, checksum: int) -> None:
        """`name` goes on from a state."""
        self.restored_count += 1
        if index != state_index or index >= len(self._checksums) or self._checksums[index] != checksum:
            self._fail(f"I3: {name} goes on from a state that is not the one behind {index}")

    def acknowledged(self, index: int, payload: bytes) -> None:
        """Whoever proposed it was told so."""
        del payload
        self.acknowledgements += 1
        self.acknowledged_max = max(self.acknowledged_max, index)

    def confirmed(self, name: str, before: int, commit_index: int) -> None:
        """Leadership was confirmed to who asked when everything up to `before` was acknowledged."""
        self.confirmations += 1
        if commit_index < before:
            self._fail(f"I8: {name} was confirmed with commit index {commit_index}, after {before} was acknowledged")

    # --- the wire ---------------------------------------------------------------------------------------------------

    def said(self, source: str, target: str, frame: bytes) -> None:
        """`source` put a frame on its connection to `target`."""
        name, (generation, seen) = source, self._look(source)
        source, target = f"{source}.{generation}", f"{target}.{self._look(target)[0]}"
        if seen is not None:
            self.electorate.has_applied(seen)
        match wire.decode(frame[LENGTH_BYTES:]):
            case wire.AppendEntries() as message:
                if message.term not in self._leaders and message.term >= self.term_max and seen is not None:
                    self.electorate.led(name, message.term, seen)
                self._led(source, message.term)
                for command, index, term in message.entries:
                    if self._contents.setdefault((index, term), command) != command:
                        self._fail(f"I3: entry {index} of term {term} has two contents")
            case wire.RequestVote(term):
                self._vouches(source, term)
                self._voted(source, term, source)
            case wire.Vote(term):
                self._vouches(source, term)
                self._voted(source, term, target)
            case wire.NextIndex(term):
                self._vouches(source, term)
            case _:
                pass

    def _led(self, name: str, term: int) -> None:
        self._vouches(name, term)
        if self._leaders.setdefault(term, name) != name:
            self._fail(f"I3: {self._leaders[term]} and {name} lead term {term}")

    def _voted(self, name: str, term: int, candidate: str) -> None:
        if self._votes.setdefault((name, term), candidate) != candidate:
            self._fail(f"I2: {name} forgot its vote for {self._votes[name, term]} in {term}, and votes for {candidate}")

    def _vouches(self, name: str, term: int) -> None:
        former = self._vouched.get(name, 0)
        if term < former:
            self._fail(f"I2: {name} vouches for term {term} after it did for term {former}")
        self._vouched[name] = max(former, term)
        self.term_max = max(self.term_max, term)

    # --- the end ----------------------------------------------------------------------------------------------------

    def judge_end(self, applied: dict[str, int], known: int | None = None) -> None:
        """All is healed, and was for long: everybody has everything, or all that anybody had a while ago."""
        for name, index in sorted(applied.items()):
            if index < (self.applied_max if known is None else known):
                self._fail(f"I4: {name} has applied {index} of {self.applied_max} entries, long after all was healed")


def _name(payload: bytes | None) -> str:
    return "nothing" if payload is None else payload.partition(b";")[0].decode()
