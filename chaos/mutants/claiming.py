"""Mutants of what may be cleaned: claims, the brake, and restores (I1, I4, I5, I9)."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from garbagetruck.chaos.mutants.mutant import by_test, in_cluster, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.cluster.machine import brake, breakers, cleanups, fleet, forgetting, quarantine, restoring, state
from garbagetruck.cluster.machine.operations import ReportCleanup
from garbagetruck.cluster.machine.outcomes import Reason, Refused
from garbagetruck.cluster.machine.state import State


def _claims_but_for(reason: Reason) -> Callable[..., Refused | None]:
    """`_may_claim` that is never kept from it by this."""
    original = cleanups._may_claim

    def may_claim(*arguments: Any, **named: Any) -> Refused | None:
        refusal = original(*arguments, **named)
        return None if refusal is not None and refusal.reason is reason else refusal

    return may_claim


@mutant(guard="claims: as the leader saw it", breaks="I1", catcher=in_cluster(first=21))
def a_claim_is_not_checked_against_what_changed_since(patch: Patch) -> None:
    """What was an orphan when the leader looked is claimed, whatever came before the claim in the log."""
    patch.setattr(cleanups, "_may_claim", lambda *_, **__: None)


@mutant(
    guard="claims: holds",
    breaks="I1",
    catcher=by_test("unit/machine/test_resources.py::test_a_hold_between_two_attempts_stops_the_next"),
)
def a_hold_stops_no_claim(patch: Patch) -> None:
    """What an operator holds is claimed."""
    patch.setattr(cleanups, "_may_claim", _claims_but_for(Reason.HOLD_CONFLICT))


@mutant(
    guard="claims: pauses",
    breaks="I1",
    catcher=by_test("unit/machine/test_cleanups.py::test_no_claim_is_made_while_cleanups_are_paused"),
)
def a_pause_stops_no_claim(patch: Patch) -> None:
    """Cleanups go on though an operator, a difference of digests or the brake has paused them."""
    patch.setattr(cleanups, "_may_claim", _claims_but_for(Reason.CLEANUPS_PAUSED))


@mutant(
    guard="claims: the sweep has caught up",
    breaks="I1",
    catcher=by_test("unit/machine/test_cleanups.py::test_claims_wait_until_the_sweep_has_caught_up"),
)
def a_claim_does_not_wait_for_the_sweep(patch: Patch) -> None:
    """Of a mass expiry the first orphans are cleaned before the brake has seen the rest."""
    patch.setattr(cleanups, "_may_claim", _claims_but_for(Reason.SWEEP_BEHIND))


@mutant(
    guard="claims: only its own token reports",
    breaks="I5",
    catcher=by_test("unit/machine/test_cleanups.py::test_i5_only_the_claims_own_token_reports_its_end"),
)
def any_token_reports(patch: Patch) -> None:
    """A report of a claim that was overtaken settles the later one."""
    original = cleanups.report

    def report(state: State, operation: ReportCleanup) -> Any:
        resource = state.resources.get((operation.namespace, operation.resource))
        if resource is not None and resource.claim is not None:
            operation = replace(operation, token=resource.claim.token)
        return original(state, operation)

    patch.setattr(cleanups, "report", report)


@mutant(
    guard="claims: one that lapsed counts",
    breaks="I4",
    catcher=by_test(
        "unit/machine/test_cleanups.py::test_a_claim_that_lapses_because_its_leader_is_gone_uses_up_an_attempt",
        "unit/machine/test_cleanups.py::test_i4_a_handler_that_takes_its_leader_down_each_time_ends_as_a_dead_letter",
    ),
)
def an_attempt_nobody_reported_does_not_count(patch: Patch) -> None:
    """A handler that takes its node down each time never ends as a dead letter."""

    def fail(state: State, resource: Any, made: Any, error: str, *, not_before_ms: int = 0) -> Any:
        return cleanups._wait_again(state, resource, made, error, failed=False, not_before_ms=not_before_ms)

    patch.setattr(cleanups, "_fail", fail)


@mutant(
    guard="brake",
    breaks="I1",
    catcher=by_test("unit/machine/test_brake.py::test_most_holders_expiring_together_engage_it_and_nothing_is_claimed"),
)
def the_brake_never_engages(patch: Patch) -> None:
    """When all holders are cut off at once, all that they have is cleaned."""
    patch.setattr(brake, "judge", lambda state, namespace_name: None)


@mutant(
    guard="brake: holders that come back",
    breaks="I4",
    catcher=by_test(
        "unit/machine/test_brake.py::test_it_ends_when_enough_holders_are_heard_again_and_orphans_get_fresh_grace"
    ),
)
def nobody_is_heard_again(patch: Patch) -> None:
    """An engaged brake waits for ever for holders that came back."""
    patch.setattr(brake, "note_return", lambda state, namespace_name, holder: None)


@mutant(
    guard="fleet brake",
    breaks="I1",
    catcher=by_test(
        "unit/machine/test_fleet.py::test_i1_losses_that_are_few_in_each_of_many_namespaces_engage_it",
        "unit/machine/test_fleet.py::test_i1_when_heartbeats_cease_the_shortest_ttls_are_not_taken_for_crashes",
    ),
)
def the_fleet_has_no_brake(patch: Patch) -> None:
    """When a network is cut, many small namespaces lose everything."""
    patch.setattr(fleet, "judge", lambda state, alarmed: None)


@mutant(
    guard="fleet brake: silence",
    breaks="I1",
    catcher=by_test(
        "unit/machine/test_fleet.py::test_i1_when_heartbeats_cease_the_shortest_ttls_are_not_taken_for_crashes"
    ),
)
def nobody_listens_for_heartbeats(patch: Patch) -> None:
    """Of a fleet that is cut off, whoever has the shortest TTL is taken for a few that crashed."""
    patch.setattr(fleet, "_silent", lambda state: 0)


@mutant(
    guard="fleet brake: claims",
    breaks="I1",
    catcher=by_test("unit/machine/test_fleet.py::test_i1_losses_that_are_few_in_each_of_many_namespaces_engage_it"),
)
def the_fleets_brake_holds_nothing(patch: Patch) -> None:
    """The brake of the fleet is engaged, and cleanups go on."""
    patch.setattr(fleet, "holds", lambda state, namespace: False)


@mutant(
    guard="breaker: claims",
    breaks="I4",
    catcher=by_test(
        "unit/machine/test_breakers.py::test_while_it_is_open_nothing_of_its_handler_is_claimed_and_others_go_on",
        "unit/machine/test_breakers.py::test_after_its_pause_one_cleanup_is_tried_and_no_other_beside_it",
    ),
)
def an_open_breaker_lets_everything_through(patch: Patch) -> None:
    """An outage behind a handler makes a dead letter of all that is due."""
    patch.setattr(breakers, "refusal", lambda state, handler: None)


@mutant(
    guard="breaker: closes",
    breaks="I4",
    catcher=by_test("unit/machine/test_breakers.py::test_a_trial_that_is_done_closes_it"),
)
def a_breaker_learns_nothing_from_its_trial(patch: Patch) -> None:
    """A handler that works again gets no cleanup for ever."""
    patch.setattr(breakers, "ended", lambda state, handler, token, result: None)


@mutant(
    guard="restore: the longest TTL runs once more",
    breaks="I9",
    catcher=by_test(
        "unit/machine/test_restoring.py::test_i9_the_longest_ttl_runs_once_more_after_the_resume_whether_that_is_early_or_late"
    ),
)
def a_restored_cluster_waits_for_nobody(patch: Patch) -> None:
    """As soon as an operator resumes, what a forgotten lease still holds is cleaned."""
    patch.setattr(quarantine, "left_ms", lambda state: None)


@mutant(
    guard="restore: tokens above all before",
    breaks="I5",
    catcher=by_test(
        "unit/machine/test_restoring.py::test_i9_i5_every_token_is_above_any_before_and_one_that_nobody_saved_is_too"
    ),
)
def a_restored_cluster_issues_tokens_anew(patch: Patch) -> None:
    """Tokens go on from what was saved, and the old cluster may have issued the same."""
    original = State.next_token

    def next_token(self: State) -> int:
        former, self.incarnation = self.incarnation, 1
        try:
            return original(self)
        finally:
            self.incarnation = former

    patch.setattr(State, "next_token", next_token)


@mutant(
    guard="restore: full TTLs",
    breaks="I9",
    catcher=by_test("unit/machine/test_restoring.py::test_i9_every_lease_and_session_has_its_full_ttl_again"),
)
def a_restore_prolongs_nothing(patch: Patch) -> None:
    """Leases that were renewed after what was saved end by their former deadline."""
    patch.setattr(restoring, "_prolong", lambda state: None)


@mutant(
    guard="restore: paused",
    breaks="I9",
    catcher=by_test(
        "unit/machine/test_restoring.py::test_i9_nothing_is_claimed_before_an_operator_resumes_however_long_that_takes",
    ),
)
def a_restore_pauses_nothing(patch: Patch) -> None:
    """A restored cluster cleans by itself."""
    patch.setattr(restoring, "_pause", lambda state, source: None)


@mutant(
    guard="forgetting: what is leased is not forgotten by the way",
    breaks="I1",
    catcher=by_test("unit/api/test_stories.py::test_a_resource_is_forgotten_only_when_nobody_holds_it_or_by_force"),
)
def what_is_in_use_is_forgotten(patch: Patch) -> None:
    """A name is free again while somebody works under it, and the next one's cleanup deletes what the first still uses."""
    asked = forgetting.forget
    patch.setattr(forgetting, "forget", lambda state, operation: asked(state, replace(operation, force=True)))


@mutant(
    guard="stories: nothing is kept before the log says that everybody can read it",
    breaks="I3",
    catcher=by_test(
        "unit/machine/test_story.py::TestLevels::test_i3_nothing_is_kept_before_the_log_says_that_everybody_can_read_it"
    ),
)
def stories_begin_at_once(patch: Patch) -> None:
    """Nodes of two versions have two states."""
    patch.setattr(state, "CHRONICLE_LEVEL", 1)
