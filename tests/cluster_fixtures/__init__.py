"""Clusters of real processes for tests, started by `up` and gone afterwards."""
