"""Promises that several implementations make alike."""
