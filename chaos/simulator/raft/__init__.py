"""The real replicated log, simulated: pysyncobj and all of `cluster/raft` on simulated disks, clocks and connections."""
