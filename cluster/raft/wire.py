"""What Raft nodes say to each other: typed messages, and their encoding.

Duty: every frame on a Raft connection is one of these records, as MessagePack. Decoding builds plain data of the types
declared here and nothing else; whatever does not fit is refused as a whole. No pickle is ever read from a connection.

Invariants: the entries of one message follow each other without a gap, from `prev_index + 1` on, and are of the three
kinds that this cluster writes.

Must not know: pysyncobj's objects. `to_stock` and `from_stock` know the keys of its messages, which are dicts.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from garbagetruck.cluster.raft import voter_change

PROTOCOL = 3
"""Format of the frames; both sides of a handshake must have the same."""

FORMAT = 1
"""The oldest format of log entries. A node announces the newest that it reads, `RaftSettings.entry_format`."""
MEMBERSHIP_FORMAT = 2
"""From here on there are entries that change the voters. They are proposed only while everybody announces it."""

REGULAR, NO_OP, MEMBERSHIP = 0, 1, 2
"""First byte of a command: a payload of ours, the empty entry with which pysyncobj opens a term, or a change of the voters."""

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

LogEntry = tuple[bytes, Natural, Natural]
"""(command, index, term), in pysyncobj's own order."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The first frame of both sides. `to` is whom the sender believes to be talking to."""

    protocol: Natural
    cluster_id: Name
    incarnation: Natural
    node_id: Name
    disk_id: Name
    to: Name
    format: Natural
    """The newest format of log entries that the sender reads."""
    voting_since: Natural = 0
    """The sender has applied an entry up to here by which it votes, with this disk; 0 when it does not, or founded."""
    founding: str | None = None
    """With whom the sender's folder founded the log (`Founding.mark`); empty when it joined. None from versions without joining."""
    origin: str = ""
    """Which log the sender has (`Origin`); empty when it has applied nothing yet, or does not know."""


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """The answer to a `Hello` that does not belong here; the connection ends with it."""

    reason: str


class AppendEntries(msgspec.Struct, frozen=True, array_like=True, tag="append"):
    """A leader's entries after (`prev_index`, `prev_term`); without any, its heartbeat."""

    term: Natural
    commit_index: Natural
    prev_index: Natural
    prev_term: Natural
    entries: list[LogEntry]

    def __post_init__(self) -> None:
        expected = self.prev_index
        for command, index, _ in self.entries:
            expected += 1
            if index != expected:
                raise ValueError(f"entry {index} where {expected} belongs")
            if not command or command[0] not in (REGULAR, NO_OP, MEMBERSHIP):
                raise ValueError(f"entry {index} is of a kind that this cluster does not write")
            if command[0] == MEMBERSHIP:
                voter_change.decode(command[1:])

    @property
    def end_index(self) -> int:
        """Index of the last entry, or `prev_index`."""
        return self.prev_index + len(self.entries)


class NextIndex(msgspec.Struct, frozen=True, array_like=True, tag="next"):
    """A follower's answer to `AppendEntries`, tagged with the follower's term."""

    term: Natural
    next_index: Natural
    reset: bool
    success: bool


class RequestVote(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """A candidate of `term` asks for a vote. `transfer` says that the leader itself asked it to stand."""

    term: Natural
    last_index: Natural
    last_term: Natural
    transfer: bool = False


class Vote(msgspec.Struct, frozen=True, array_like=True, tag="vote"):
    term: Natural


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag="timeout_now"):
    """The leader of `term` asks the receiver to stand for election at once."""

    term: Natural


class PreVote(msgspec.Struct, frozen=True, array_like=True, tag="pre_ask"):
    """A node of `term` asks whether it would get a vote if it stood. Nothing changes by asking or by answering.

    Ongaro's dissertation, section 9.6. `round_` tells the sender's rounds apart.
    """

    term: Natural
    round_: Natural
    last_index: Natural
    last_term: Natural


class PreVoteAnswer(msgspec.Struct, frozen=True, array_like=True, tag="pre_vote"):
    """The answer to a `PreVote`; `term` is the answering node's own."""

    term: Natural
    round_: Natural
    granted: bool


class TermNotice(msgspec.Struct, frozen=True, array_like=True, tag="term"):
    """The answer to entries of a leader whose term is over: the sender is in `term` already. pysyncobj gives none."""

    term: Natural


