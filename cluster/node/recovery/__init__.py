"""What becomes of a cluster after a disaster: read what is left, and begin its next incarnation from it."""
