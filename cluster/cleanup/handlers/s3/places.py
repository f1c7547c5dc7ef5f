"""Which part of a bucket a client's parameters name.

Duty: read `bucket`, `key`, `prefix` and `upload_id`, and give the canonical target `s3:/store/bucket/segment/segment`. Pure text.
Invariants: a place lies strictly below a prefix that the operator named; a prefix is never empty, and ends at a slash; no
segment is empty, `.` or `..`, so that no server, proxy or gateway can take a key for another.
Must not know: how things are removed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from garbagetruck.cluster.cleanup.handler import InvalidParametersError
from garbagetruck.cluster.cleanup.handlers.s3.options import EVERY_KEY

SCHEME = "s3"
KEY_BYTES_MAX = 1_024
UPLOAD_ID_BYTES_MAX = 512
RESERVED_PREFIX = ".garbagetruck-"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UPLOADS = "%2Fupload"
"""A segment of targets that no key can have, since a slash is never part of a segment."""


@dataclass(frozen=True, slots=True)
class Place:
    """An object, everything below a prefix, or one unfinished upload."""

    bucket: str
    key: str
    """Of the object or the upload; for a prefix, the prefix with its slash."""
    upload_id: str = ""

    @property
    def is_prefix(self) -> bool:
        return self.key.endswith("/")

    def target(self, store: str) -> str:
        """The canonical target. An object and what lies below its name as if it were a folder overlap."""
        segments = [quote(each, safe="") for each in self.key.rstrip("/").split("/")]
        if self.upload_id:
            segments += [_UPLOADS, quote(self.upload_id, safe="").replace(".", "%2E")]
        return f"{SCHEME}:/{store}/{self.bucket}/{'/'.join(segments)}"


def locate(parameters: Mapping[str, str], buckets: Mapping[str, Sequence[str]]) -> Place:
    """Find the place that the parameters name. `buckets` is not empty. Raises `InvalidParametersError`."""
    for name in parameters:
        if name not in ("bucket", "key", "prefix", "upload_id"):
            raise InvalidParametersError(
                name, "is not a parameter of this handler", "give `bucket`, and `key` or `prefix`"
            )
    bucket = _bucket(parameters, buckets)
    if ("key" in parameters) == ("prefix" in parameters):
        raise InvalidParametersError("", "name no single thing", "give either `key` or `prefix`")
    name = "key" if "key" in parameters else "prefix"
    given = parameters[name]
    plain = _checked(name, given)
    place = Place(bucket, f"{plain}/" if name == "prefix" else plain, _upload_id(parameters, name))
    if not any(_lies_below(place.key, prefix) for prefix in buckets[bucket]):
        known = ", ".join(buckets[bucket])
        raise InvalidParametersError(name, "lies outside the handler's prefixes", f"name something below {known}")
    return place


def _bucket(parameters: Mapping[str, str], buckets: Mapping[str, Sequence[str]]) -> str:
    if "bucket" not in parameters and len(buckets) == 1:
        return next(iter(buckets))
    bucket = parameters.get("bucket", "")
    if bucket not in buckets:
        problem = "is not a bucket of this handler" if "bucket" in parameters else "is missing"
        raise InvalidParametersError("bucket", problem, f"name one of {', '.join(buckets)}")
    return bucket


def _checked(name: str, given: str) -> str:
    """The key, or the prefix without the slash at its end."""
    plain = given
    if name == "prefix":
        if not given.endswith("/"):
            # `job-4` would be `job-42`, too.
            raise InvalidParametersError(name, "does not end with a slash", "write it as in tmp/job-42/")
        plain = given[:-1]
    if not plain:
        raise InvalidParametersError(name, "is empty", "name what shall be removed, as in tmp/42")
    if _CONTROL.search(plain):
        raise InvalidParametersError(name, "contains a control character", "use printable text")
    if len(given.encode()) > KEY_BYTES_MAX:
        raise InvalidParametersError(name, "is too long", f"use at most {KEY_BYTES_MAX} bytes")
    for segment in plain.split("/"):
        if segment in ("", ".", ".."):
            raise InvalidParametersError(name, "contains an empty segment, `.` or `..`", "use keys without them")
        if segment.startswith(RESERVED_PREFIX):
            problem = f"contains a name that begins with {RESERVED_PREFIX}"
            raise InvalidParametersError(name, problem, "use another name")
    return plain


def _upload_id(parameters: Mapping[str, str], name: str) -> str:
    upload_id = parameters.get("upload_id")
    if upload_id is None:
        return ""
    if name != "key":
        raise InvalidParametersError("upload_id", "goes with a key alone", "give the key that is being uploaded")
    if not 1 <= len(upload_id.encode("utf-8", "surrogatepass")) <= UPLOAD_ID_BYTES_MAX or _CONTROL.search(upload_id):
        raise InvalidParametersError("upload_id", "cannot be an upload's id", "give what the store answered")
    return upload_id


def _lies_below(key: str, prefix: str) -> bool:
    return prefix == EVERY_KEY or (key.startswith(prefix) and key != prefix)
