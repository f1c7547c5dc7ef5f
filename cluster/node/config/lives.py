"""The setting that says which life of a cluster a node joins.

Duty: its bounds and its meaning. Must not know: what a life begins with.
"""

from garbagetruck.cluster.machine.model import INCARNATION_MAX
from garbagetruck.cluster.node.config.values import Whole

JOINED_INCARNATION = Whole(
    meaning="Which life of the cluster a node joins that has no folder yet: 1, or what the last restore said"
    " (docs/disaster-recovery.md). Later the folder counts.",
    unit="a number",
    minimum=1,
    maximum=INCARNATION_MAX,
)
