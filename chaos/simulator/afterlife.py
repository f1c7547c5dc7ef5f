"""What the next incarnation would do that begins with a restored state, before anybody has looked at it.

Duty: begin it by the product's own code, let its machine go on for as long as any lease may last, and see that it deletes nothing
(I9): every lease that was left has its full TTL again, nothing is ready to be cleaned until an operator resumes, nor before the
longest TTL has run once more after that.

Must not know: where the state comes from, and what the cluster was doing.
"""

from collections.abc import Callable, Iterator

from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.features import LEVEL_NEWEST, format_of
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import LeaseState, Member
from garbagetruck.cluster.machine.operations import Batch, EnterEpoch, Operation, ResumeCleanups
from garbagetruck.cluster.machine.outcomes import LeaseView
from garbagetruck.cluster.machine.questions import LeaseFilter
from garbagetruck.cluster.machine.restoring import begin_incarnation
from garbagetruck.cluster.machine.state import State

FOUNDER = Member("n9", "127.0.0.1:1009", "127.0.0.1:2009", "127.0.0.1:9", "", "disk-n9", LEVEL_NEWEST, "127.0.0.1:3009")
STEP_MS = 1_000
PAGE = 1_000


class Afterlife:
    """Of one restored state, which is used up by it. `fail` hears of everything that must not be."""

    def __init__(self, state: State, fail: Callable[[str], None]) -> None:
        self._fail = fail
        begin_incarnation(state, state.incarnation + 1, (FOUNDER,), source="the depot", incarnation_id="5f0c" * 8)
        self._machine = Machine(state, level=LEVEL_NEWEST)
        self._at_ms = state.clock_ms
        self._epoch = state.epoch
        self._sequence = 0

    def judge(self) -> None:
        """Let it go on."""
        self._epoch += 1
        self._write(EnterEpoch(FOUNDER.id))
        leases = [each for each in self._leases() if each.state is LeaseState.ACTIVE]
        short = [each.id for each in leases if each.remaining_ms != each.ttl_ms and not each.session_id]
        if short:
            self._fail(f"I9: {short} have not their full TTL again after a restore")
        longest_ms = max((each.ttl_ms for each in leases), default=0)
        self._pass(longest_ms + STEP_MS, "before anybody has resumed cleanups")
        self._write(ResumeCleanups(self._at_ms, "", "", "operator", "looked"))
        left_ms = self._machine.quarantine_left_ms or 0
        if left_ms < longest_ms:
            self._fail(f"I9: cleanups wait {left_ms} ms after a restore, and a lease of {longest_ms} ms may be held")
        elif left_ms:
            self._pass(left_ms - STEP_MS, "before the longest TTL has run once more")

    def _leases(self) -> Iterator[LeaseView]:
        for namespace in self._machine.namespaces():
            page = self._machine.leases(LeaseFilter(namespace.name), 0, PAGE, self._at_ms)
            yield from page.items

    def _pass(self, span_ms: int, when: str) -> None:
        end_ms = self._at_ms + span_ms
        while self._at_ms < end_ms:
            self._at_ms = min(self._at_ms + STEP_MS, end_ms)
            self._write()
            ready = self._machine.ready(1)
            if ready:
                self._fail(f"I9: {ready[0].name} may be cleaned after a restore, {when}")
                return

    def _write(self, *operations: Operation) -> None:
        self._sequence += 1
        batch = Batch(format_of(operations), self._epoch, self._at_ms, FOUNDER.id, self._sequence, operations)
        applied = self._machine.apply(codec.encode_batch(batch))
        assert applied.refused is None, applied.refused
