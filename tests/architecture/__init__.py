"""Tests of the project's own shape: layout, builds, import rules, style and committed files."""
