"""Who adds, removes and replaces whole nodes, as an operator does by the API: the nodes' own driver does the rest.

Duty: say the operator's wishes (`raft.operator`) through the gateway of whoever believes to lead.
Must not know: what is right.
"""

from typing_extensions import override

from garbagetruck.chaos.simulator.enlisting import stranger
from garbagetruck.chaos.simulator.nodes import SimulatedNode, node_of
from garbagetruck.chaos.simulator.raft.host import Host
from garbagetruck.chaos.simulator.raft.life import Life
from garbagetruck.chaos.simulator.raft.operator import Operator, Task
from garbagetruck.cluster.api.gateway import OperatingError
from garbagetruck.cluster.machine.model import MemberRole
from garbagetruck.cluster.machine.operations import AddMember, ClientOperation, RemoveMember
from garbagetruck.cluster.raft.log import Role

ACTOR = "operator"
TIMEOUT_S = 2.0


class Recruiter(Operator):
    """An operator of whole nodes. Each wish has one request id, however often it is said."""

    @override
    def _ask_at(self, leader: Host, life: Life, task: Task) -> None:
        assert isinstance(life, SimulatedNode)
        life.main.loop.start(self._submit(life, task))

    async def _submit(self, node: SimulatedNode, task: Task) -> None:
        host, now_ms, request_id = task.host, node.gateway.entered_ms(), f"{ACTOR}-{task.number}"
        operation: ClientOperation
        if task.wanted:
            operation = AddMember(now_ms, request_id, ACTOR, stranger(host.name, host.disk_id))
        else:
            operation = RemoveMember(now_ms, request_id, ACTOR, host.name)
        try:
            (outcome,) = await node.gateway.submit((operation,), timeout_s=TIMEOUT_S)
        except OperatingError:
            return
        node.main.world.note(f"operator {type(operation).__name__} {host.name}: {type(outcome).__name__}")

    @override
    def _is_settled(self, task: Task) -> bool:
        """The record says so, by the word of whoever believes to lead."""
        leaders = [each for each in map(node_of, self._hosts) if each is not None and each.role is Role.LEADER]
        records = [each.machine.member(task.host.name) for each in leaders]
        if not task.wanted:
            return None in records
        own = [each for each in records if each is not None and each.disk_id == task.host.disk_id]
        return any(each.role is MemberRole.VOTER for each in own)

    @override
    def _tell(self) -> None:
        """The records tell everybody."""
