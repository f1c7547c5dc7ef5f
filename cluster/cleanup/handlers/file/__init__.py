"""The `file` handler: removes files, and directories where the operator allows it, below configured roots."""

from garbagetruck.cluster.cleanup.handlers.file.handler import FileHandler, FileOptions, file_handlers

__all__ = ["FileHandler", "FileOptions", "file_handlers"]
