"""Tests of cluster/cleanup without disk, network or threads."""
