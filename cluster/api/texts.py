"""The texts of a request: whatever field they stand in, none is longer than the API allows, or holds what is no text.

Duty: one rule for every string of every request, by the descriptors, so that a method cannot forget it: names that are
only read by, and filters, too; and the form of a namespace's name. What may be empty, and what the items of a batch may
be, is for whoever knows them.
Invariant: what is refused here is named by its path in the request.
Must not know: services and methods.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from garbagetruck.cluster.api.errors import invalid
from garbagetruck.cluster.machine.validation import (
    HANDLER_BYTES_MAX,
    HOLDER_BYTES_MAX,
    ID_BYTES_MAX,
    LABEL_KEY_BYTES_MAX,
    LABEL_VALUE_BYTES_MAX,
    LABELS_MAX,
    MEMBER_ID_BYTES_MAX,
    NAMESPACE_BYTES_MAX,
    NAMESPACE_FORM,
    NAMESPACE_FORM_TOLD,
    REASON_BYTES_MAX,
    RESOURCE_BYTES_MAX,
)

REQUEST_ID_BYTES_MAX = 128
"""Longest `request_id` of a request. The machine allows more, for those that `api/lease.py` derives for a batch's items."""
BYTES_MAX: Mapping[str, int] = MappingProxyType(
    {
        "namespace": NAMESPACE_BYTES_MAX,
        "request_id": REQUEST_ID_BYTES_MAX,
        "resource": RESOURCE_BYTES_MAX,
        "name_prefix": RESOURCE_BYTES_MAX,
        "holder": HOLDER_BYTES_MAX,
        "lease_id": ID_BYTES_MAX,
        "lease_ids": ID_BYTES_MAX,
        "session_id": ID_BYTES_MAX,
        "session_ids": ID_BYTES_MAX,
        "hold_id": ID_BYTES_MAX,
        "snapshot_id": ID_BYTES_MAX,
        "handler": HANDLER_BYTES_MAX,
        "reason": REASON_BYTES_MAX,
        "member_id": MEMBER_ID_BYTES_MAX,
        "page_token": 256,
    }
)
"""Of strings by the name of their field, which means the same in every request."""
OTHER_BYTES_MAX = 4_096
"""Of strings that are not named above."""
LABELS = "labels"
NAMESPACE = "namespace"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def text_checks(descriptor: Descriptor) -> Callable[[Message], None]:
    """What raises `CallError` (INVALID_ARGUMENT) for a message of this type with a bad text in a field of its own."""
    texts: list[tuple[str, int]] = []
    lists: list[tuple[str, int]] = []
    labels = False
    namespace = NAMESPACE in descriptor.fields_by_name
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            (lists if field.is_repeated else texts).append((field.name, BYTES_MAX.get(field.name, OTHER_BYTES_MAX)))
        elif field.name == LABELS:
            labels = True

    def check(message: Any) -> None:
        for name, bytes_max in texts:
            value = getattr(message, name)
            if len(value) > bytes_max or not (value.isascii() and value.isprintable()):
                _check(name, value, bytes_max)
        for name, bytes_max in lists:
            values = tuple(getattr(message, name))
            together = "".join(values)
            sound = together.isascii() and together.isprintable() and "" not in values
            if not sound or max(map(len, values), default=0) > bytes_max:
                _check_each(name, values, bytes_max)
        if labels:
            _check_labels(getattr(message, LABELS))
        if namespace and message.namespace and NAMESPACE_FORM.fullmatch(message.namespace) is None:
            raise invalid(NAMESPACE, NAMESPACE_FORM_TOLD)

    return check


def _check(path: str, value: str, bytes_max: int) -> None:
    size_bytes = len(value.encode("utf-8", "surrogatepass"))
    if size_bytes > bytes_max:
        raise invalid(path, f"is {size_bytes} bytes long; at most {bytes_max} bytes are allowed")
    if _CONTROL.search(value):
        raise invalid(path, "contains a control character; use printable text")


def _check_each(name: str, values: tuple[str, ...], bytes_max: int) -> None:
    for position, value in enumerate(values):
        if not value:
            raise invalid(f"{name}[{position}]", "is empty; it needs a value")
        _check(f"{name}[{position}]", value, bytes_max)


def _check_labels(labels: Mapping[str, str]) -> None:
    if len(labels) > LABELS_MAX:
        raise invalid(LABELS, f"has {len(labels)} entries; at most {LABELS_MAX} are allowed")
    for key, value in labels.items():
        if not key:
            raise invalid(f"{LABELS}.key", "is empty; it needs a value")
        _check(f"{LABELS}.key", key, LABEL_KEY_BYTES_MAX)
        _check(f"{LABELS}[{key}]", value, LABEL_VALUE_BYTES_MAX)
