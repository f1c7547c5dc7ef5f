"""Pages of lists: sizes, and tokens that are opaque, versioned and bound to their list and its filters.

A token says after which creation number the next page begins. It holds no secret and grants nothing; the checks on it
are there to tell a caller who mixed two lists up.
"""

import base64
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
import xxhash
from google.protobuf.message import Message

from garbagetruck.cluster.api.errors import invalid
from garbagetruck.cluster.machine.questions import Page

T = TypeVar("T")
M = TypeVar("M", bound=Message)

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000
PAGE_TOKEN_BYTES_MAX = 256
TOKEN_VERSION = 1
SCANNED_PAGES_MAX = 20
"""How many pages of the machine one page of ours looks through when a filter is applied here."""
RESPONSE_BYTES_MAX = 3 * 1024 * 1024
"""How large the items of a page may be together."""
NOT_FILTERS = ("page_size", "page_token", "consistency")
NOT_OURS = "is not a token that this list answered"


class PageToken(msgspec.Struct, frozen=True, array_like=True):
    """Where a list goes on."""

    version: int
    filters: int
    after: int | str
    """A creation number, or a name in lists that go by name."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PageToken)


def page_size(asked: int) -> int:
    """The size of a page: 0 means the default, too large is cut, negative is refused."""
    if asked < 0:
        raise invalid("page_size", f"is {asked}; it must be 0 (the default of {PAGE_SIZE_DEFAULT}) or positive")
    return min(asked, PAGE_SIZE_MAX) or PAGE_SIZE_DEFAULT


def page_after(request: Message, token: str) -> int:
    """The creation number that `token` says to go on after; 0 for an empty one. `request` is the list request itself."""
    after = _after(request, token)
    if after is None:
        return 0
    if not isinstance(after, int) or after < 0:
        raise invalid("page_token", NOT_OURS)
    return after


def page_after_name(request: Message, token: str) -> str:
    """The same for lists in order of names; empty for an empty token."""
    after = _after(request, token)
    if after is None:
        return ""
    if not isinstance(after, str):
        raise invalid("page_token", NOT_OURS)
    return after


def next_page_token(request: Message, after: int | str) -> str:
    """The token of the page after a creation number or name; empty, the end, for 0 and the empty name."""
    if not after:
        return ""
    raw = _encoder.encode(PageToken(TOKEN_VERSION, _fingerprint(request), after))
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _after(request: Message, token: str) -> int | str | None:
    if not token:
        return None
    decoded = _decode(token)
    if decoded.version != TOKEN_VERSION:
        raise invalid("page_token", "was made by another version of the software; begin with the first page")
    if decoded.filters != _fingerprint(request):
        raise invalid("page_token", "belongs to another list, or to other filters; begin with the first page")
    return decoded.after


def _decode(token: str) -> PageToken:
    if len(token) > PAGE_TOKEN_BYTES_MAX:
        raise invalid("page_token", f"is longer than {PAGE_TOKEN_BYTES_MAX} bytes; no list answers such a token")
    try:
        return _decoder.decode(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (ValueError, msgspec.MsgspecError) as error:
        raise invalid("page_token", NOT_OURS) from error


def _fingerprint(request: Message) -> int:
    """A hash of which list it is and what it filters by; page size and freshness may change from page to page."""
    filters = type(request)()
    filters.CopyFrom(request)
    for field in NOT_FILTERS:
        if field in request.DESCRIPTOR.fields_by_name:
            filters.ClearField(field)
    name = request.DESCRIPTOR.full_name.encode("ascii")
    return xxhash.xxh3_64_intdigest(name + b"\0" + filters.SerializeToString(deterministic=True))


def gather(
    page_of: Callable[[int, int], Page[T]], matches: Callable[[T], bool], after: int, size: int
) -> tuple[list[T], int]:
    """One page of what `matches`, out of as many pages of the machine as that takes, up to `SCANNED_PAGES_MAX`.

    Returns the items and after which number the next page begins, 0 at the end. A page may end short, even empty,
    before the end: what matches little must not hold the loop for long.
    """
    found: list[T] = []
    for _ in range(SCANNED_PAGES_MAX):
        page = page_of(after, size - len(found))
        found.extend(item for item in page.items if matches(item))
        after = page.next_after
        if not after or len(found) == size:
            break
    return found, after


def fit(
    items: Iterable[T], message_of: Callable[[T], M], number_of: Callable[[T], int], after: int
) -> tuple[list[M], int]:
    """The messages of a page, cut so that clients with gRPC's default limit of 4 MiB can receive it.

    Returns them, at least one if there are items, and after which number the next page begins: `after` when all fit.
    """
    messages: list[M] = []
    size = 0
    last = 0
    for item in items:
        message = message_of(item)
        size += message.ByteSize()
        if messages and size > RESPONSE_BYTES_MAX:
            return messages, last
        messages.append(message)
        last = number_of(item)
    return messages, after
