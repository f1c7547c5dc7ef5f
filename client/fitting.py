"""Requests that a message can hold, and what is told of those that none can.

Duty: find the field that protobuf refuses to store (a number beyond its type, text that is no UTF-8), and name it as the
server would. Bounds that the API sets are the server's to check.

Must not know: what a request is for. Threads: any.
"""

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from garbagetruck.client.errors import FieldViolation, InvalidArgument

P = ParamSpec("P")
MadeT = TypeVar("MadeT")

MIN_MAX: Mapping[int, tuple[int, int]] = {
    FieldDescriptor.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT64: (0, (1 << 64) - 1),
}
"""The least and the most that a field of a type can hold."""


def fit(at: str, make: Callable[P, MadeT], *args: P.args, **kwargs: P.kwargs) -> MadeT:
    """Make a message, or a part of one that stands in the request's field `at` (empty: the request itself).

    Raises `InvalidArgument` that names the field, what is wrong with its value, and what can be sent.
    """
    try:
        return make(*args, **kwargs)
    except ValueError as error:
        name, value = _culprit(make, kwargs)
        field = ".".join(filter(None, (at, name)))
        problem = _problem(make, name, value, error)
        message = f"{field}: {problem}" if field else problem
        raise InvalidArgument(message, violations=(FieldViolation(field, message),)) from error


def _culprit(make: Callable[..., object], fields: Mapping[str, object]) -> tuple[str, object]:
    """The first field that cannot be stored alone; empty when it is none by itself."""
    if not (isinstance(make, type) and issubclass(make, Message)):
        return "", None
    for name, value in fields.items():
        try:
            make(**{name: value})
        except ValueError:
            return name, value
    return "", None


def _problem(make: Any, name: str, value: object, error: ValueError) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object!r} cannot be written as UTF-8; write it in characters of Unicode"
    if isinstance(value, int):
        bounds = MIN_MAX.get(make.DESCRIPTOR.fields_by_name[name].type)
        if bounds is not None:
            bound = f"at most {bounds[1]}" if value > bounds[1] else f"at least {bounds[0]}"
            return f"is {value}, more than can be sent; write {bound}, which the server may bound further"
    return str(error)
