"""The pure lease state machine: operations in, outcomes out; no clock, no randomness, no I/O."""
