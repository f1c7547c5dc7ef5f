"""Who looks into simulated archives: shown one that cannot be restored as it should, the curator says so."""

import pytest

from garbagetruck.chaos.simulator.curator import Curator
from garbagetruck.chaos.simulator.depot import at_once
from garbagetruck.storage.memory import KeptArchive, MemoryStorage, Vault
from garbagetruck.storage.records import ArchivedEntry, Incarnation, Writer
from tests.unit.machine.scribe import Scribe

LIFE = Incarnation(1, "5f0c")
LOGS_OWN = 2
"""Entries at the beginning that carry nothing."""


class Stand:
    """A history of a few entries, all archived, and a curator who knows it."""

    def __init__(self) -> None:
        self.vault = Vault()
        self.failures: list[str] = []
        self.scribe = Scribe().begin()
        self.digests = {LOGS_OWN + len(self.scribe.payloads): self.scribe.machine.digest()}
        self.payloads = [None, *[b""] * LOGS_OWN, *self.scribe.payloads]
        """By index."""
        self.storage = MemoryStorage(self.vault, "c1")
        at_once(self.storage.incarnations.reserve(LIFE, by="n1"))
        writer = Writer(LIFE, 1)
        at_once(self.storage.archive.begin_span(writer, 1))
        entries = [ArchivedEntry(index, 1, each or b"", 0) for index, each in enumerate(self.payloads) if index]
        at_once(self.storage.archive.append(writer, entries))
        self.curator = Curator(
            self.storage,
            known=lambda: self.end,
            payload_at=lambda index: self.payloads[index],
            digest_behind=self.digests.get,
            fail=self.failures.append,
        )

    @property
    def end(self) -> int:
        return len(self.payloads) - 1

    @property
    def archive(self) -> KeptArchive:
        return self.vault.clusters["c1"].archives[1]


@pytest.fixture
def stand() -> Stand:
    return Stand()


def test_what_is_whole_is_restored_and_nothing_is_said(stand: Stand) -> None:
    stand.curator.judge_end(stand.end)
    assert (stand.failures, stand.curator.restores) == ([], 1)


def test_i3_an_entry_that_is_another_than_was_applied_is_found(stand: Stand) -> None:
    stand.payloads[stand.end] = b"what was applied"
    stand.curator.look()
    assert stand.failures == [f"I3: entry {stand.end} is archived with another payload than the nodes applied"]


def test_i3_a_state_that_no_node_had_is_found(stand: Stand) -> None:
    stand.digests[stand.end] += 1
    stand.curator.look()
    assert stand.failures == [f"I3: a restore gives another state behind {stand.end} than the nodes had"]


def test_i4_what_is_never_archived_is_found(stand: Stand) -> None:
    stand.curator.judge_end(stand.end + 1)
    assert stand.failures == [f"I4: of {stand.end + 1} entries {stand.end} are archived, long after all was healed"]


def test_what_no_node_has_told_of_yet_is_compared_later(stand: Stand) -> None:
    """The log's thread may be ahead of the loop that applies."""
    known = stand.payloads.pop()
    stand.curator.look()
    assert stand.failures == []
    stand.payloads.append(b"another" if known is None else known[::-1])
    stand.curator.look()
    assert len(stand.failures) == 1


def test_a_storage_that_nobody_has_written_to_says_nothing() -> None:
    failures: list[str] = []
    curator = Curator(
        MemoryStorage(Vault(), "c1"),
        known=lambda: 0,
        payload_at=lambda _index: None,
        digest_behind=lambda _index: None,
        fail=failures.append,
    )
    curator.look()
    assert (failures, curator.restores) == ([], 0)
