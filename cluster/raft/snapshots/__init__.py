"""Snapshots: kept on disk, taken, sent, received, and begun with."""
