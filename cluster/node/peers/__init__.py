"""What nodes say to each other beside Raft: operations and reads on their way to the leader, and how a node is."""
