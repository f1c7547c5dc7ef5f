"""The cleanup handlers that ship with GarbageTruck; third parties register theirs by entry point."""
