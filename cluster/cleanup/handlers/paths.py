"""The one parameter of handlers that call a service: a path below what the operator configured.

Duty: read it strictly, so that one thing has one path.
Must not know: where the path leads.
"""

from collections.abc import Mapping

from garbagetruck.cluster.cleanup.handler import InvalidParametersError

PATH_BYTES_MAX = 2_048
SEGMENTS_MAX = 64


def path_segments(parameters: Mapping[str, str]) -> list[str]:
    """The segments of `path`, which is the only parameter. Raises `InvalidParametersError`."""
    for key in parameters:
        if key != "path":
            raise InvalidParametersError(key, "is not a parameter of this handler", "give `path` alone")
    path = parameters.get("path", "")
    if not path:
        raise InvalidParametersError("path", "is missing or empty", "name what the service shall remove, as in rows/42")
    if path.startswith("/"):
        raise InvalidParametersError("path", "is not relative", "leave the leading slash out")
    for character in path:
        if not character.isprintable() or character in "\\%?#":
            problem = f"contains {character!r}"
            raise InvalidParametersError(
                "path", problem, r"use printable text without \, %, ? and #; it is encoded for you"
            )
    segments = path.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise InvalidParametersError(
            "path", "contains an empty segment, `.` or `..`", "name the path plainly, as in rows/42"
        )
    if len(path.encode()) > PATH_BYTES_MAX or len(segments) > SEGMENTS_MAX:
        raise InvalidParametersError(
            "path", "is too long", f"use at most {PATH_BYTES_MAX} bytes and {SEGMENTS_MAX} segments"
        )
    return segments
