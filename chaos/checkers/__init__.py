"""What must hold of a history, whoever made it. Nothing in here shares code with `cluster`: it would repeat its mistakes."""
