"""What a cleanup handler is: the interface that this project and third parties implement.

Duty: say what the executor and the API's door ask of a handler, and what a handler may rely on.

A handler is made once in each process, by a factory that the operator's configuration names (registry.py). The door
of every node asks it for canonical targets; only on the leader is it asked to observe and to clean.

What a handler may rely on:

- `clean` is called under a committed claim: the resource has no lease, no hold, and nobody else cleans it. It is never
  called with another target than the one that the cluster committed.
- The idempotency key is the same for all attempts at one generation of a resource, and for nothing else.
- The fencing token of a claim is higher than any token issued before it in the same cluster, restores included.

What a handler must do, since the executor cannot do it in its place:

- Ask `call.may_proceed()` immediately before each effect, and start none when it says no. A leader that was paused
  for an hour learns of it there.
- Hand the token and the identity on to where the thing lives, wherever that place can check them: a check made here
  can be overtaken, a check made there cannot.
- Call a target that is gone `already_gone`. It is a success.

Must not know: the replicated machine, Raft, gRPC.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

ABSENT = ""
"""The identity of a target that is not there."""

NOT_OBSERVED = "not-observed"
"""The identity given by a handler that cannot look at its target without touching it."""

ERROR_CHARACTERS_MAX = 512
"""What is kept of an error; longer text is cut."""


class InvalidParametersError(ValueError):
    """The client's parameters name no target. A refusal: nothing was done.

    `parameter` is the key at fault ("" when the set of keys is), `problem` says what is wrong, `remedy` what is right.
    All three are shown to the client, so they must not contain a secret.
    """

    def __init__(self, parameter: str, problem: str, remedy: str) -> None:
        super().__init__(f"{parameter or 'parameters'}: {problem}; {remedy}")
        self.parameter = parameter
        self.problem = problem
        self.remedy = remedy


class ObservationError(Exception):
    """The target could not be observed; it counts as a failed attempt, and `str()` is kept for the operator.

    With `retryable=False` the cleanup becomes a dead letter at once, as after `CleanupResult.failed`.
    """

    def __init__(self, error: str, *, retryable: bool = True) -> None:
        super().__init__(error)
        self.retryable = retryable


class Verdict(enum.Enum):
    """How an attempt ended."""

    DONE = "done"
    ALREADY_GONE = "already_gone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CleanupResult:
    """What `clean` answers. Made by `done`, `already_gone` and `failed`."""

    verdict: Verdict
    error: str = ""
    """What went wrong, for people, at most `ERROR_CHARACTERS_MAX` characters; empty unless failed."""
    retryable: bool = True
    """Whether another attempt can do better. If not, the cleanup becomes a dead letter at once."""

    @classmethod
    def done(cls) -> "CleanupResult":
        """This attempt removed the target."""
        return cls(Verdict.DONE)

    @classmethod
    def already_gone(cls) -> "CleanupResult":
        """There was nothing left to remove: a success."""
        return cls(Verdict.ALREADY_GONE)

    @classmethod
    def failed(cls, error: str, *, retryable: bool = True) -> "CleanupResult":
        """The target is still there, or nobody knows. `error` must not contain a secret: it is stored and shown."""
        return cls(Verdict.FAILED, error[:ERROR_CHARACTERS_MAX], retryable)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupCall:
    """One attempt at one cleanup, under a committed claim. Its callables may be called from any thread."""

    cluster_id: str
    """Tokens of different clusters cannot be compared."""
    namespace: str
    resource: str
    generation: int
    """Which life of the resource."""
    parameters: Mapping[str, str]
    """As the client gave them; `canonical_target` accepted them on the node that took the acquire."""
    target: str
    """What `canonical_target(parameters)` gives, here and where it was committed."""
    fencing_token: int
    """The claim's token. What bears a higher one was made later, and must survive this call."""
    idempotency_key: str
    """32 hexadecimal characters: the same for every attempt at this generation, and unique across clusters."""
    identity: str
    """What `observe` answered before the claim was proposed, as committed with it. `ABSENT`: nothing was there."""
    attempt: int
    """Counts from 1."""
    remaining_s: Callable[[], float]
    """Seconds until the attempt must have stopped; zero or less when it should have stopped already."""
    still_leading: Callable[[], bool]
    """Whether this node leads and the attempt has not been cancelled."""

    def may_proceed(self) -> bool:
        """Whether an effect may still be started. Ask immediately before each one."""
        return self.remaining_s() > 0 and self.still_leading()


class Handler(ABC):
    """A way to clean up one kind of thing. All methods run on the node's event loop, and must not block it.

    Constructors do nothing; `start` opens what is needed.
    """

    scheme: ClassVar[str]
    """How canonical targets of this handler begin, before the colon: 1 to 32 of `a-z`, `0-9`, `+`, `-`, `.`.

    Handlers that can reach the same things must share a scheme, and give the same thing the same target.
    """

    @abstractmethod
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        """Name what these parameters would touch: `scheme:/segment/segment`, the same on every node.

        Called at the door for every acquire that brings a cleanup, so it is fast and performs no I/O. Two parameter
        sets that touch the same thing give the same target, and a thing that contains another is a prefix of it at a
        segment's border: the cluster lets no two resources own the same or overlapping targets.

        Raises `InvalidParametersError`.
        """

    async def observe(self, parameters: Mapping[str, str]) -> str:
        """Tell the target's identity as it is now: text that changes when the thing is replaced by another.

        `ABSENT` when it is not there. At most 512 characters, printable. It is committed with the claim and handed to
        `clean`, which compares. Without an override nothing is observed, and the token alone has to fence.

        Raises `ObservationError`.
        """
        del parameters
        return NOT_OBSERVED

    @abstractmethod
    async def clean(self, call: CleanupCall) -> CleanupResult:
        """Remove the target. Cancelled at its deadline and when leadership is lost; may be repeated at any time.

        Whatever it raises counts as a failed attempt that may be retried.
        """

    def check(self) -> Sequence[str]:
        """Tell what is wrong with the world around the handler, for `config check`: each a sentence with a remedy.

        May read files, connect and block, for as long as its own timeouts say; so it is not called on a loop. Changes nothing,
        and needs no `start`. Settings were checked when the handler was made.
        """
        return ()

    async def start(self) -> None:  # noqa: B027 - most handlers have nothing to open
        """Open what the handler needs. Raises `OSError` or `ValueError` when the node must not serve without it."""

    async def stop(self) -> None:  # noqa: B027 - likewise
        """Close it again. No call is running, and none follows."""
