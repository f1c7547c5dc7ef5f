"""Bytes to and from values: the log's batches, and what nodes forward to each other.

Strict in both directions: unknown tags, wrong types and missing fields are errors, never guesses.
"""

from collections.abc import Sequence

import msgspec

from garbagetruck.cluster.machine.features import LEVEL_NEWEST, format_of
from garbagetruck.cluster.machine.operations import Batch, CreateCluster, ForwardedOperation, Operation, RegisterMember
from garbagetruck.cluster.machine.outcomes import Outcome

STAMP_MS_MAX = 1 << 53
"""A stamp above it is no time: 285,000 years. Below it no sum of stamp and bound outgrows 64 bits."""

WITH_MEMBERS = frozenset({CreateCluster, RegisterMember})
"""The operations of feature level 1 that hold members."""

_encoder = msgspec.msgpack.Encoder()
_batch_decoder = msgspec.msgpack.Decoder(Batch)
_operations_decoder = msgspec.msgpack.Decoder(tuple[ForwardedOperation, ...])
_outcomes_decoder = msgspec.msgpack.Decoder(tuple[Outcome, ...])
_outcome_decoder: msgspec.msgpack.Decoder[Outcome] = msgspec.msgpack.Decoder(Outcome)
_format_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


class Unreadable(Exception):
    """The bytes are not what they should be."""


class FormatTooNew(Exception):
    """The bytes need a higher feature level than this node has, which it must not guess at."""

    def __init__(self, what: str, found: int, level: int) -> None:
        super().__init__(f"{what} of format {found}, this node reads up to {level}")
        self.found = found
        self.level = level

    @property
    def remedy(self) -> str:
        """What an operator can do, as a clause."""
        if self.found <= LEVEL_NEWEST:
            return f"set node.feature_level to {self.found}, or more"
        return "start the version that wrote it, or a newer one"


def encode_batch(batch: Batch) -> bytes:
    if WITH_MEMBERS.isdisjoint(map(type, batch.operations)):
        return _encoder.encode(batch)
    *fields, operations = (getattr(batch, name) for name in batch.__struct_fields__)
    return _encoder.encode((*fields, tuple(map(_written, operations))))


def _written(operation: Operation) -> object:
    """The operation as it is encoded: of a member that may not be all fields."""
    tag = operation.__struct_config__.tag
    match operation:
        case RegisterMember(member):
            return [tag, member.written()]
        case CreateCluster(cluster_id, incarnation, members):
            return [tag, cluster_id, incarnation, [each.written() for each in members]]
        case _:
            return operation


def decode_batch(payload: bytes, level: int = LEVEL_NEWEST) -> Batch:
    """Raise `Unreadable` for anything but a batch, `FormatTooNew` for one of a later format than `level`.

    A batch whose format is below what its operations need is none: a node of a lower level would take it for another.
    """
    try:
        batch = _batch_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        newer = _format_of(payload)
        if newer is not None and newer > level:
            raise FormatTooNew("batch", newer, level) from error
        raise Unreadable(f"not a batch: {error}") from error
    if batch.format > level:
        raise FormatTooNew("batch", batch.format, level)
    if batch.format < format_of(batch.operations):
        raise Unreadable(f"not a batch: format {batch.format} is below what is in it")
    if not 0 <= batch.at_ms <= STAMP_MS_MAX:
        raise Unreadable(f"not a batch: no clock tells {batch.at_ms} ms")
    return batch


def _format_of(payload: bytes) -> int | None:
    try:
        return msgspec.msgpack.decode(_format_decoder.decode(payload)[0], type=int)
    except (msgspec.MsgspecError, IndexError, RecursionError):
        return None


def encode_operations(operations: Sequence[Operation]) -> bytes:
    if WITH_MEMBERS.isdisjoint(map(type, operations)):
        return _encoder.encode(tuple(operations))
    return _encoder.encode(tuple(map(_written, operations)))


def decode_operations(payload: bytes) -> tuple[ForwardedOperation, ...]:
    """Raise `Unreadable` for anything else."""
    try:
        return _operations_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"not a sequence of operations: {error}") from error


def encode_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    return _encoder.encode(tuple(outcomes))


def decode_outcomes(payload: bytes) -> tuple[Outcome, ...]:
    """Raise `Unreadable` for anything else."""
    try:
        return _outcomes_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"not a sequence of outcomes: {error}") from error


def outcome_to_text(outcome: Outcome) -> str:
    """An outcome as text, for the request table."""
    return _encoder.encode(outcome).hex()


def outcome_from_text(text: str) -> Outcome:
    return _outcome_decoder.decode(bytes.fromhex(text))
