"""The state behind the log, as far as snapshots need it: types only.

Duty: say what the node's side gives: the state at a moment, and a state from what was once such a moment.

Must not know: what a state is.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader

ResultT = TypeVar("ResultT")


class Background(Protocol):
    """Runs jobs off the Raft thread, one after the other."""

    def __call__(self, job: Callable[[], ResultT], done: Callable[[ResultT], None], /) -> None:
        """Run `job`, and give its result to `done` on the Raft thread. What either raises ends the node."""


@dataclass(frozen=True, slots=True)
class Capture:
    """The state right behind the entry at `index`, whatever is applied while `chunks` is read."""

    index: int
    chunks: AsyncGenerator[bytes, None]
    """On the main loop; each of at least one byte, and at most 4 MiB."""
    close: Callable[[], None] = lambda: None
    """To be called when no more is read, whether all of it was or not."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A state that takes the place of the node's own: right behind the entry at `index`."""

    index: int
    state: object
    """What `StateMachine.decode` made."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a log goes on from: the state, and what the log has to be told of it. It is durable."""

    restored: Restored
    header: SnapshotHeader


class StateMachine(Protocol):
    """What entries are applied to."""

    def capture(self) -> Capture:
        """The state as it is now. On the main loop, in less than 50 ms."""

    def decode(self, chunks: Iterator[bytes]) -> object:
        """A state from the chunks of a capture, verified; nothing of the machine is touched. On any thread.

        Raises SnapshotUnfit; StateTooNew, which is one, for what is whole and newer than what it reads.
        """


@dataclass(frozen=True, slots=True)
class Snapshots:
    """What a node takes snapshots of, and what it writes them with: an executor of one thread."""

    machine: StateMachine
    executor: Executor
