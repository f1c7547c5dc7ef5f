"""The part of the composition root that joins a node with the others: their connections, the gateway, the members.

Duty: build what forwards, what answers the peers, and what follows and changes who they are. Nothing is started here.
Must not know: clients, and how a part works.
"""

from collections.abc import Sequence

import garbagetruck
from garbagetruck.cluster.node.address_book import Place
from garbagetruck.cluster.node.config.checks import raft_settings
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.directory import ApiAddresses, MemberDirectory, members_at
from garbagetruck.cluster.node.finding import known_places
from garbagetruck.cluster.node.gateway import NodeGateway
from garbagetruck.cluster.node.health import Core
from garbagetruck.cluster.node.identity import NodeIdentity
from garbagetruck.cluster.node.membership import MembershipDriver
from garbagetruck.cluster.node.peers.connection import MessageBounds
from garbagetruck.cluster.node.peers.forwarding import Forwarder, ForwardHandler
from garbagetruck.cluster.node.peers.mesh import MemberDisks, PeerMesh
from garbagetruck.cluster.node.peers.status import NodeStatusBoard
from garbagetruck.cluster.node.reads import ReadIndex
from garbagetruck.cluster.node.server_node import Forwarding
from garbagetruck.cluster.node.world import World
from garbagetruck.cluster.observe.metrics import NodeMetrics
from garbagetruck.cluster.raft.settings import Identity, Member

FORWARDS_OUTSTANDING_MAX = 4_096
"""Requests under way between two nodes; more wait at the sender's door."""
FORWARD_BYTES_MAX = 2 * 1024 * 1024


def forwarding_of(
    settings: NodeSettings,
    identity: NodeIdentity,
    core: Core,
    directory: MemberDirectory,
    metrics: NodeMetrics,
    world: World,
) -> tuple[Forwarding, MembershipDriver]:
    """The ways between nodes, the gateway over them, and what changes who they are."""
    api_addresses = ApiAddresses(directory)
    bounds = MessageBounds(settings.queue.batch_operations_max, FORWARD_BYTES_MAX, FORWARDS_OUTSTANDING_MAX)
    mesh = _mesh(settings, identity, core, directory, world)
    driver = MembershipDriver(
        node_id=identity.node_id,
        log=core.log,
        machine=core.machine,
        queue=core.queue,
        leadership=core.leadership,
        peers=mesh.calls,
        on_fatal=world.on_fatal,
    )
    read_index = ReadIndex(log=core.log, leadership=core.leadership, clock=core.clock)
    forwarder = Forwarder(link=mesh.calls, bounds=bounds, on_fatal=world.on_fatal)
    handler = ForwardHandler(
        machine=core.machine,
        queue=core.queue,
        leadership=core.leadership,
        read_index=read_index,
        api_addresses=api_addresses,
        on_report=core.digests.hear,
    )
    gateway = NodeGateway(
        node_id=identity.node_id,
        log=core.log,
        machine=core.machine,
        applier=core.applier,
        clock=core.clock,
        queue=core.queue,
        leadership=core.leadership,
        read_index=read_index,
        forwarder=forwarder,
        api_addresses=api_addresses,
    )
    gateway.count_failures(metrics.log.proposal_failed)
    status = NodeStatusBoard(
        node_id=identity.node_id,
        version=garbagetruck.__version__,
        log=core.log,
        machine=core.machine,
        applier=core.applier,
        clock=core.clock,
        leadership=core.leadership,
        peers=mesh.calls,
        membership_waits=lambda: driver.waits,
        cleanups_held=lambda: core.digests.holds_cleanups,
    )
    mesh.serve(handler, status.own, lambda: known_places(directory.places))
    return Forwarding(mesh, forwarder, handler, gateway, status), driver


def _mesh(
    settings: NodeSettings, identity: NodeIdentity, core: Core, directory: MemberDirectory, world: World
) -> PeerMesh:
    """The connections between the nodes' main loops."""
    own, routes = Member(identity.node_id, str(settings.peer_listen)), settings.node.peer_routes

    def at_peer(places: Sequence[Place]) -> list[Member]:
        return members_at(own, places, lambda place: place.peer, routes, directory.disks)

    mesh = PeerMesh(
        identity=raft_identity(identity),
        members=at_peer(directory.places),
        disks=MemberDisks(core.machine.members),
        settings=raft_settings(settings),
        outstanding_max=FORWARDS_OUTSTANDING_MAX,
        monotonic_ns=world.monotonic_ns,
        random=world.random,
        on_fatal=world.on_fatal,
    )
    directory.listen(lambda places: mesh.set_members(at_peer(places)))
    return mesh


def raft_identity(identity: NodeIdentity) -> Identity:
    """Who this node tells the others that it is."""
    return Identity(identity.cluster_id, identity.node_id, identity.disk_id, identity.incarnation)
