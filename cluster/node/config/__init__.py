"""What a node is told from outside: which settings there are, where their values come from, and how they fit together."""
