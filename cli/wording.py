"""What went wrong, in the words of the command line: the flag, the problem and the remedy.

Duty: translate the API's field names to flags, and add what a person at a terminal can do about it.
It must not know: exit codes, nor what a command does.
"""

import re

from garbagetruck.cli.invocation import Invocation
from garbagetruck.client.errors import (
    DeadlineExceeded,
    EventsLost,
    FieldViolation,
    GarbageTruckError,
    OutcomeUnknown,
    Unavailable,
)
from garbagetruck.durations import format_duration

FLAG_OF_FIELD = {
    "brake.holders_min": "--brake-holders-min",
    "brake.share": "--brake-share",
    "brake.window_ms": "--brake-window",
    "cleanup": "--cleanup",
    "cleanup.attempts_max": "--attempts-max",
    "cleanup.grace_ms_min": "--grace-min",
    "cleanup.handler": "--cleanup",
    "cleanup.retry_delay_ms_max": "--retry-delay-max",
    "cleanup.retry_delay_ms_min": "--retry-delay-min",
    "from_index": "--from",
    "grace_ms": "--grace",
    "handler": "--handler",
    "hold_id": "--hold-id",
    "holder": "--holder",
    "holders_min": "--holders-min",
    "labels": "--label",
    "lease_id": "ID",
    "lease_ids": "ID",
    "limits.leases_max": "--leases-max",
    "limits.leases_per_holder_max": "--leases-per-holder-max",
    "limits.resources_max": "--resources-max",
    "limits.sessions_max": "--sessions-max",
    "name_prefix": "--prefix",
    "namespace": "--namespace",
    "page_size": "--limit",
    "page_token": "--page-token",
    "reason": "--reason",
    "request_id": "--request-id",
    "resource": "RESOURCE",
    "revision": "--revision",
    "session_id": "ID",
    "share": "--share",
    "snapshot_id": "ID",
    "states": "--state",
    "ttl_ms": "--ttl",
    "types": "--type",
}

REMEDY_OF_REASON = {
    "CLEANUP_NOT_FOUND": "garbagetruck resource get shows who holds it",
    "HOLD_NOT_FOUND": "garbagetruck resource get shows its holds",
    "LEASE_ENDED": "stop using the resource, or acquire it again",
    "LEASE_NOT_FOUND": "garbagetruck lease list shows those that there are",
    "NAMESPACE_CHANGED": "read it again with garbagetruck namespace get, and decide again",
    "NO_LEADER": "is a majority of the nodes up? garbagetruck status tells",
    "OVERLOADED": "try again in a moment",
    "REQUEST_ID_REUSED": "leave --request-id out, or give each operation one of its own",
    "RESOURCE_NOT_FOUND": "garbagetruck resource list shows those that there are",
    "SESSION_NOT_FOUND": "garbagetruck session list shows those that there are",
    "SNAPSHOT_NOT_FOUND": "garbagetruck snapshot list shows those that there are",
    "STORAGE_ABSENT": "name a storage in its configuration; --data-dir looks at what is on its disk",
}


def words(error: GarbageTruckError, invocation: Invocation, request_id: str) -> str:
    """Everything to be told about a failed call, in one line for each thing that is wrong.

    `request_id`: the one that the call was made with; empty when it changed nothing.
    """
    remedy = _remedy(error, invocation, request_id)
    end = f"{f'; {remedy}' if remedy else ''}{_reason(error)}"
    if error.violations:
        return "\n".join(f"Error: {_of_field(each)}{end}" for each in error.violations)
    message = error.message
    if isinstance(error, Unavailable) and not error.reason:
        message = f"no node answered at {invocation.endpoints}: {_cause(error.message)}"
    return f"Error: {message}{end}"


def _of_field(violation: FieldViolation) -> str:
    field, key = re.fullmatch(r"([^\[]*)(.*)", violation.field, re.DOTALL).groups()  # type: ignore[union-attr]
    description = violation.description.removeprefix(f"{violation.field}: ")
    if field == "cleanup.parameters":
        return f"--cleanup: parameter {key.strip('[]')}: {description}"
    unit = " (milliseconds)" if field.endswith(("_ms", "_ms_min", "_ms_max")) else ""
    flag = f"{FLAG_OF_FIELD.get(field, field)}{key}"
    return f"{flag}: {description}{unit}" if flag else description


def _remedy(error: GarbageTruckError, invocation: Invocation, request_id: str) -> str:
    if error.retry_after_s is not None and error.reason == "RESOURCE_BEING_CLEANED":
        return f"try again in {format_duration(max(1, round(error.retry_after_s)) * 1_000)}"
    match error:
        case OutcomeUnknown():
            return (
                f"repeat the command with --request-id {request_id} to find out" if request_id else "look, then repeat"
            )
        case EventsLost():
            oldest = error.metadata.get("oldest_index", "")
            goes_on = f"--from {oldest}, the oldest that there is, or " if oldest else ""
            return f"events were missed: read the state anew (lease list, resource list), then watch {goes_on}without --from"
        case DeadlineExceeded():
            return f"are the nodes at {invocation.endpoints} up? Otherwise raise --timeout"
        case Unavailable() if not error.reason:
            return "is the cluster up? Name its nodes with --endpoints"
        case _:
            return REMEDY_OF_REASON.get(error.reason, "")


def _cause(message: str) -> str:
    """What the operating system said, out of what gRPC makes of it."""
    return message.rpartition("Failed to connect to remote host: ")[2] if "remote host: " in message else message


def _reason(error: GarbageTruckError) -> str:
    return f" [{error.reason}]" if error.reason else ""
