"""What an operator sees of a node: metrics, health and events over HTTP."""
