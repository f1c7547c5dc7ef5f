"""Reading messages off the wire: what protobuf refuses is told as the caller's mistake, with the field where possible.

Left alone, grpc.aio answers a message that does not parse with UNKNOWN and logs a traceback for each.
"""

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from garbagetruck.cluster.api.errors import CallError, invalid
from garbagetruck.cluster.api.texts import text_checks

M = TypeVar("M", bound=Message)

NESTING_MAX = 8
"""How deep a malformed message is searched; the API nests three deep."""


def reader(parse: Callable[[bytes], M], descriptor: Descriptor) -> Callable[[bytes], M]:
    """Return `parse`, with its failures and bad texts told as `CallError` (INVALID_ARGUMENT)."""
    check = text_checks(descriptor)

    def read(raw: bytes) -> M:
        try:
            message = parse(raw)
        except DecodeError as error:
            raise malformed(descriptor, raw) from error
        check(message)
        return message

    return read


def malformed(descriptor: Descriptor, raw: bytes) -> CallError:
    """What to say of bytes that are not a message of this type."""
    field = _field_not_utf8(descriptor, raw, NESTING_MAX)
    if field:
        return invalid(field, "is not valid UTF-8; strings of this API are UTF-8 text")
    return invalid("", f"the request is not a {descriptor.full_name}: its bytes do not parse as protobuf")


def _field_not_utf8(descriptor: Descriptor, raw: bytes, nesting: int) -> str:
    """The path of the first string field with bad UTF-8; empty when that is not what is wrong."""
    shell = Empty()
    try:
        shell.ParseFromString(raw)  # knows no field, so checks none: keeps all of them as bytes
    except DecodeError:
        return ""
    fields = UnknownFieldSet(shell)
    seen: Counter[str] = Counter()
    for position in range(len(fields)):
        unknown = fields[position]
        field = descriptor.fields_by_number.get(unknown.field_number)
        if field is None or not isinstance(unknown.data, bytes):
            continue
        name = f"{field.name}[{seen[field.name]}]" if field.is_repeated else field.name
        seen[field.name] += 1
        if field.type == FieldDescriptor.TYPE_STRING:
            try:
                unknown.data.decode("utf-8")
            except UnicodeDecodeError:
                return name
        elif field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type is not None and nesting:
            inner = _field_not_utf8(field.message_type, unknown.data, nesting - 1)
            if inner:
                # The entries of a map are messages of their own on the wire; people know the map only.
                return field.name if field.message_type.GetOptions().map_entry else f"{name}.{inner}"
    return ""
