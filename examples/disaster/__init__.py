"""The disaster-recovery runbook, executed: `make disaster`."""
