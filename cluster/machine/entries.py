"""The bases of what nodes send each other and write into the log.

Tags and field order are the wire format: append fields with defaults, never reorder, never reuse a tag.
"""

import msgspec


class Wire(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all messages between nodes."""


class Entry(Wire, frozen=True, forbid_unknown_fields=True):
    """Base of batches and operations. A field that this version does not know is an error: dropping it would diverge."""
