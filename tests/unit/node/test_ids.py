"""Ids are 130 bits, none of them wasted, in 26 characters."""

import random

from typing_extensions import override

from garbagetruck.cluster.node.ids import CHARACTERS, LENGTH, id_source


class Bits(random.Random):
    """Draws the bits that it is told to."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    @override
    def getrandbits(self, k: int, /) -> int:
        assert k == 130
        return self.bits


def test_an_id_is_its_bits_in_base_32() -> None:
    assert id_source(Bits(0))() == CHARACTERS[0] * LENGTH
    assert id_source(Bits(2**130 - 1))() == CHARACTERS[31] * LENGTH
    assert id_source(Bits(1))() == "0" * (LENGTH - 1) + "1"
    assert id_source(Bits(31 << 125 | 2 << 5 | 10))() == "z" + "0" * (LENGTH - 3) + "2a"


def test_ids_of_one_source_differ_and_use_every_character_in_every_place() -> None:
    draw = id_source(random.Random(11))
    ids = {draw() for _ in range(2_000)}
    assert len(ids) == 2_000
    for place in range(LENGTH):
        assert {drawn[place] for drawn in ids} == set(CHARACTERS)
