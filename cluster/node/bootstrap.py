"""How a cluster comes to be in its log, and how each node's record gets there.

Duty: give the first leader what creates the cluster, and keep this node's own record (addresses, version, disk) what
it is. Until that record is in place, the node is not ready.
Invariants: a cluster is created once: the machine refuses a second time. A node whose disk is not the one in its
record never serves: it has forgotten what the record's disk had promised.
Must not know: files; how operations travel.
"""

import asyncio
from collections.abc import Sequence

import structlog
from msgspec.structs import replace

from garbagetruck.cluster.api.gateway import Consistency, OperatingError
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.machine.operations import CreateCluster, Operation, RegisterMember
from garbagetruck.cluster.machine.outcomes import Refused
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.gateway import NodeGateway
from garbagetruck.cluster.node.identity import NodeIdentity

REGISTER_TIMEOUT_S = 5.0
RETRY_S = 0.2

_log = structlog.get_logger(__name__)


class NotThisClusterError(Exception):
    """The cluster does not know this node, or knows another disk under its name. The node must not serve."""


class Enrolment:
    """This node's place in the cluster. Runs on the node's main loop."""

    def __init__(self, *, settings: NodeSettings, identity: NodeIdentity, machine: Machine, version: str) -> None:
        self._settings = settings
        self._identity = identity
        self._machine = machine
        self._own = replace(
            _stranger(settings, settings.node.id),
            version=version,
            disk_id=identity.disk_id,
            feature_level=settings.node.feature_level,
        )
        self._told_waiting = False

    @property
    def complete(self) -> bool:
        """Whether the cluster has this node's record as it is."""
        return self._machine.cluster_id == self._identity.cluster_id and self._known() == self._own

    def opening(self) -> Sequence[Operation]:
        """What this node says first when it leads. What is in the log already, but not applied here, is refused there."""
        operations: list[Operation] = []
        if not self._machine.cluster_id:
            ids = [each.id for each in self._settings.cluster.members]
            members = tuple(self._own if each == self._own.id else _stranger(self._settings, each) for each in ids)
            operations.append(CreateCluster(self._identity.cluster_id, self._identity.incarnation, members))
        if self._known() != self._own:
            operations.append(RegisterMember(self._own))
        return operations

    async def register(self, gateway: NodeGateway) -> None:
        """Return when the cluster has this node's record; try as long as it takes. Raises `NotThisClusterError`.

        What is applied here at first may end with the record of an earlier life, which a later one has changed since: so
        it counts only behind a linearizable read.
        """
        while True:
            self._check()
            try:
                await gateway.read(Consistency.LINEARIZABLE, timeout_s=REGISTER_TIMEOUT_S)
                if self.complete:
                    return
                self._check()
                (outcome,) = await gateway.submit((RegisterMember(self._own),), timeout_s=REGISTER_TIMEOUT_S)
                if isinstance(outcome, Refused):
                    raise NotThisClusterError(outcome.message)
            except OperatingError as error:
                if not self._told_waiting:
                    self._told_waiting = True
                    _log.info("waiting_for_the_cluster", reason=str(error))
                await asyncio.sleep(RETRY_S)

    def _check(self) -> None:
        """Raise `NotThisClusterError` when what this node has applied already says that it has no place here."""
        machine, identity = self._machine, self._identity
        if not machine.cluster_id:
            return
        if machine.cluster_id != identity.cluster_id:
            raise NotThisClusterError(
                f"the log is that of cluster {machine.cluster_id}, and this folder belongs to {identity.cluster_id};"
                " name the right folder in node.data_dir"
            )
        known = self._known()
        if known is not None and known.disk_id not in ("", identity.disk_id):
            raise NotThisClusterError(
                f"the cluster knows node {identity.node_id} with disk {known.disk_id}, and this folder is disk"
                f" {identity.disk_id}; bring the old folder back, or take the node out of the cluster and add a new one"
            )

    def _known(self) -> Member | None:
        return next((each for each in self._machine.members() if each.id == self._own.id), None)


def _stranger(settings: NodeSettings, node_id: str) -> Member:
    """What is known of a node that has not told its version, disk and feature level yet."""
    own = next(each for each in settings.cluster.members if each.id == node_id)
    return Member(node_id, str(own.api), str(own.http), str(own.raft), version="", disk_id="", feature_level=0)
