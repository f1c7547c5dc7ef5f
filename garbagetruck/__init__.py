"""GarbageTruck: leases on external resources, and their cleanup when the last lease is gone.

Duty: the public names of the Python client, re-exported from `garbagetruck.client`.
Invariant: importing this package imports neither grpc nor the client; the names below are resolved at their first
use (PEP 562), so that the pure parts, such as `garbagetruck.cluster.machine`, can be imported alone.
It must not know: anything of the cluster.

The folders `cluster`, `storage`, `cli`, `client`, `chaos` and `v1` beside this file are symbolic links in a checkout
and real folders in an installed wheel: see `docs/decisions/0001-import-package-by-symlinks.md`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from garbagetruck.client import (
        Cleanup,
        CleanupConflict,
        DeadlineExceeded,
        EventsLost,
        GarbageTruckError,
        InvalidArgument,
        Lease,
        LeaseEnded,
        LeaseLost,
        LeaseRequest,
        Lost,
        NotFound,
        OutcomeUnknown,
        PreconditionFailed,
        QuotaExceeded,
        Refused,
        ResourceBeingCleaned,
        ServerFault,
        Session,
        SessionEnded,
        SessionLost,
        SyncLease,
        SyncSession,
        SyncTruck,
        TargetInUse,
        TargetOverlaps,
        Truck,
        Unavailable,
        connect,
        connect_sync,
    )

__all__ = [
    "Cleanup",
    "CleanupConflict",
    "DeadlineExceeded",
    "EventsLost",
    "GarbageTruckError",
    "InvalidArgument",
    "Lease",
    "LeaseEnded",
    "LeaseLost",
    "LeaseRequest",
    "Lost",
    "NotFound",
    "OutcomeUnknown",
    "PreconditionFailed",
    "QuotaExceeded",
    "Refused",
    "ResourceBeingCleaned",
    "ServerFault",
    "Session",
    "SessionEnded",
    "SessionLost",
    "SyncLease",
    "SyncSession",
    "SyncTruck",
    "TargetInUse",
    "TargetOverlaps",
    "Truck",
    "Unavailable",
    "__version__",
    "connect",
    "connect_sync",
]

__version__ = "0.1.0"

_CLIENT_NAMES = frozenset(__all__) - {"__version__"}


def __getattr__(name: str) -> object:
    """Resolve a public client name at its first use; any other name is an `AttributeError`."""
    if name not in _CLIENT_NAMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(import_module("garbagetruck.client"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, resolved or not."""
    return sorted(__all__)
