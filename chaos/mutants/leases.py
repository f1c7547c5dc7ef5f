"""Mutants of what the machine grants: requests, tokens, targets, lives of a resource (I1, I5, I6)."""

from garbagetruck.chaos.mutants.mutant import by_test, in_cluster, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.cluster.machine import leases, machine, requests, resources
from garbagetruck.cluster.machine.request_table import RequestKey
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.targets import TargetIndex

TOKEN_STEPS_LOST = 3


@mutant(guard="request table", breaks="I6", catcher=in_cluster(names="I6"))
def answers_are_not_remembered(patch: Patch) -> None:
    """A request that is repeated is another operation."""
    original = requests.remember

    def remember(state: State, key: RequestKey, payload: int, subject: str) -> None:
        if key not in state.requests:
            original(state, key, payload, subject)

    patch.setattr(requests, "recall", lambda *_, **__: None)
    patch.setattr(requests, "remember", remember)


@mutant(
    guard="request table: a payload's hash",
    breaks="I6",
    catcher=by_test("unit/machine/test_requests.py::test_i6_a_request_id_cannot_be_used_for_something_else"),
)
def a_request_id_fits_any_request(patch: Patch) -> None:
    """A request id that is used for something else gets the answer to the former request."""
    patch.setattr(requests, "payload_hash", lambda operation, *volatile: 0)


@mutant(
    guard="request table: an operation's age",
    breaks="I6",
    catcher=by_test("unit/machine/test_requests.py::test_an_operation_that_lingered_is_refused"),
)
def an_operation_of_any_age_is_applied(patch: Patch) -> None:
    """An operation that was held up for longer than answers are kept is applied a second time."""
    patch.setattr(requests, "too_old", lambda state, entered_ms: None)


@mutant(guard="fencing: one counter for all tokens", breaks="I5", catcher=in_cluster(names="numbers must rise"))
def tokens_repeat_themselves(patch: Patch) -> None:
    """Of three tokens that are issued one after the other, all are the same."""
    original = State.next_token

    def next_token(self: State) -> int:
        token = original(self)
        return token - token % TOKEN_STEPS_LOST

    patch.setattr(State, "next_token", next_token)


@mutant(guard="targets: none contains another", breaks="I1", catcher=in_cluster(names="I1", first=2))
def targets_may_overlap(patch: Patch) -> None:
    """The cleanup of a folder deletes what another resource in use has in it."""
    patch.setattr(TargetIndex, "overlap", lambda self, target: None)


@mutant(
    guard="targets: one owner",
    breaks="I1",
    catcher=by_test(
        "unit/machine/test_resources.py::test_a_target_in_use_above_or_below_it_is_refused",
        "unit/machine/test_resources.py::test_targets_are_the_clusters_not_a_namespaces",
        "unit/machine/test_resources.py::test_i1_a_target_stays_owned_until_its_resource_is_settled",
    ),
)
def a_target_has_two_owners(patch: Patch) -> None:
    """Two resources have one target; the end of one deletes what the other is using."""

    def take(self: TargetIndex, target: str, owner: int) -> None:
        self._owners.add(self._hashes(target)[0], owner)

    patch.setattr(TargetIndex, "owner", lambda self, target: None)
    patch.setattr(TargetIndex, "take", take)


@mutant(guard="resources: a claimed generation is not adopted", breaks="I1", catcher=in_cluster())
def what_is_being_cleaned_is_adopted(patch: Patch) -> None:
    """An acquire is granted on a resource whose cleanup is under way, or may still land."""
    patch.setattr(resources, "_being_cleaned", lambda state, resource: None)


@mutant(
    guard="request table: operators' operations",
    breaks="I6",
    catcher=by_test(
        "unit/machine/test_requests.py::test_i6_an_operators_repeated_mutation_has_one_effect_and_the_first_answer"
    ),
)
def an_operators_word_counts_each_time(patch: Patch) -> None:
    """A hold, a pause or a retry that is repeated takes effect again."""
    patch.setattr(machine.Machine, "_once", machine.Machine._mutate)


@mutant(
    guard="sessions: their leases are over with them",
    breaks="I1",
    catcher=by_test("unit/machine/test_sessions.py::test_a_lease_of_an_ended_session_cannot_be_given_back"),
)
def a_lease_outlives_its_session(patch: Patch) -> None:
    """Until it is swept, a lease of a session that expired can be given back, and its resource taken off the books."""
    patch.setattr(leases, "is_over", lambda state, lease: False)


@mutant(
    guard="apply: what is asked for is checked again",
    breaks="I11",
    catcher=by_test("unit/machine/test_settings.py::test_bounds_count_from_the_operation_after_them"),
)
def apply_takes_what_a_node_let_in(patch: Patch) -> None:
    """Bounds are checked at the door only, by what a node knew of them."""
    patch.setattr(machine, "check_operation", lambda operation, bounds: None)
