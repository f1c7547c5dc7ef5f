"""All mutants, by name. `garbagetruck chaos mutants --list` prints the table."""

from collections.abc import Mapping
from types import MappingProxyType

from garbagetruck.chaos.mutants import (
    agreeing,
    archiving,
    calling,
    claiming,
    cleaning,
    clocks,
    keeping,
    leading,
    leases,
    peering,
    replicating,
    returning,
    storing,
)
from garbagetruck.chaos.mutants.mutant import Mutant

_AREAS = (
    clocks,
    leading,
    leases,
    claiming,
    cleaning,
    calling,
    keeping,
    agreeing,
    replicating,
    storing,
    archiving,
    peering,
    returning,
)

MUTANTS: Mapping[str, Mutant] = MappingProxyType(
    {each.name: each for area in _AREAS for each in vars(area).values() if isinstance(each, Mutant)}
)
