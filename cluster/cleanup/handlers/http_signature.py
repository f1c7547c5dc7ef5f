"""The signature of an `http` handler's request: proof to the service that one of the cluster's nodes sent it, and when.

Duty: say what is signed, and sign it.
Invariant: everything that a service decides by is signed: method, path, the handler's own headers, body and time.
Must not know: connections, where the secret comes from.

docs/handlers.md shows services how to verify it; a test runs what is shown there.
"""

import hashlib
import hmac
from collections.abc import Mapping

SECRET_BYTES_MIN = 16
TIMESTAMP = "GarbageTruck-Timestamp"
SIGNATURE = "GarbageTruck-Signature"
VERSION = "v1"
SIGNED_HEADERS = (
    TIMESTAMP,
    "Idempotency-Key",
    "GarbageTruck-Cluster",
    "GarbageTruck-Namespace",
    "GarbageTruck-Resource",
    "GarbageTruck-Generation",
    "GarbageTruck-Fencing-Token",
    "GarbageTruck-Attempt",
)


def signed_headers(
    secret: str, *, now_s: float, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> dict[str, str]:
    """`headers` with time and signature. `path` is as it is sent, encoded; `now_s` counts from 1970."""
    stamped = {**headers, TIMESTAMP: str(int(now_s))}
    lines = (VERSION, method, path, *(stamped[name] for name in SIGNED_HEADERS), hashlib.sha256(body).hexdigest())
    digest = hmac.new(secret.encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()
    return {**stamped, SIGNATURE: f"{VERSION}={digest}"}
