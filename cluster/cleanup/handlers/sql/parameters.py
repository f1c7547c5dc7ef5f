"""Values that go into a statement: what a client may give, and what the server takes.

Duty: bring a client's text into the one spelling of its kind, and into the Python value for the type that the server inferred.
Invariants: two texts for one value give one spelling, so that one row has one target: `042` and `42` are the same integer. What
cannot be bound safely is refused before anything is sent: a type is accepted only where equal values have equal spellings.
Must not know: statements, connections.
"""

import decimal
import enum
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType

from garbagetruck.cluster.cleanup.handler import CleanupCall, InvalidParametersError

TEXT_BYTES_MAX = 1_024
INTEGER_MAX = 2**63 - 1
INTEGER_MIN = -(2**63)

_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class ParameterKind(enum.StrEnum):
    """What the operator may declare a parameter to be."""

    TEXT = "text"
    INTEGER = "integer"
    UUID = "uuid"
    BOOLEAN = "boolean"
    DATE = "date"


Convert = Callable[[str], object]

ACCEPTED: Mapping[ParameterKind, Mapping[str, Convert]] = MappingProxyType(
    {
        # Not `bpchar`, for which trailing blanks do not count, nor `name`, which is cut: one row would have two targets.
        ParameterKind.TEXT: {"text": str, "varchar": str},
        ParameterKind.INTEGER: {"int8": int, "int4": int, "int2": int, "numeric": decimal.Decimal},
        ParameterKind.UUID: {"uuid": uuid.UUID, "text": str, "varchar": str},
        ParameterKind.BOOLEAN: {"bool": lambda text: text == "true"},
        ParameterKind.DATE: {"date": date.fromisoformat},
    }
)
"""The server's types that each kind can be bound to, and how."""

CAST_AS: Mapping[ParameterKind, str] = MappingProxyType(
    {ParameterKind.INTEGER: "bigint", ParameterKind.BOOLEAN: "boolean"}
)
"""What to cast a parameter to where the server infers another type; the others by their own names."""

BUILT_IN: Mapping[str, Mapping[str, Convert]] = MappingProxyType(
    {
        # 2^53 and no less: a token does not fit into four bytes.
        "fencing_token": {"int8": int, "numeric": decimal.Decimal},
        "idempotency_key": {"text": str, "varchar": str, "uuid": uuid.UUID},
        "resource": {"text": str, "varchar": str},
        "namespace": {"text": str, "varchar": str},
        "cluster": {"text": str, "varchar": str},
    }
)
"""What every step may name besides the client's parameters."""


def built_in_values(call: CleanupCall) -> dict[str, str]:
    """The values of `BUILT_IN` for one attempt, as text."""
    return {
        "fencing_token": str(call.fencing_token),
        "idempotency_key": call.idempotency_key,
        "resource": call.resource,
        "namespace": call.namespace,
        "cluster": call.cluster_id,
    }


def spelled(kind: ParameterKind, name: str, given: str) -> str:
    """The one spelling of the value that a client gave. Raises `InvalidParametersError`."""
    match kind:
        case ParameterKind.TEXT:
            return _text(name, given)
        case ParameterKind.INTEGER:
            if not _INTEGER.fullmatch(given) or not INTEGER_MIN <= int(given) <= INTEGER_MAX:
                raise InvalidParametersError(name, "is not an integer of 64 bits", "write it in decimal digits")
            return str(int(given))
        case ParameterKind.UUID:
            if not _UUID.fullmatch(given):
                raise InvalidParametersError(name, "is not a UUID", "write its 32 hexadecimal digits")
            return str(uuid.UUID(given))
        case ParameterKind.BOOLEAN:
            if given not in ("true", "false"):
                raise InvalidParametersError(name, "is neither true nor false", "write one of the two")
            return given
        case ParameterKind.DATE:
            try:
                return date.fromisoformat(given if _DATE.fullmatch(given) else "").isoformat()
            except ValueError:
                raise InvalidParametersError(name, "is not a date", "write it as in 2030-12-31") from None


def _text(name: str, given: str) -> str:
    if not given:
        raise InvalidParametersError(name, "is empty", "give it a value")
    if _CONTROL.search(given):
        raise InvalidParametersError(name, "contains a control character", "use printable text")
    if len(given.encode()) > TEXT_BYTES_MAX:
        raise InvalidParametersError(name, "is too long", f"use at most {TEXT_BYTES_MAX} bytes")
    return given
