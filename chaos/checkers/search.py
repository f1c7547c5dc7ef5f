"""Is there an order that explains what was seen? The search of Wing and Gong (1993), with a memo (Lowe 2017), for one resource.

Duty: find an order of a resource's calls, each at a moment between its sending and its answer, in which every answer is right.
Invariants: pure, and bounded by `STEPS_MAX`: a search that ends there is undecided, neither right nor wrong. What may have
happened, or may still (an expiry, a call that nobody answered), is never made to happen before an answer needs it: such an
event is possible from some moment on and for ever, so that putting it off costs no order that would do.
Must not know: the history that the calls come from, the cluster.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

STEPS_MAX = 200_000
"""Steps of one resource's search. Calls that overlap one another are what costs steps; some dozens in a row are few."""


class Act(Enum):
    """What a call shows of its resource at its moment."""

    STARTS = "starts"
    """Its lease, which was not there before. Leases start by rising token."""
    ENDS = "ends"
    """Its lease, which may be over already."""
    IS_LIVE = "is live"
    IS_OVER = "is over"
    HOLDS = "holds"
    """Exactly these leases are live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One answered call. Leases are named by the requests that made them."""

    act: Act
    sent_ns: int
    ended_ns: int
    leases: frozenset[str]
    token: int = 0
    told: str
    """How to speak of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """All that concerns one resource."""

    answered: Sequence[Call]
    may_start_ns: Mapping[str, int]
    """From when on leases may have been made whose acquires nobody answered."""
    may_end_ns: Mapping[str, int]
    """From when on a lease may be over without an answer that says so."""


class Verdict(Enum):
    """What a search came to."""

    EXPLAINED = "explained"
    UNEXPLAINED = "unexplained"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a search. `stuck` is a call that no order got past; empty when there is an order."""

    verdict: Verdict
    stuck: str = ""
    steps: int = 0


@dataclass(frozen=True, slots=True)
class _State:
    live: frozenset[str] = frozenset()
    over: frozenset[str] = frozenset()
    started: int = 0
    """How many of the acquires have had their moment."""


@dataclass(frozen=True, slots=True)
class _Node:
    """Which calls have had their moment, as bits, the first that has not, and what is then."""

    done: int
    first: int
    state: _State


@dataclass(slots=True)
class _Search:
    calls: Calls
    ordered: list[Call] = field(init=False)
    starts: list[Call] = field(init=False)
    """By rising token, the one order in which they can come: or every subset of those that overlap would be tried."""

    def __post_init__(self) -> None:
        self.ordered = sorted(self.calls.answered, key=lambda each: (each.sent_ns, each.ended_ns))
        starts = (each for each in self.ordered if each.act is Act.STARTS)
        self.starts = sorted(starts, key=lambda each: each.token)

    def run(self, steps_max: int) -> Found:
        everything = (1 << len(self.ordered)) - 1
        stack, seen = [_Node(0, 0, _State())], set[tuple[int, _State]]()
        furthest, steps = stack[0], 0
        while stack:
            node = stack.pop()
            if node.done == everything:
                return Found(Verdict.EXPLAINED, "", steps)
            if steps >= steps_max:
                return Found(Verdict.UNDECIDED, self._next_to_answer(furthest).told, steps)
            steps += 1
            if node.done.bit_count() > furthest.done.bit_count():
                furthest = node
            for child in self._children(node):
                if (child.done, child.state) not in seen:
                    seen.add((child.done, child.state))
                    stack.append(child)
        return Found(Verdict.UNEXPLAINED, self._next_to_answer(furthest).told if self.ordered else "", steps)

    def _children(self, node: _Node) -> list[_Node]:
        children: list[_Node] = []
        chosen, horizon_ns = self._window(node)
        for position in chosen:
            state = self._after(node.state, self.ordered[position], horizon_ns)
            if state is None:
                continue
            child = self._moved(node, position, state)
            if state == node.state:
                # What changes nothing and is right now may as well come now: later it bars more, and allows no more.
                return [child]
            children.append(child)
        children.reverse()  # the one that was sent first is tried first
        return children

    def _window(self, node: _Node) -> tuple[list[int], int]:
        """Which calls may come next: those sent before any other that is left was answered. And when that was."""
        chosen: list[int] = []
        horizon_ns: int | None = None
        for position in self._left(node):
            call = self.ordered[position]
            if horizon_ns is not None and call.sent_ns > horizon_ns:
                break
            chosen.append(position)
            horizon_ns = call.ended_ns if horizon_ns is None else min(horizon_ns, call.ended_ns)
        assert horizon_ns is not None, "nothing is left"
        return [each for each in chosen if self.ordered[each].sent_ns <= horizon_ns], horizon_ns

    def _left(self, node: _Node) -> Iterator[int]:
        return (each for each in range(node.first, len(self.ordered)) if not node.done >> each & 1)

    def _moved(self, node: _Node, position: int, state: _State) -> _Node:
        done, first = node.done | 1 << position, node.first
        while done >> first & 1:
            first += 1
        return _Node(done, first, state)

    def _next_to_answer(self, node: _Node) -> Call:
        return min((self.ordered[each] for each in self._left(node)), key=lambda each: each.ended_ns)

    # -- what a lease is ----------------------------------------------------------------------------------------

    def _after(self, state: _State, call: Call, horizon_ns: int) -> _State | None:
        """What is then if the call has its moment now; None when its answer would be wrong."""
        match call.act:
            case Act.STARTS:
                if call is not self.starts[state.started]:
                    return None
                return _State(state.live | call.leases, state.over, state.started + 1)
            case Act.ENDS:
                if not call.leases <= state.live | state.over:
                    return None
                return _State(state.live - call.leases, state.over | call.leases, state.started)
            case Act.IS_LIVE:
                return self._let_live(state, call.leases, horizon_ns)
            case Act.IS_OVER:
                return self._let_end(state, call.leases, horizon_ns)
            case Act.HOLDS:
                ended = self._let_end(state, state.live - call.leases, horizon_ns)
                return None if ended is None else self._let_live(ended, call.leases, horizon_ns)

    def _let_live(self, state: _State, leases: frozenset[str], horizon_ns: int) -> _State | None:
        absent = leases - state.live
        if absent & state.over or not self._possible(self.calls.may_start_ns, absent, horizon_ns):
            return None
        return _State(state.live | absent, state.over, state.started) if absent else state

    def _let_end(self, state: _State, leases: frozenset[str], horizon_ns: int) -> _State | None:
        ending = leases & state.live
        if not self._possible(self.calls.may_end_ns, ending, horizon_ns):
            return None
        return _State(state.live - ending, state.over | ending, state.started) if ending else state

    @staticmethod
    def _possible(since_ns: Mapping[str, int], leases: frozenset[str], horizon_ns: int) -> bool:
        return all(lease in since_ns and since_ns[lease] <= horizon_ns for lease in leases)


def search(calls: Calls, *, steps_max: int = STEPS_MAX) -> Found:
    """Look for an order that explains every answer."""
    return _Search(calls).run(steps_max)
