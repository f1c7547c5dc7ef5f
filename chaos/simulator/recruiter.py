"""Who adds, removes and replaces whole nodes, as an operator does by the API: the nodes' own driver does the rest.

Duty: say the operator's wishes (`raft.operator`) through the gateway of whoever believes to lead.
Must not know: what is right.
"""

from typing_extensions import override

from garbagetruck.chaos.simulator.enlisting import stranger
from garbagetruck.chaos.simulator.nodes import SimulatedNode
from garbagetruck.chaos.simulator.raft.host import Host
from garbagetruck.chaos.simulator.raft.life import Life
from garbagetruck.chaos.simulator.raft.operator import Operator, Task
from garbagetruck.cluster.api.gateway import OperatingError
from garbagetruck.cluster.machine.operations import AddMember, ClientOperation, RemoveMember

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
    def _tell(self) -> None:
        """The records tell everybody."""
