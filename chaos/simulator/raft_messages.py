"""What the modelled Raft nodes say to each other, as in figure 2 of the Raft paper, with a probe to echo."""

from dataclasses import dataclass

LogEntry = tuple[int, bytes | None]
"""(term, payload); no payload for Raft's own entries."""


@dataclass(frozen=True, slots=True)
class RequestVote:
    term: int
    candidate: str
    last_index: int
    last_term: int
    transfer: bool


@dataclass(frozen=True, slots=True)
class Vote:
    term: int
    voter: str


@dataclass(frozen=True, slots=True)
class Append:
    term: int
    leader: str
    previous_index: int
    previous_term: int
    entries: tuple[LogEntry, ...]
    commit_index: int
    probe: int


@dataclass(frozen=True, slots=True)
class Appended:
    term: int
    follower: str
    success: bool
    match_index: int
    probe: int


@dataclass(frozen=True, slots=True)
class StandNow:
    term: int


@dataclass(frozen=True, slots=True)
class Stray:
    """A proposal that its proposer could not append any more, on its way to whoever leads now."""

    term: int
    payload: bytes


Message = RequestVote | Vote | Append | Appended | StandNow | Stray
