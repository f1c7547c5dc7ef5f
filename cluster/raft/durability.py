"""What the journal promises to those who speak for this node: types only.

Duty: say when a word may leave this node. Raft is safe only while a node never says what it could forget: an entry that
it acknowledges, and the term and the vote behind every message, are on its disk before the message is on the wire
(Ongaro and Ousterhout, figure 2: "updated on stable storage before responding to RPCs"). pysyncobj sends at once; so
whoever stands between it and the network holds back, by this port:

1. `RequestVote`, `Vote` and `NextIndex` leave only while `vows_durable`; until then they wait (`when_durable`).
2. A `NextIndex` that reports success acknowledges no more than `durable_index`. It may leave at once, bounded, so that
   the leader hears that this node lives; the rest is acknowledged when it is durable.
3. pysyncobj's leader counts itself for every entry in its log. So an acknowledgement is given to it no further than
   this node's own `durable_index`, and the rest when that is durable: nothing is committed that the leader could lose.
   A node without peers has nobody to acknowledge anything, and waits for its disk instead (`Journal.wait_durable`).

4. `AppendEntries` of a leader that has applied a change of the voters calls it committed only while `metadata_durable`.

`AppendEntries` may leave before its entries are durable here: followers write while the leader does. Those of a leader
always follow a `RequestVote`, and so a durable term.

Must not know: files, threads, messages, pysyncobj.
"""

from collections.abc import Callable
from typing import Protocol


class Durability(Protocol):
    """How far the disk has come. Everything here belongs to the Raft thread, the callbacks included."""

    @property
    def durable_index(self) -> int:
        """The last entry of the log *as it is now* that no loss of power can take away, together with all before it.

        It falls when entries are cut from the log's end, and rises again as their successors become durable.
        """

    @property
    def vows_durable(self) -> bool:
        """Whether the term and the vote, as they are now, are durable."""

    @property
    def metadata_durable(self) -> bool:
        """...and the commit index, as it was last stored, too: a hint, which is stored often, and nothing said to a leader
        waits for it. A disk that takes seconds would else have every follower fall silent.
        """

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call `callback` once all that was written before this call is durable; at once when it already is.

        Callbacks are called in the order in which they were given, never from within pysyncobj, and not at all when the
        node ends first. They must look again whether what they meant to say is still true: a term may have passed.
        """
