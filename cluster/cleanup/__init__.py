"""The executor that runs cleanups on the leader, and the handlers it can run."""
