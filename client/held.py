"""The leases that this process holds, as far as it still cares about them.

Duty: bring every `Lease` object that was acquired here up to date with each answer about it.
Invariant: only weak references are kept; a lease that nobody looks at any more costs nothing. What was merely read is
never kept, so that no read prolongs a lease.
"""

from collections.abc import Callable
from weakref import WeakValueDictionary

from garbagetruck.client.errors import GarbageTruckError, LeaseEnded, LeaseNotFound
from garbagetruck.client.lease import Deadline, Described, Lease, Lost
from garbagetruck.client.translate import lease_summary
from garbagetruck.client.world import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND
from garbagetruck.v1 import lease_pb2


class HeldLeases:
    """Leases by id. Belongs to the loop of its connection."""

    def __init__(self, boottime_ns: Callable[[], int]) -> None:
        self._boottime_ns = boottime_ns
        self._leases: WeakValueDictionary[str, Lease] = WeakValueDictionary()

    def read(self, message: lease_pb2.Lease, sent_ns: int) -> Lease:
        """A lease as the answer to a call sent at `sent_ns` describes it."""
        deadline = Deadline(self._boottime_ns, sent_ns + message.remaining_ms * NANOSECONDS_PER_MILLISECOND)
        return Lease(Described(lease_summary(message)), deadline, Lost(deadline))

    def remember(self, message: lease_pb2.Lease, sent_ns: int) -> Lease:
        """A lease that was just acquired by a call sent at `sent_ns`."""
        lease = self.read(message, sent_ns)
        self._leases[lease.id] = lease
        return lease

    def attach(self, message: lease_pb2.Lease, sent_ns: int, deadline: Deadline, *, renewed: bool) -> Lease:
        """A lease that was just acquired, and shares the deadline of its session. `renewed`: that begins anew with it."""
        if renewed:
            deadline.extend(sent_ns, message.remaining_ms)
        attached = Lease(Described(lease_summary(message)), deadline, Lost(deadline))
        self._leases[attached.id] = attached
        return attached

    def register_anew(self, lease: Lease, message: lease_pb2.Lease) -> None:
        """Let a lease that the cluster lost be the one that was acquired in its place. Its deadline stays."""
        self._leases.pop(lease.id, None)
        lease.described.record = lease_summary(message)
        self._leases[lease.id] = lease

    def note_renewal(self, lease_id: str, sent_ns: int, remaining_ms: int, *, changed: bool) -> float:
        """Take note of a renewal sent at `sent_ns`; returns what is left, in seconds. `changed`: its TTL may be shorter
        now.
        """
        lease = self._leases.get(lease_id)
        if lease is not None and changed:
            lease.deadline.move(sent_ns, remaining_ms)
        elif lease is not None:
            lease.deadline.extend(sent_ns, remaining_ms)
        until_ns = sent_ns + remaining_ms * NANOSECONDS_PER_MILLISECOND
        return max(0, until_ns - self._boottime_ns()) / NANOSECONDS_PER_SECOND

    def note_loss(self, lease_id: str, error: GarbageTruckError) -> None:
        """Take note of a refusal; the lease is lost if it says that it is over."""
        lease = self._leases.get(lease_id)
        if lease is not None and isinstance(error, LeaseEnded | LeaseNotFound):
            lease.lost.set(error.message)

    def note_release(self, lease_id: str, error: GarbageTruckError | None) -> None:
        """Take note of a release, or of its refusal."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return
        if error is None:
            lease.lost.give_back()
        else:
            self.note_loss(lease_id, error)
