"""What people write on the command line, and the words it becomes."""

import pytest
import typer

from garbagetruck.cli.arguments import read_cleanup
from garbagetruck.cli.exits import Exit
from garbagetruck.cli.failures import exit_code
from garbagetruck.cli.labels import read_labels
from garbagetruck.client import Cleanup, errors


def test_a_cleanups_value_runs_to_the_end() -> None:
    assert read_cleanup("file:path=a=b:c") == Cleanup("file", path="a=b:c")


def test_a_cleanup_in_json_carries_more_parameters() -> None:
    assert read_cleanup('{"handler":"file","path":"a","root":"b"}') == Cleanup("file", path="a", root="b")


def test_a_number_in_a_json_cleanup_is_told_with_its_key_and_how_to_write_it() -> None:
    with pytest.raises(
        typer.BadParameter, match=r'--cleanup: id is 100000000000000000000; write it as a string: "1000'
    ):
        read_cleanup('{"handler":"rows","id":100000000000000000000}')


@pytest.mark.parametrize("text", ['{"a":' * 100_000, "{" + '"a":' + "9" * 5_000 + "}", "{'a':1}"])
def test_json_that_cannot_be_read_is_not_json(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="--cleanup is not JSON"):
        read_cleanup(text)


@pytest.mark.parametrize("text", ["file", "file:", "file:path", ":path=a", "{", "{}", '{"handler":"file","path":1}'])
def test_a_cleanup_that_is_none_is_refused_with_the_form_it_should_have(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="--cleanup"):
        read_cleanup(text)


def test_a_label_is_given_once() -> None:
    assert read_labels(["a=1", "b="]) == {"a": "1", "b": ""}
    with pytest.raises(typer.BadParameter, match="twice"):
        read_labels(["a=1", "a=2"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LeaseNotFound("gone"), Exit.NOT_FOUND),
        (errors.LeaseEnded("over"), Exit.PRECONDITION),
        (errors.InvalidArgument("bad"), Exit.REFUSED),
        (errors.Unavailable("nobody"), Exit.UNREACHABLE),
        (errors.OutcomeUnknown("who knows"), Exit.UNKNOWN),
        (errors.PermissionDenied("no"), Exit.PERMISSION),
    ],
)
def test_scripts_can_tell_failures_apart_by_exit_code(error: errors.GarbageTruckError, code: Exit) -> None:
    assert exit_code(error) is code
