"""What goes wrong around whole nodes, beside what goes wrong with machines and wires (`raft.faults`).

Duty: more kinds of faults; and the moments at which no node could have reached a majority.
Must not know: clients, leases, what is right.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from typing_extensions import override

from garbagetruck.chaos.simulator.depot import DEPOT
from garbagetruck.chaos.simulator.nodes import node_of
from garbagetruck.chaos.simulator.raft.faults import Faults, Kind
from garbagetruck.chaos.simulator.raft.host import DRIFT_PPM_MAX, Host
from garbagetruck.chaos.simulator.store import STORE


class ClusterFaults(Faults):
    """`clients` are the names of those who may be cut off."""

    def __init__(self, *, clients: Sequence[str], keeps: bool, **options: Any) -> None:
        """`keeps`: there is a storage outside the nodes."""
        more = (*_MORE, *_OF_THE_DEPOT) if keeps else _MORE
        super().__init__(more=more, never_calm=True, **options)
        self._clients = clients
        self._no_majority_since_ns: int | None = None
        self.windows: list[tuple[int, int]] = []
        """(from, to) between which no renewal could be accepted."""

    # --- kinds ------------------------------------------------------------------------------------------------------

    def _stall_main(self, host: Host, last_ms: int) -> None:
        """The main loop hangs; the Raft thread goes on."""
        node = node_of(host)
        if node is None or node.main.stalled:
            return
        epoch, since_ns = node.leadership.epoch, self._world.now_ns
        node.main.stall(stalled=True)

        def go_on() -> None:
            node.main.stall(stalled=False)
            others = (node_of(each) for each in self._hosts)
            alone = all(other is None or other.replica.status.term <= epoch for other in others)
            if host.is_up and host.life is node and epoch and alone and self._oracle.term_max <= epoch:
                # It led all the time, and heard no client: for renewals that is as good as no majority.
                self.windows.append((since_ns, self._world.now_ns))

        self._end_after(last_ms, go_on)

    def _clock_rate(self, host: Host, last_ms: int) -> None:
        """From as slow as a clock may be to as fast, or the other way, and back."""
        drift_ppm = self._random.choice((-DRIFT_PPM_MAX, DRIFT_PPM_MAX))
        host.clock.set_drift(drift_ppm)
        self._end_after(last_ms, lambda: host.clock.set_drift(-drift_ppm))

    def _cut_client(self, host: Host, last_ms: int) -> None:
        del host
        self._cut_off(self._random.choice(self._clients), last_ms)

    def _no_store(self, host: Host, last_ms: int) -> None:
        del host
        self._cut_off(STORE, last_ms)

    def _no_depot(self, host: Host, last_ms: int) -> None:
        """The storage outside the nodes is out of reach of all of them, or of one."""
        names = [each.name for each in self._hosts] if self._random.happens(0.7) else [host.name]
        before = set(self._weather.weather.cut)
        self._weather.isolate(DEPOT, names)
        self._mend_after(last_ms, before)

    def _cut_off(self, name: str, last_ms: int) -> None:
        before = set(self._weather.weather.cut)
        self._weather.isolate(name, [each.name for each in self._hosts])
        self._mend_after(last_ms, before)

    # --- majorities -------------------------------------------------------------------------------------------------

    @override
    def _strike(self, host: Host, last_ms: int) -> None:
        super()._strike(host, last_ms)
        self._watch()

    @override
    def _end_after(self, last_ms: int, end: Callable[[], object]) -> None:
        def ended() -> None:
            end()
            self._watch()

        super()._end_after(last_ms, ended)

    @override
    def _heal(self) -> None:
        super()._heal()
        for host in self._hosts:
            node = node_of(host)
            if node is not None:
                node.main.stall(stalled=False)
        self._watch()

    def _watch(self) -> None:
        now_ns = self._world.now_ns
        if self._majority():
            if self._no_majority_since_ns is not None:
                self.windows.append((self._no_majority_since_ns, now_ns))
            self._no_majority_since_ns = None
        elif self._no_majority_since_ns is None:
            self._no_majority_since_ns = now_ns

    def _majority(self) -> bool:
        """Whether some node could hear, and be heard by, a majority whose disks work, itself included."""
        up = [host for host in self._hosts if host.is_up]
        return any(sum(map(partial(self._hears, host), up)) * 2 > len(self._hosts) for host in up)

    def _hears(self, host: Host, other: Host) -> bool:
        passes = self._weather.passes
        linked = other is host or (passes(host.name, other.name) and passes(other.name, host.name))
        return linked and not other.speed.is_stalled


_MORE: tuple[Kind, ...] = (
    ClusterFaults._stall_main,  # noqa: SLF001  # the kinds, by name
    ClusterFaults._stall_main,  # noqa: SLF001
    ClusterFaults._clock_rate,  # noqa: SLF001
    ClusterFaults._cut_client,  # noqa: SLF001
    ClusterFaults._no_store,  # noqa: SLF001
)
_OF_THE_DEPOT: tuple[Kind, ...] = (
    ClusterFaults._no_depot,  # noqa: SLF001
    ClusterFaults._no_depot,  # noqa: SLF001
)
