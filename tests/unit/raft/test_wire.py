"""Frames carry the messages of this cluster and nothing else."""

import pickle

import msgspec
import pytest

from garbagetruck.cluster.raft import wire
from tests.unit.raft.stage import appending

TRANSFER = wire.RequestVote(3, 6, 2, transfer=True)

MESSAGES: list[wire.Message] = [
    wire.Hello(1, "c", 1, "n1", "d", "n2", 1),
    wire.Hello(1, "c", 1, "n1", "d", "n2", 1, 7, ""),
    wire.Refused("another cluster"),
    appending(3, 4, 2, [2, 3], commit_index=4),
    wire.NextIndex(3, 7, reset=True, success=False),
    wire.RequestVote(3, 6, 2),
    TRANSFER,
    wire.Vote(3),
    wire.PreVote(3, 8, 6, 2),
    wire.PreVoteAnswer(3, 8, granted=True),
    wire.TermNotice(4),
    wire.TimeoutNow(3),
    wire.Probe(3, 1),
    wire.Echo(3, 1),
    wire.Alive(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_was(message: wire.Message) -> None:
    assert wire.decode(wire.encode(message)) == message


@pytest.mark.parametrize(
    "message", [m for m in MESSAGES if isinstance(m, wire.RaftMessage) and m != TRANSFER], ids=repr
)
def test_pysyncobj_sends_what_it_is_given(message: wire.RaftMessage) -> None:
    assert wire.from_stock(wire.to_stock(message), term=3) == message


class Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:  # type: ignore[explicit-override]
        return exec, ("raise SystemExit('a pickle was loaded')",)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x80",
        pickle.dumps(Exploit()),
        pickle.dumps({"type": "append_entries"}),
        msgspec.msgpack.encode(["no such message", 1]),
        msgspec.msgpack.encode(["vote"]),
        msgspec.msgpack.encode(["vote", "three"]),
        msgspec.msgpack.encode(["vote", -1]),
        msgspec.msgpack.encode(["vote", 2**63]),
        msgspec.msgpack.encode(["hello", 1, "", 1, "n1", "d", "n2", 1]),
        msgspec.msgpack.encode(["hello", 1, "c" * 201, 1, "n1", "d", "n2", 1]),
        msgspec.msgpack.encode(["append", 1, 1, 1, 1, [[b"\0", 3, 1]]]),
        msgspec.msgpack.encode(["append", 1, 1, 1, 1, [[b"\0", 2, 1], [b"\0", 2, 1]]]),
        msgspec.msgpack.encode(["append", 1, 1, 1, 1, [[b"", 2, 1]]]),
        msgspec.msgpack.encode(["append", 1, 1, 1, 1, [[b"\x02rem", 2, 1]]]),
        msgspec.msgpack.encode(["append", 1, 1, 1, 1, [[b"\x03", 2, 1]]]),
    ],
    ids=range(16),
)
def test_what_is_not_one_of_its_messages_is_refused_as_a_whole(frame: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        wire.decode(frame)


def test_a_forwarded_command_is_not_let_out() -> None:
    """Hazard 16."""
    assert wire.from_stock({"type": "apply_command", "command": b"\0x"}, term=1) is None
    assert wire.from_stock({"type": "apply_command_response", "request_id": 1}, term=1) is None


def test_an_entry_that_pysyncobj_wants_to_cut_up_is_a_bug() -> None:
    """Hazard 11: proposals are bounded far below the size at which it does."""
    part = {"type": "append_entries", "transmission": "start", "data": b"", "term": 1, "commit_index": 1}
    with pytest.raises(AssertionError):
        wire.from_stock(part, term=1)
    with pytest.raises(AssertionError):
        wire.from_stock({"type": "status"}, term=1)


def test_an_entry_before_the_beginning_of_the_log_does_not_match_any() -> None:
    stock = {
        "type": "append_entries",
        "term": 1,
        "commit_index": 1,
        "entries": [],
        "prevLogIdx": None,
        "prevLogTerm": None,
    }
    assert wire.from_stock(stock, term=1) == wire.AppendEntries(1, 1, 0, 0, [])
