"""The storage that a node's settings name.

Duty: choose the backend and build it. Nothing is connected to, and a driver that is not installed is missed only by who
needs it. Must not know: what is stored.
"""

from concurrent.futures import Executor

from garbagetruck.cluster.node.config.storage_section import StorageSection
from garbagetruck.cluster.node.config.storing import postgres_settings
from garbagetruck.storage.directory.storage import DirectoryStorage
from garbagetruck.storage.protocol import Storage


class StorageNotInstalled(Exception):
    """The driver of the backend is not there."""


def open_storage(section: StorageSection, cluster_id: str, executor: Executor, *, who: str) -> Storage | None:
    """The storage of that cluster, not entered; None when there is to be none.

    `executor` is for a folder's blocking calls. `who` is told to the server. Raises StorageNotInstalled.
    """
    if not section.is_used:
        return None
    if section.kind == "postgres":
        try:
            from garbagetruck.storage.postgres.storage import PostgresStorage
        except ImportError as error:
            raise StorageNotInstalled(
                "storage.kind is postgres, and its driver is not installed: pip install 'garbagetruck[postgres]'"
            ) from error
        settings = postgres_settings(section, application_name=f"garbagetruck {who}"[:63])
        return PostgresStorage(settings, cluster_id)
    assert section.folder is not None, "a directory that is used has a folder"
    return DirectoryStorage(section.folder, cluster_id, executor)


def described(section: StorageSection) -> str:
    """Where copies go, for people; without a password."""
    if section.kind == "postgres":
        return postgres_settings(section).described
    return str(section.folder) if section.is_used else "nowhere outside the nodes"
