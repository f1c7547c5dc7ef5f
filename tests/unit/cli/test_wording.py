"""Errors in the words of the command line."""

import pytest

from garbagetruck.cli.flags import Output
from garbagetruck.cli.invocation import Invocation
from garbagetruck.cli.wording import words
from garbagetruck.client import errors

INVOCATION = Invocation(endpoints="a:1,b:2", namespace="default", output=Output.TABLE, timeout_s=5.0)


def told(error: errors.GarbageTruckError, request_id: str = "") -> str:
    return words(error, INVOCATION, request_id)


@pytest.mark.parametrize(
    ("field", "begin"),
    [
        ("ttl_ms", "Error: --ttl: is 1"),
        ("cleanup.parameters[path]", "Error: --cleanup: parameter path: is 1"),
        ("labels[team]", "Error: --label[team]: is 1"),
        ("limits.leases_max", "Error: --leases-max: is 1"),
        ("resource", "Error: RESOURCE: is 1"),
        ("something_new", "Error: something_new: is 1"),
    ],
)
def test_a_field_is_told_as_the_flag_that_carries_it(field: str, begin: str) -> None:
    violation = errors.FieldViolation(field, f"{field}: is 1")
    error = errors.InvalidArgument(f"{field}: is 1", reason="INVALID_ARGUMENT", violations=(violation,))
    assert told(error).startswith(begin)


def test_a_problem_of_no_field_stands_for_itself() -> None:
    violation = errors.FieldViolation("", "the request is none")
    error = errors.InvalidArgument("the request is none", violations=(violation,))
    assert told(error) == "Error: the request is none"


def test_every_wrong_field_is_told() -> None:
    violations = (errors.FieldViolation("ttl_ms", "is 0"), errors.FieldViolation("holder", "is empty"))
    assert told(errors.InvalidArgument("two", violations=violations)).splitlines() == [
        "Error: --ttl: is 0 (milliseconds)",
        "Error: --holder: is empty",
    ]


def test_an_unknown_outcome_names_the_id_that_finds_out() -> None:
    assert "--request-id 42" in told(errors.OutcomeUnknown("no answer", reason="OUTCOME_UNKNOWN"), "42")


def test_a_resource_being_cleaned_says_when_to_come_back() -> None:
    error = errors.ResourceBeingCleaned("claimed", reason="RESOURCE_BEING_CLEANED", retry_after_s=2.6)
    assert "try again in 3s" in told(error)


def test_lost_events_name_the_oldest_and_what_to_do() -> None:
    error = errors.EventsLost("gone", reason="EVENT_INDEX_TOO_OLD", metadata={"oldest_index": "17"})
    assert "watch --from 17" in told(error)
    assert "read the state anew" in told(error)


def test_nodes_that_do_not_answer_are_named() -> None:
    said = told(errors.Unavailable("x; last error: UNKNOWN: y: Failed to connect to remote host: Connection refused"))
    assert said.startswith("Error: no node answered at a:1,b:2: Connection refused; is the cluster up?")
    assert "--timeout" in told(errors.DeadlineExceeded("no answer within 5 s"))


def test_no_leader_is_not_nobody() -> None:
    assert told(errors.Unavailable("no leader", reason="NO_LEADER")).endswith("[NO_LEADER]")