class Probe(msgspec.Struct, frozen=True, array_like=True, tag="probe"):
    """The leader of `term` asks whether the receiver still follows it."""

    term: Natural
    sequence: Natural


class Echo(msgspec.Struct, frozen=True, array_like=True, tag="echo"):
    """The answer to a `Probe`, given only by a follower of that leader in that term."""

    term: Natural
    sequence: Natural
    space_low: bool = False
    """The sender's disk has less room than it should: the leader is to take nothing that can wait."""


class Alive(msgspec.Struct, frozen=True, array_like=True, tag="alive"):
    """Says nothing, on a connection on which nothing else was said for a while."""


class SnapshotOffer(msgspec.Struct, frozen=True, array_like=True, tag="offer"):
    """The leader of `term` has not got the entries that the receiver needs any more: it is to have a snapshot.

    Said again and again until the receiver has it: it is the leader's heartbeat meanwhile.
    """

    term: Natural
    snapshot_id: Name
    index: Natural
    size_bytes: Natural


class SnapshotWanted(msgspec.Struct, frozen=True, array_like=True, tag="wanted"):
    """The answer: what the receiver needs next begins at `offset`; at the end of the snapshot it needs nothing."""

    term: Natural
    snapshot_id: Name
    offset: Natural


class SnapshotChunk(msgspec.Struct, frozen=True, array_like=True, tag="chunk"):
    """A part of the snapshot's file. `checksum` is its CRC32."""

    term: Natural
    snapshot_id: Name
    offset: Natural
    checksum: Natural
    content: Annotated[bytes, msgspec.Meta(min_length=1)]


class SnapshotUnfit(msgspec.Struct, frozen=True, array_like=True, tag="unfit"):
    """The answer to the offer of a snapshot that was sent and found damaged: another one is needed."""

    term: Natural
    snapshot_id: Name
    reason: str


SnapshotMessage = SnapshotOffer | SnapshotWanted | SnapshotChunk | SnapshotUnfit

RaftMessage = AppendEntries | NextIndex | RequestVote | Vote | TimeoutNow
"""Those that pysyncobj itself sends and receives."""

Message = Hello | Refused | PreVote | PreVoteAnswer | TermNotice | Probe | Echo | Alive | SnapshotMessage | RaftMessage

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Raises msgspec.MsgspecError for anything but one well-formed message."""
    return _decoder.decode(data)


def from_stock(message: Mapping[str, Any], term: int) -> RaftMessage | None:
    """Translate what pysyncobj sends, in its current `term`; None for what this cluster never lets out.

    That is `apply_command` and its response, by which pysyncobj forwards a command after leadership was lost. What
    would need a cut-up entry fails, because this cluster has none; snapshots go their own way (`snapshots`).
    """
    match message["type"]:
        case "append_entries":
            assert "entries" in message, "pysyncobj wants to send part of an entry; there are none"
            # prevLogIdx is None when the entry before is not in the log: index 0, which is in no log, says the same.
            return AppendEntries(
                message["term"],
                message["commit_index"],
                message["prevLogIdx"] or 0,
                message["prevLogTerm"] or 0,
                message["entries"],
            )
        case "next_node_idx":
            return NextIndex(term, message["next_node_idx"], message["reset"], message["success"])
        case "request_vote":
            return RequestVote(message["term"], message["last_log_index"], message["last_log_term"])
        case "response_vote":
            return Vote(message["term"])
        case "timeout_now":
            return TimeoutNow(message["term"])
        case "apply_command" | "apply_command_response":
            return None
        case kind:
            raise AssertionError(f"pysyncobj sends a message of unknown type {kind!r}")


def to_stock(message: RaftMessage) -> dict[str, Any]:
    """Translate what a peer sent into what pysyncobj takes."""
    match message:
        case AppendEntries(term, commit_index, prev_index, prev_term, entries):
            return {
                "type": "append_entries",
                "term": term,
                "commit_index": commit_index,
                "entries": entries,
                "prevLogIdx": prev_index,
                "prevLogTerm": prev_term,
            }
        case NextIndex(_, next_index, reset, success):
            return {"type": "next_node_idx", "next_node_idx": next_index, "reset": reset, "success": success}
        case RequestVote(term, last_index, last_term, _):
            return {"type": "request_vote", "term": term, "last_log_index": last_index, "last_log_term": last_term}
        case Vote(term):
            return {"type": "response_vote", "term": term}
        case TimeoutNow(term):
            return {"type": "timeout_now", "term": term}
