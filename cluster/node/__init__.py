"""One process of the cluster: configuration, clock, commit queue, forwarding and the composition root."""
