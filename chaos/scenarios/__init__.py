"""Stories of what goes wrong, a few lines each. `garbagetruck chaos list` tells of all of them."""

from collections.abc import Mapping
from types import MappingProxyType

from garbagetruck.chaos.scenarios import (
    absences,
    clocks,
    damages,
    databases,
    disks,
    fleets,
    handlers,
    kills,
    lives,
    masses,
    networks,
    operators,
    restarts,
    soak,
)
from garbagetruck.chaos.scenarios.scenario import Scenario

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        each.name: each
        for each in (
            kills.kill_all,
            kills.kill_staggered,
            kills.kill_leader,
            kills.kill_follower,
            absences.stop_leader,
            absences.stop_follower,
            absences.cut_node,
            absences.minority_leader,
            networks.flapping,
            networks.one_way,
            networks.bridge,
            networks.halves,
            networks.slow_network,
            networks.cut_connections,
            disks.disk_full_,
            disks.fsync_fails,
            disks.slow_disk,
            disks.stalled_disks,
            restarts.rolling_restart,
            restarts.drain_leader,
            restarts.wiped_follower,
            restarts.wiped_majority,
            clocks.wall_clock_jumps,
            clocks.clock_rates,
            operators.member_replaced,
            operators.rolling_upgrade,
            operators.leader_transfer,
            handlers.stale_handler,
            handlers.kill_mid_cleanup,
            damages.corrupt_journal,
            damages.corrupt_snapshot,
            masses.mass_expiry_leader_dies,
            fleets.cut_fleet,
            databases.postgres_killed,
            databases.postgres_stopped,
            databases.postgres_slow,
            databases.postgres_cut_off,
            databases.postgres_refuses,
            databases.postgres_full,
            databases.postgres_schema,
            databases.postgres_killed_with_leader,
            lives.mistaken_loss,
            lives.mistaken_loss_cut_off,
            soak.soak,
        )
    }
)
