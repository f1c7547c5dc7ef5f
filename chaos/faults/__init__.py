"""Faults of real processes and the network between them. Each proves that it bit, or a run says nothing."""
