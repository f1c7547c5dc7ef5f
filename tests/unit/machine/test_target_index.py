"""Who owns a target, and what overlaps it: what comparing it with every owned target would say (I1)."""

import random

from garbagetruck.cluster.machine.targets import Overlap, TargetIndex, containers


def test_i1_a_folder_that_nobody_owned_is_looked_at_again_once_somebody_does() -> None:
    index = TargetIndex()
    assert index.overlap("f:/a/b/c") is None
    index.take("f:/a/b/c", 1)
    index.free("f:/a/b/c")
    index.take("f:/a/b", 2)
    assert index.overlap("f:/a/b/d") == Overlap("f:/a/b", 2, 0)


def test_i1_it_finds_every_overlap_whatever_came_and_went(seed: int) -> None:
    rng = random.Random(seed)
    index, owned = TargetIndex(), dict[str, int]()
    found = 0
    for generation in range(3_000):
        target = "f:" + "".join(f"/{rng.choice('abc')}" for _ in range(rng.randrange(1, 5)))
        assert index.owner(target) == owned.get(target)
        if target in owned:
            index.free(target)
            del owned[target]
            continue
        around = [container for container in containers(target) if container in owned]
        within = sum(other.startswith(target + "/") for other in owned)
        overlap = index.overlap(target)
        if around:
            assert overlap == Overlap(around[0], owned[around[0]], 0)
        elif within:
            assert overlap == Overlap("", None, within)
        else:
            assert overlap is None
            index.take(target, generation)
            owned[target] = generation
        found += overlap is not None
    assert found > 100, f"seed {seed}: hardly anything overlapped, so it proves little"
