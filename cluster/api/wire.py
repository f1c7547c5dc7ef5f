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

SEARCHED_BYTES_MAX = 65_536
"""Longer messages are told without the field at which they break: the search keeps the node's loop from other work."""
VARINT_BYTES_MAX = 10
CONTINUES = 0x80
"""In every byte of a number but its last."""
VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
"""Wire types, as https://protobuf.dev/programming-guides/encoding numbers them; the API uses no others."""
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
    found = _break(descriptor, raw, NESTING_MAX) if len(raw) <= SEARCHED_BYTES_MAX else None
    field, problem = found or ("", "its bytes do not parse as protobuf")
    if field:
        return invalid(field, f"{problem}; send what the generated code of this API writes")
    return invalid("", f"the request is not a {descriptor.full_name}: {problem}; send what its generated code writes")


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


def _break(descriptor: Descriptor, raw: bytes, nesting: int) -> tuple[str, str] | None:
    """Where a message stops being one, as the path of the field, and how; None where it does not."""
    seen: Counter[str] = Counter()
    at = 0
    while at < len(raw):
        tag = _varint(raw, at)
        if tag is None or tag[0] >> 3 == 0:
            return "", f"no field begins at byte {at}"
        (number, kind), begin = (tag[0] >> 3, tag[0] & 7), tag[1]
        field = descriptor.fields_by_number.get(number)
        name = field.name if field is not None else f"field {number}"
        if field is not None and field.is_repeated:
            name, seen[field.name] = f"{name}[{seen[field.name]}]", seen[field.name] + 1
        end = _end(raw, begin, kind)
        if isinstance(end, str):
            return name, end
        if kind == DELIMITED and field is not None and field.message_type is not None and nesting:
            inner = _break(field.message_type, raw[_content(raw, begin) : end], nesting - 1)
            if inner is not None:
                if field.message_type.GetOptions().map_entry:
                    return field.name, inner[1]  # people know the map, and not its entries
                return ".".join(filter(None, (name, inner[0]))), inner[1]
        at = end
    return None


def _varint(raw: bytes, at: int) -> tuple[int, int] | None:
    """The number that begins there, and where it ends."""
    value = 0
    for position, byte in enumerate(raw[at : at + VARINT_BYTES_MAX]):
        value |= (byte & ~CONTINUES) << 7 * position
        if not byte & CONTINUES:
            return value, at + position + 1
    return None


def _content(raw: bytes, begin: int) -> int:
    length = _varint(raw, begin)
    assert length is not None, "its end was found"
    return length[1]


def _end(raw: bytes, begin: int, kind: int) -> int | str:
    """Where a value ends, or why it does not."""
    number = _varint(raw, begin) if kind in (VARINT, DELIMITED) else (0, begin)
    if number is None:
        return "ends in the middle of a number"
    sizes = {VARINT: 0, FIXED64: 8, DELIMITED: number[0], FIXED32: 4}
    if kind not in sizes:
        return f"is of wire type {kind}, which no field has"
    left = len(raw) - number[1]
    if sizes[kind] > left:
        return f"is announced as {sizes[kind]} bytes long, and {left} are left"
    return number[1] + sizes[kind]
