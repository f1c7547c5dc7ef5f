"""What the answers to an `http` handler's requests mean.

Duty: the one table from a status to a result. Must not know: connections.
"""

from garbagetruck.cluster.cleanup.handler import CleanupResult
from garbagetruck.cluster.cleanup.handlers.answers import shown

_DONE = range(200, 300)
_GONE = frozenset({404, 410})
_REDIRECTS = range(300, 400)
_REFUSALS = range(400, 500)
_RETRYABLE_REFUSALS = {
    401: "the service does not accept the credentials; correct `headers` or `signing_secret`",
    403: "the service does not allow it; correct `headers`, or its permissions",
    408: "the service waited too long for the request",
    409: "the thing is in a state that does not allow it now",
    412: "the service has seen a higher token or another condition is not met",
    423: "the thing is locked",
    425: "the service did not want it so early",
    429: "the service has too many requests",
}


def result_of(status: int, answer: bytes) -> CleanupResult:
    """The result that a status means; `answer` is told to people where it failed."""
    if status in _DONE:
        return CleanupResult.done()
    if status in _GONE:
        return CleanupResult.already_gone()
    said = shown(answer)
    if status in _RETRYABLE_REFUSALS:
        return CleanupResult.failed(f"{status}: {_RETRYABLE_REFUSALS[status]}{said}")
    if status in _REDIRECTS:
        error = f"{status}: the service redirects, which is not followed; correct `base_url`{said}"
        return CleanupResult.failed(error, retryable=False)
    if status in _REFUSALS:
        return CleanupResult.failed(f"{status}: the service refuses{said}", retryable=False)
    return CleanupResult.failed(f"{status}: the service failed{said}")
