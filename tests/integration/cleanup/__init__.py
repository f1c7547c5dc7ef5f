"""Tests of cluster/cleanup with real files, processes and servers."""
