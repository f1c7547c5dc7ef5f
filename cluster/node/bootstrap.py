"""How a cluster comes to be in its log, and how each node's record gets there.

Duty: give the first leader what creates the cluster, and keep this node's own record (addresses, version, disk) what
it is. Until that record is in place, the node is not ready.
Invariants: a cluster is created once: the machine refuses a second time; a node that joined creates none. A node whose
disk is not the one in its record never serves: it has forgotten what the record's disk had promised.
Must not know: files; how operations travel.
"""

import asyncio
from collections.abc import Sequence

import structlog
from msgspec.structs import replace
from typing_extensions import override

from garbagetruck.cluster.api.gateway import Consistency, OperatingError
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.machine.operations import CreateCluster, Operation, RegisterMember
from garbagetruck.cluster.machine.outcomes import Refused
from garbagetruck.cluster.node.applier import ApplyListener
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.gateway import NodeGateway
from garbagetruck.cluster.node.identity import NodeIdentity
from garbagetruck.cluster.raft.log import LogStatus

REGISTER_TIMEOUT_S = 5.0
RETRY_S = 0.2
FULL_RECORDS_LEVEL = 2
"""The feature level from which on a member's record tells where its peers reach it."""

_log = structlog.get_logger(__name__)


class NotThisClusterError(Exception):
    """The cluster does not know this node, or knows another disk under its name. The node must not serve."""


class Enrolment(ApplyListener):
    """This node's place in the cluster. Runs on the node's main loop."""

    def __init__(self, *, settings: NodeSettings, identity: NodeIdentity, machine: Machine, version: str) -> None:
        self._settings = settings
        self._identity = identity
        self._machine = machine
        self._own = replace(
            _stranger(settings, settings.node.id),
            peer=str(settings.member.peer),
            version=version,
            disk_id=identity.disk_id,
            feature_level=settings.node.feature_level,
        )
        self._told_waiting = False
        self._was_member = False
        self._more_to_tell = asyncio.Event()
        self._registered = False
        self.removed = asyncio.Event()
        """Set when the cluster is without this node. It never is again."""
        self.gone = asyncio.Event()
        """Set while the record that this node had is gone: then nobody counts on its vote any more."""

    @property
    def complete(self) -> bool:
        """Whether the cluster has this node's record as it is. What the node shall be to Raft, it does not say itself."""
        return self._machine.cluster_id == self._identity.cluster_id and self._recorded()

    def opening(self) -> Sequence[Operation]:
        """What this node says first when it leads. What is in the log already, but not applied here, is refused there."""
        operations: list[Operation] = []
        if not self._machine.cluster_id and not self._identity.joined:
            ids = [each.id for each in self._settings.cluster.members]
            own = replace(self._own, peer="")
            members = tuple(own if each == own.id else _stranger(self._settings, each) for each in ids)
            operations.append(CreateCluster(self._identity.cluster_id, self._identity.incarnation, members))
        if not self._recorded():
            operations.append(RegisterMember(self._record()))
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
                    self._registered = True
                    return
                self._check()
                (outcome,) = await gateway.submit((RegisterMember(self._record()),), timeout_s=REGISTER_TIMEOUT_S)
                if isinstance(outcome, Refused):
                    raise NotThisClusterError(f"the cluster refuses what this node tells of itself: {outcome.message}")
            except OperatingError as error:
                self._tell_waiting(error)
                await asyncio.sleep(RETRY_S)

    async def keep(self, gateway: NodeGateway) -> None:
        """Tell more, for as long as the node runs, once every member can read it: where its peers reach this node."""
        while True:
            await self._more_to_tell.wait()
            try:
                (outcome,) = await gateway.submit((RegisterMember(self._own),), timeout_s=REGISTER_TIMEOUT_S)
            except OperatingError:
                await asyncio.sleep(RETRY_S)
                continue
            self._more_to_tell.clear()
            if isinstance(outcome, Refused):
                _log.error("record_refused", reason=outcome.message)
                return  # told again, it would be refused again; the node does without

    def _tell_waiting(self, error: OperatingError) -> None:
        """Say once what this node waits for."""
        if self._told_waiting:
            return
        self._told_waiting = True
        if self._identity.joined and self._known() is None:
            own = self._own
            addresses = f"--api {own.api} --http {own.http} --raft {own.raft} --peer {own.peer}"
            _log.info("waiting_to_be_let_in", do=f"garbagetruck member add {own.id} {addresses}", reason=str(error))
        else:
            _log.info("waiting_for_the_cluster", reason=str(error))

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
        # Whoever joined may be reading of former days, when the name was another's: the leader tells what is now.
        if known is not None and known.disk_id not in ("", identity.disk_id) and not identity.joined:
            raise NotThisClusterError(
                f"the cluster knows node {identity.node_id} with disk {known.disk_id}, and this folder is disk"
                f" {identity.disk_id}; bring the old folder back, or take the node out of the cluster and add a new one"
            )

    # -- what the applier tells -------------------------------------------------------------------------------

    @override
    def on_applied(self, applied: Applied) -> None:
        """The end of the slice is soon enough."""

    @override
    def on_restored(self) -> None:
        self._look()

    @override
    def on_progress(self) -> None:
        self._look()

    @override
    def on_status(self, status: LogStatus) -> None:
        if status.removed:
            self.removed.set()

    def _look(self) -> None:
        """A record with this very disk that is there no more tells of a removal, also of one who never had a vote.

        But not while this node reads of former days: it may have been added again since, with the same folder.
        """
        known = self._known()
        if known is not None and known.disk_id == self._identity.disk_id:
            self._was_member = True
            self.gone.clear()
            if known.peer != self._own.peer and self._may_tell_all():
                self._more_to_tell.set()
        elif self._was_member:
            self.gone.set()
            if self._registered:
                self.removed.set()

    def _known(self) -> Member | None:
        return self._machine.member(self._own.id)

    def _recorded(self) -> bool:
        known = self._known()
        return known is not None and replace(known, role=self._own.role, peer=self._own.peer) == self._own

    def _record(self) -> Member:
        """What this node may tell of itself as yet."""
        return self._own if self._may_tell_all() else replace(self._own, peer="")

    def _may_tell_all(self) -> bool:
        """Whether all members, and this version as it is set up, read records with everything in them."""
        return min(self._machine.feature_level, self._own.feature_level) >= FULL_RECORDS_LEVEL


def _stranger(settings: NodeSettings, node_id: str) -> Member:
    """What is known of a node that has not told its version, disk and feature level yet."""
    own = next(each for each in settings.cluster.members if each.id == node_id)
    return Member(node_id, str(own.api), str(own.http), str(own.raft), version="", disk_id="", feature_level=0)
