"""The Python client of the public API: asynchronous first, with a thin synchronous face.

Duty: the names that users of the client may rely on. Everything else below is the client's own.
"""

from garbagetruck.client.caller import Listing, Page
from garbagetruck.client.lease import Lease, Lost
from garbagetruck.client.overview import (
    Bounds,
    Brake,
    BrakeState,
    CleanupSettings,
    CleanupStatus,
    ClusterStatus,
    Event,
    Limits,
    Member,
    Namespace,
    NodeRole,
    NodeStatus,
    Usage,
)
from garbagetruck.client.records import (
    Claim,
    Cleanup,
    Hold,
    LeaseRequest,
    LeaseState,
    LeaseSummary,
    PendingCleanup,
    Resource,
    ResourceState,
    SessionRecord,
    SessionState,
)
from garbagetruck.client.session import Session
from garbagetruck.client.sync import SyncLease, SyncSession, SyncTruck, connect_sync
from garbagetruck.client.truck import Truck, connect
from garbagetruck.client.world import World, real_world

__all__ = [
    "Bounds",
    "Brake",
    "BrakeState",
    "Claim",
    "Cleanup",
    "CleanupSettings",
    "CleanupStatus",
    "ClusterStatus",
    "Event",
    "Hold",
    "Lease",
    "LeaseRequest",
    "LeaseState",
    "LeaseSummary",
    "Limits",
    "Listing",
    "Lost",
    "Member",
    "Namespace",
    "NodeRole",
    "NodeStatus",
    "Page",
    "PendingCleanup",
    "Resource",
    "ResourceState",
    "Session",
    "SessionRecord",
    "SessionState",
    "SyncLease",
    "SyncSession",
    "SyncTruck",
    "Truck",
    "Usage",
    "World",
    "connect",
    "connect_sync",
    "real_world",
]
