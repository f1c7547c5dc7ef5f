"""What this node's own settings say of a member that shall be added.

Duty: refuse an address that no node of this cluster would talk to: without TLS they stay on their machine. The settings
of all nodes are the same in this, so that any of them may say it for all.
Must not know: what else makes a member good (`machine.validation`).
"""

from typing_extensions import override

from garbagetruck.cluster.api.ports import MemberDoor
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.config.values import InvalidValueError, parse_address


class SettingsDoor(MemberDoor):
    """By the settings of the node that was asked."""

    def __init__(self, settings: NodeSettings) -> None:
        raft = settings.raft
        self._loopback_only = raft.tls_certificate is None and not raft.insecure_plaintext

    @override
    def problem(self, member: Member) -> tuple[str, str] | None:
        for field in ("api", "http", "raft", "peer"):
            try:
                address = parse_address(getattr(member, field))
            except InvalidValueError as error:
                return field, f"{error.problem}; {error.remedy}"
            if field in ("raft", "peer") and self._loopback_only and not address.is_loopback:
                return field, (
                    f"{address} is not on this machine, and without TLS between the nodes whoever reaches it could read"
                    " and write the cluster's state; give every node a certificate (`garbagetruck tls init`), or set"
                    " raft.insecure_plaintext where nobody else can reach it"
                )
        return None
