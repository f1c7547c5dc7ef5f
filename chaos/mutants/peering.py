"""Mutants of the door: who is let in, with which disk, and what may be said (hazards 20 and 21, identity on disk)."""

import ssl
from typing import Any

from garbagetruck.chaos.mutants.mutant import by_test, in_raft, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.cluster.node import identity
from garbagetruck.cluster.raft import tls, transport
from garbagetruck.cluster.raft.frames import FrameReader
from garbagetruck.cluster.raft.handshake import Door
from garbagetruck.cluster.raft.network import TcpNetwork
from garbagetruck.cluster.raft.origin import Origin
from garbagetruck.cluster.raft.peers import PeerDisks, VoterDisks
from garbagetruck.cluster.raft.sessions import Sessions
from garbagetruck.cluster.raft.tls import PeerNames

ANY_BYTES = 2**40


@mutant(
    guard="hazard 20: the greeting",
    breaks="I3",
    catcher=by_test("unit/raft/test_transport.py::TestTheDoor::test_whoever_does_not_belong_is_refused"),
)
def anybody_is_let_in(patch: Patch) -> None:
    """Nodes of other clusters, of former incarnations and strangers take part."""
    patch.setattr(Door, "reason_to_refuse", lambda self, hello, expected, names: None)


@mutant(
    guard="hazard 20: nobody is heard before greeting",
    breaks="I3",
    catcher=by_test("unit/raft/test_transport.py::TestHandshake::test_nobody_is_heard_before_greeting"),
)
def a_stranger_is_heard(patch: Patch) -> None:
    """Whoever connects may say anything at once."""
    original = Sessions.on_message

    def on_message(self: Sessions, link: Any, message: Any) -> None:
        session = self._by_link.get(link)
        if session is not None and not session.established and type(message).__name__ != "Hello":
            session.peer_id = session.peer_id or min(self.vacant)
            self._listener.on_session_message(session, message)
        else:
            original(self, link, message)

    patch.setattr(Sessions, "on_message", on_message)


@mutant(
    guard="disks at the door",
    breaks="I2",
    catcher=by_test("unit/raft/test_transport.py::TestTheDoor::test_a_peer_with_another_disk_than_before_is_refused"),
)
def any_disk_counts_under_a_name(patch: Patch) -> None:
    """A node that lost its disk votes and acknowledges under its old name."""
    patch.setattr(PeerDisks, "is_known_or_new", lambda self, node_id, disk_id: True)


@mutant(
    guard="disks at the door: one that does not count yet",
    breaks="I3",
    catcher=by_test("unit/raft/test_voters.py::TestADiskThatDoesNotCountYet"),
)
def what_a_strange_disk_says_counts(patch: Patch) -> None:
    """A disk that is let in because it may be the leader's votes under a name that is another's."""
    patch.setattr(transport, "_OF_ITSELF", ())


@mutant(
    guard="disks at the door: a founder that was never met",
    breaks="I2",
    catcher=in_raft("latecomer", names="I3"),
)
def whoever_bears_a_founders_name_is_that_founder(patch: Patch) -> None:
    """Also one that joined with an empty folder, so that a founder that starts late makes a majority with it."""
    original = VoterDisks.is_known_or_new

    def is_known_or_new(self: VoterDisks, node_id: str, disk_id: str, *, is_founder: bool = True) -> bool:
        del is_founder
        return original(self, node_id, disk_id)

    patch.setattr(VoterDisks, "is_known_or_new", is_known_or_new)


@mutant(
    guard="origin: two foundings of one cluster",
    breaks="I3",
    catcher=by_test(
        "unit/raft/test_origin.py::TestWhichLog::test_i3_nodes_of_two_foundings_refuse_each_other_whoever_they_met"
    ),
)
def two_foundings_are_taken_for_one(patch: Patch) -> None:
    """A node follows a leader of another history under the name of its own."""
    patch.setattr(Origin, "is_apart", lambda self, name: False)


@mutant(
    guard="origin: a founder founds once",
    breaks="I2",
    catcher=in_raft("refounded"),
)
def a_founder_is_founded_again(patch: Patch) -> None:
    """A founder that lost its disk and was bootstrapped again goes on, until it finds somebody who does not know it."""
    patch.setattr(Origin, "refute", lambda self, by: None)


@mutant(
    guard="hazard 20: a certificate speaks for its own node",
    breaks="I3",
    catcher=by_test("unit/raft/test_transport.py::TestTheDoor::test_a_certificate_of_another_does_not_open_the_door"),
)
def a_certificate_speaks_for_anybody(patch: Patch) -> None:
    """Any certificate of the authority opens the door to any name."""
    patch.setattr(PeerNames, "speak_for", lambda self, *, cluster_id, node_id: True)


@mutant(
    guard="hazard 20: TLS on both sides",
    breaks="I3",
    catcher=by_test("integration/raft/test_tls.py::test_who_has_no_certificate_at_all_is_not_even_heard"),
)
def no_certificate_is_asked_for(patch: Patch) -> None:
    """Connections are encrypted, and nobody shows who it is."""
    original = tls._context

    def context(files: Any, protocol: int) -> ssl.SSLContext:
        made = original(files, protocol)
        made.verify_mode = ssl.CERT_NONE
        return made

    patch.setattr(tls, "_context", context)


@mutant(
    guard="hazard 20: bounded frames",
    breaks="memory",
    catcher=by_test(
        "unit/raft/test_network.py::TestFrames::test_a_frame_is_refused_by_its_announced_length_before_it_is_read"
    ),
)
def a_frame_may_be_of_any_size(patch: Patch) -> None:
    """A peer makes a node keep as many bytes as it announces."""
    original = FrameReader.feed

    def feed(self: FrameReader, data: bytes) -> Any:
        self.frame_bytes_max = ANY_BYTES
        return original(self, data)

    patch.setattr(FrameReader, "feed", feed)


@mutant(
    guard="hazard 21: accepting goes on",
    breaks="I4",
    catcher=by_test(
        "unit/raft/test_network.py::TestAccepting::test_an_accept_that_fails_is_counted_and_accepting_goes_on"
    ),
)
def a_failed_accept_ends_listening(patch: Patch) -> None:
    """A node without a free descriptor for a moment is never connected to again."""
    original = TcpNetwork._accept_one

    async def accept_one(listening: Any) -> Any:
        try:
            return await original(listening)
        except OSError as error:
            raise RuntimeError("listening is over") from error

    patch.setattr(TcpNetwork, "_accept_one", staticmethod(accept_one))


@mutant(
    guard="identity: an empty folder is refused",
    breaks="I2",
    catcher=by_test(
        "unit/node/test_identity.py::test_an_empty_or_absent_folder_is_refused_without_bootstrap_and_left_as_it_was"
    ),
)
def an_empty_folder_is_served(patch: Patch) -> None:
    """A wiped node begins anew under its old name, and a majority of them elects itself."""
    original = identity.DataFolder.open

    def open_(self: Any, **asked: Any) -> Any:
        if asked["bootstrap_disk_id"] is None and asked.get("join_disk_id") is None:
            asked["join_disk_id"] = "d" * 32
        return original(self, **asked)

    patch.setattr(identity.DataFolder, "open", open_)


@mutant(
    guard="identity: a lock",
    breaks="I2",
    catcher=by_test("unit/node/test_identity.py::test_two_processes_never_share_a_folder"),
)
def two_processes_share_a_folder(patch: Patch) -> None:
    """A node that is started twice writes its journal from two processes."""
    patch.setattr(identity, "_flock", lambda fd, kind, folder: None)
