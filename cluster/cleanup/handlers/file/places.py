"""Which place a client's parameters name: a root of the operator's, and a path below it.

Duty: read the parameters `path` and `root`, and give the canonical target `file:/real/root/segment/segment`. Pure text:
the file system is not asked, since the thing need not exist yet.
Invariants: a place lies strictly below its root; no segment is `.`, `..` or empty; no segment begins with
`RESERVED_PREFIX`, so that no client can name the lock or a tombstone. Two texts for one place give one target.
Must not know: how things are opened and removed. A symbolic link could give one thing two targets: the walk refuses
links everywhere, so a target that leads over one can never be removed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from garbagetruck.cluster.cleanup.handler import InvalidParametersError
from garbagetruck.cluster.machine.validation import TARGET_BYTES_MAX, TARGET_SEGMENTS_MAX

SCHEME = "file"
RESERVED_PREFIX = ".garbagetruck-"
SEGMENT_BYTES_MAX = 255
_FIRST_PRINTABLE = " "
_DELETE = "\x7f"


@dataclass(frozen=True, slots=True)
class Root:
    """A folder below which things may be removed."""

    name: str
    """What a client may call it in the parameter `root`."""
    configured: str
    """The absolute path as the operator wrote it, without a slash at its end."""
    real: str
    """The same with all symbolic links resolved, as they were when the handler started."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path below a root."""

    root: Root
    segments: tuple[str, ...]
    """At least one."""

    @property
    def target(self) -> str:
        """The canonical target."""
        return f"{SCHEME}:{self.root.real}/{'/'.join(self.segments)}"

    @property
    def parents(self) -> tuple[bytes, ...]:
        """The names of the folders to walk through, from the root."""
        return tuple(segment.encode() for segment in self.segments[:-1])

    @property
    def name(self) -> bytes:
        """The last name."""
        return self.segments[-1].encode()


def locate(parameters: Mapping[str, str], roots: Sequence[Root]) -> Place:
    """Find the place that the parameters name. `roots` is not empty. Raises `InvalidParametersError`.

    A relative path is meant from the root named by `root`, else from the first one; an absolute path has to lie within
    a root, written as the operator wrote it or resolved.
    """
    for key in parameters:
        if key not in ("path", "root"):
            raise InvalidParametersError(key, "is not a parameter of this handler", "give `path`, and `root` if needed")
    path = parameters.get("path", "")
    if not path:
        raise InvalidParametersError("path", "is missing or empty", "name a file below the root, as in uploads/42")
    if not path.isprintable() and any(character < _FIRST_PRINTABLE or character == _DELETE for character in path):
        raise InvalidParametersError("path", "contains a control character", "use printable text")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidParametersError("path", "is not valid UTF-8", "use names that are valid UTF-8") from None
    root, relative = _choose(path, parameters.get("root"), roots)
    place = Place(root, _segments(relative))
    target = place.target
    if len(target.encode()) > TARGET_BYTES_MAX or target.count("/") > TARGET_SEGMENTS_MAX:
        raise InvalidParametersError(
            "path", "is too long", f"use at most {TARGET_BYTES_MAX} bytes and {TARGET_SEGMENTS_MAX} segments in all"
        )
    return place


def _choose(path: str, wanted: str | None, roots: Sequence[Root]) -> tuple[Root, str]:
    named = [root for root in roots if wanted in (None, root.name)]
    if not named:
        known = ", ".join(root.name for root in roots)
        raise InvalidParametersError("root", "is not a root of this handler", f"name one of {known}, or none")
    if not path.startswith("/"):
        return named[0], path
    # One spelling of the slashes, so that `//srv/files/x` is no other place than `/srv/files/x`. Dots are left in: a
    # prefix that holds some matches no root.
    plain = "/" + "/".join(segment for segment in path.split("/") if segment)
    for root in named:
        for prefix in (root.configured, root.real):
            if plain == prefix or plain.startswith(f"{prefix}/"):
                return root, plain[len(prefix) :]
    raise InvalidParametersError(
        "path", "lies outside the handler's roots", "name a path below a root, or a relative one"
    )


def _segments(relative: str) -> tuple[str, ...]:
    segments = tuple(segment for segment in relative.split("/") if segment not in ("", "."))
    if not segments:
        raise InvalidParametersError("path", "names the root itself", "name something below it")
    for segment in segments:
        if segment == "..":
            raise InvalidParametersError("path", "contains `..`", "name the path without going up")
        if segment.startswith(RESERVED_PREFIX):
            raise InvalidParametersError(
                "path", f"contains a name that begins with {RESERVED_PREFIX}", "use another name"
            )
        if len(segment.encode()) > SEGMENT_BYTES_MAX:
            raise InvalidParametersError(
                "path", "contains a name that is too long", f"use {SEGMENT_BYTES_MAX} bytes at most"
            )
    return segments
