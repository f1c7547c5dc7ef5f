"""The request table: a dictionary's answers from rows that stand one behind the other, also where two keys share a hash."""

import random

import msgspec
import pytest
import xxhash

from garbagetruck.cluster.machine import request_table
from garbagetruck.cluster.machine.model import RequestRecord
from garbagetruck.cluster.machine.request_table import RequestKey, RequestTable
from garbagetruck.cluster.machine.tables import DigestSum

RECORD_SALT = 9


@pytest.fixture(params=["hashes of their own", "hashes in common"], autouse=True)
def hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a key, which is hashed without a salt; a record's counts towards the digest."""
    monkeypatch.setattr(request_table, "BLOCK_ROWS", 8)
    if request.param == "hashes in common":
        monkeypatch.setattr(
            request_table,
            "_hash_bytes",
            lambda data, salt=0: xxhash.xxh3_64_intdigest(data, salt) if salt else data[-1] % 4,
        )


@pytest.fixture
def table() -> RequestTable:
    return RequestTable(DigestSum(), RECORD_SALT)


def key_of(number: int) -> RequestKey:
    return ("default", "ann", f"request {number}")


def test_i6_it_finds_what_it_has_and_nothing_else(table: RequestTable, seed: int) -> None:
    rng = random.Random(seed)
    known: dict[RequestKey, RequestRecord] = {}
    for number in range(1_500):
        key, record = (
            key_of(rng.randrange(60)),
            RequestRecord(number, number, f"lease:{number}" + "x" * rng.randrange(9)),
        )
        if known and rng.random() < 0.5:
            oldest = next(iter(known))
            assert table.oldest() == known.pop(oldest)
            table.pop_oldest()
        elif key in known:
            with pytest.raises(ValueError, match="twice"):
                table.put(key, record)
        else:
            table.put(key, record)
            known[key] = record
        wanted = key_of(rng.randrange(60))
        assert table.get(wanted) == known.get(wanted)
        assert (wanted in table) == (wanted in known)
        assert list(table.items()) == list(known.items()), "the oldest first"
        assert len(table) == len(known)
    assert table.last() > 100


def test_i3_its_digest_is_that_of_what_is_there(table: RequestTable) -> None:
    for number in range(30):
        table.put(key_of(number), RequestRecord(number, number, "lease:x"))
    for _ in range(20):
        table.pop_oldest()
    other = RequestTable(DigestSum(), RECORD_SALT)
    for key, record in table.items():
        other.put(key, record)
    assert other._digest.value == table._digest.value != 0


def test_a_view_is_of_its_moment_whatever_leaves_and_comes(table: RequestTable) -> None:
    for number in range(30):
        table.put(key_of(number), RequestRecord(number, number, "lease:x"))
    for _ in range(5):
        table.pop_oldest()
    then, view = list(table.items()), table.view()
    read = view.read(3)
    for number in range(30, 50):
        table.pop_oldest()
        table.put(key_of(number), RequestRecord(number, number, "lease:x"))
        read += view.read(2)
    assert [msgspec.msgpack.decode(row, type=tuple[RequestKey, RequestRecord]) for row in read] == then
    assert view.read(1) == []


def test_an_empty_one_has_no_oldest(table: RequestTable) -> None:
    assert table.oldest() is None
    table.put(key_of(1), RequestRecord(1, 1, "lease:x"))
    table.pop_oldest()
    assert (table.oldest(), len(table), list(table.values())) == (None, 0, [])
