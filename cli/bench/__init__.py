"""`garbagetruck bench`: loads, what they are run against, and the figures that come of it."""
