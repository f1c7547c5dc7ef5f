"""Mutants of a client's return after a restore: whose word it takes, and what it claims to have held all along (I1, I9)."""

from collections.abc import Sequence

from garbagetruck.chaos.mutants.mutant import by_test, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.client import lives, registration
from garbagetruck.client.errors import GarbageTruckError
from garbagetruck.client.lives import LatestLife, Life
from garbagetruck.client.succession import Member, Succession


@mutant(
    guard="client: only a later life is a reason",
    breaks="I1",
    catcher=by_test("unit/client/test_restored.py::test_i1_in_the_same_life_what_is_not_known_is_over"),
)
def whatever_is_not_known_is_registered_anew(patch: Patch) -> None:
    """A session that expired, and was forgotten, comes back, and with it leases on what was cleaned."""
    original = lives.life_of_refusal

    def life_of_refusal(error: GarbageTruckError) -> Life:
        life = original(error)
        return Life(life.cluster_id, life.incarnation + 1)

    patch.setattr(registration, "life_of_refusal", life_of_refusal)


@mutant(
    guard="client: an earlier life is not believed",
    breaks="I1",
    catcher=by_test("unit/client/test_lives.py::test_the_latest_life_is_remembered_whatever_else_answers"),
)
def an_earlier_life_is_believed(patch: Patch) -> None:
    """A client that has gone over to the restored cluster has its leases renewed by the one that was given up."""
    patch.setattr(LatestLife, "precludes", lambda self, life: False)


@mutant(
    guard="client: what was cleaned is not held",
    breaks="I1",
    catcher=by_test("unit/client/test_restored.py::test_i1_a_lease_whose_resource_was_cleaned_meanwhile_is_lost"),
)
def what_was_cleaned_is_held_again(patch: Patch) -> None:
    """A lease goes on over a resource that was cleaned, as its next generation."""

    async def not_cleaned(self: Succession, members: Sequence[Member]) -> list[Member]:
        return list(members)

    patch.setattr(Succession, "_not_cleaned", not_cleaned)
