"""What a node keeps outside all of the nodes' disks: copies of its snapshots, and, while it leads, the log after them."""
