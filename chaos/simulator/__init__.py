"""A deterministic simulator: the nodes' real code, log and all, over modelled network, disks, clocks and store, from one seed.

`python -m garbagetruck.chaos.simulator --seeds 100 --start 1` runs a hundred histories and says which of them broke an
invariant. The same seed gives the same history, byte for byte.
"""
