"""The oracle finds what it is there to find, and knows nothing of the cluster."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from garbagetruck.chaos.simulator import oracle as oracle_module
from garbagetruck.chaos.simulator.oracle import Oracle

MS = 1_000_000


class Rig:
    def __init__(self) -> None:
        self.now_ns = 1_000 * MS
        self.violations: list[str] = []
        self.oracle = Oracle(now_ns=lambda: self.now_ns, fail=self.violations.append)

    def lease(self, lease_id: str = "l1", *, token: int = 5, remaining_ms: int = 100, session_id: str = "") -> None:
        """Sent ten milliseconds ago, acknowledged now, on key `k`."""
        self.oracle.acquired(
            request_id=f"request-{lease_id}",
            lease_id=lease_id,
            key="k",
            token=token,
            first_sent_ns=self.now_ns - 10 * MS,
            sent_ns=self.now_ns - 10 * MS,
            remaining_ms=remaining_ms,
            session_id=session_id,
        )

    def later(self, ms: float) -> None:
        self.now_ns += int(ms * MS)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_oracle_shares_no_code_with_the_cluster() -> None:
    tree = ast.parse(Path(oracle_module.__file__).read_text())
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in imported if name is not None and name.startswith("garbagetruck")]


def test_a_removal_under_an_acknowledged_lease_is_found_up_to_its_last_moment(rig: Rig) -> None:
    rig.lease()
    rig.later(89.9)
    rig.oracle.removed("k", 5, 9)
    assert [violation[:2] for violation in rig.violations] == ["I1"]


def test_a_lease_counts_from_the_sending_of_its_call_and_no_longer_than_that(rig: Rig) -> None:
    rig.lease()
    rig.later(90.0)
    rig.oracle.removed("k", 5, 9)
    assert not rig.violations


def test_a_removal_before_a_late_acknowledgement_is_found_afterwards(rig: Rig) -> None:
    rig.oracle.removed("k", 1, 9)
    rig.lease(token=5)
    assert [violation[:2] for violation in rig.violations] == ["I1"]


def test_a_removal_that_preceded_the_new_generation_is_none_of_its_business(rig: Rig) -> None:
    rig.oracle.removed("k", 1, 4)
    rig.lease(token=5)
    assert not rig.violations


def test_an_answer_that_the_lease_is_over_protects_nothing(rig: Rig) -> None:
    rig.oracle.removed("k", 1, 9)
    rig.lease(token=5, remaining_ms=0)
    rig.oracle.told_ended("l1", "x")
    assert not rig.violations


def test_renewals_extend_and_releases_end_what_a_client_relies_on(rig: Rig) -> None:
    rig.lease()
    rig.later(80)
    rig.oracle.renewed("l1", rig.now_ns, 100)
    rig.later(50)
    rig.oracle.removed("k", 5, 9)
    assert len(rig.violations) == 1
    rig.oracle.releasing("l1")
    rig.oracle.removed("k", 5, 9)
    assert len(rig.violations) == 1


def test_a_session_carries_its_leases(rig: Rig) -> None:
    rig.oracle.session_renewed("s", rig.now_ns, 100)
    rig.lease(session_id="s", remaining_ms=50)
    rig.later(99)
    rig.oracle.removed("k", 5, 9)
    assert len(rig.violations) == 1
    rig.oracle.closing("s")
    rig.oracle.removed("k", 5, 9)
    assert len(rig.violations) == 1


def _foreign(rig: Rig) -> None:
    rig.oracle.foreign.add("f")
    rig.oracle.removed("f", 1, 9)


def _kept(rig: Rig) -> None:
    rig.oracle.kept.add("k")
    rig.oracle.removed("k", 1, 9)


def _session_too_early(rig: Rig) -> None:
    rig.oracle.session_renewed("s", rig.now_ns, 100)
    rig.oracle.session_told_ended("s", "x")


def _one_token(rig: Rig) -> None:
    rig.lease("l1")
    rig.lease("l2")


def _lease_too_early(rig: Rig) -> None:
    rig.lease()
    rig.oracle.told_ended("l1", "x")


def _other_digest(rig: Rig) -> None:
    rig.oracle.applied("n1", 3, 1)
    rig.oracle.applied("n2", 3, 2)


def _tokens_back(rig: Rig) -> None:
    rig.lease("l1", token=9)
    rig.later(20)
    rig.lease("l2", token=8)


def _two_answers(rig: Rig) -> None:
    rig.lease("l1", token=5)
    rig.oracle.acquired(
        request_id="request-l1", lease_id="l2", key="k", token=6, first_sent_ns=0, sent_ns=0, remaining_ms=1
    )


def _two_effects(rig: Rig) -> None:
    for lease_id in ("l1", "l2"):
        rig.oracle.attempted("r", lease_id)
        rig.oracle.created(lease_id)


def _late_effect(rig: Rig) -> None:
    rig.oracle.attempted("r", "l1")
    rig.oracle.not_applied("l1", "NotSealed")
    rig.oracle.created("l1")


def _early_effect(rig: Rig) -> None:
    rig.oracle.attempted("r", "l1")
    rig.oracle.created("l1")
    rig.oracle.not_applied("l1", "NotSealed")


def _fast(rig: Rig) -> None:
    rig.oracle.stamped(1_000, rig.now_ns)
    rig.oracle.stamped(1_102, rig.now_ns + 100 * MS)


def _runs_alone(rig: Rig) -> None:
    rig.oracle.stamped(1_000, rig.now_ns)
    rig.oracle.stamped(3_000, rig.now_ns + 2_100 * MS)
    rig.oracle.no_majority(rig.now_ns + 50 * MS, rig.now_ns + 2_050 * MS, 500)


BREACHES: dict[str, tuple[str, Callable[[Rig], None]]] = {
    "a foreign target is removed": ("I1", _foreign),
    "a kept target is removed": ("I1", _kept),
    "a lease is said to be over too early": ("I7", _lease_too_early),
    "a session is said to be over too early": ("I7", _session_too_early),
    "what was made later is removed": ("I5", lambda rig: rig.oracle.removed("other", 9, 8)),
    "one token is issued twice": ("I5", _one_token),
    "tokens go back": ("I5", _tokens_back),
    "a request is answered twice, and differently": ("I6", _two_answers),
    "a request makes two leases": ("I6", _two_effects),
    "a failed request has an effect afterwards": ("I11", _late_effect),
    "a request with an effect is said to have failed": ("I11", _early_effect),
    "digests differ": ("I3", _other_digest),
    "time is faster than real time": ("I7", _fast),
    "time runs without a majority": ("I7", _runs_alone),
}


@pytest.mark.parametrize("what", BREACHES)
def test_every_breach_is_found(rig: Rig, what: str) -> None:
    invariant, breach = BREACHES[what]
    breach(rig)
    assert [violation.split(":")[0] for violation in rig.violations] == [invariant]


def test_time_that_stands_still_without_a_majority_is_right(rig: Rig) -> None:
    rig.oracle.stamped(1_000, rig.now_ns)
    rig.oracle.stamped(1_500, rig.now_ns + 2_100 * MS)
    rig.oracle.no_majority(rig.now_ns + 50 * MS, rig.now_ns + 2_050 * MS, 500)
    assert not rig.violations


def test_i4_what_is_left_at_the_end_is_an_orphan_unless_it_is_foreign_or_kept(rig: Rig) -> None:
    rig.oracle.foreign.add("f")
    rig.oracle.kept.add("a")
    rig.oracle.maybe_kept.add("b")
    assert rig.oracle.orphans(["a", "b", "c", "f"]) == ["c"]
