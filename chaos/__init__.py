"""Faults, workloads, checkers and the seeded simulator that try to break the invariants."""
