"""A file system so small that it can be full: in memory, mounted below a folder, for root only.

Duty: mount, fill, relieve, unmount. Invariants: nothing is lost by filling it; each call may be made again.
Must not know: who keeps what there.
"""

import os
import subprocess
from pathlib import Path

NAME = "small"
SIZE_BYTES = 48 << 20
BALLAST = ".ballast"
BLOCK_BYTES = 1 << 16
TIMEOUT_S = 10.0


class SmallDisk:
    """Blocks for system calls."""

    def __init__(self, beside: Path) -> None:
        self.path = beside / NAME

    @property
    def mounted(self) -> bool:
        return self.path.is_mount()

    @property
    def free_bytes(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def why_not(self) -> str:
        """Why none can be had here; empty when one can. It is tried."""
        if os.geteuid() != 0:
            return "only root mounts a small file system"
        try:
            self.mount()
        except (OSError, subprocess.SubprocessError) as error:
            return f"a small file system cannot be mounted: {error}"
        self.unmount()
        return ""

    def mount(self) -> None:
        """Raises OSError, SubprocessError."""
        self.path.mkdir(exist_ok=True)
        if not self.mounted:
            _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES},mode=0711", "garbagetruck-chaos", str(self.path))

    def fill(self) -> None:
        """Let no room be left."""
        with (self.path / BALLAST).open("ab", buffering=0) as ballast:
            for block_bytes in (BLOCK_BYTES, 1):
                try:
                    while ballast.write(b"\0" * block_bytes):
                        pass
                except OSError:
                    continue

    def relieve(self) -> None:
        (self.path / BALLAST).unlink(missing_ok=True)

    def unmount(self) -> None:
        """Raises SubprocessError."""
        if self.mounted:
            # Whoever still has a file open there keeps it for himself.
            _run("umount", "-l", str(self.path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)  # noqa: S603  # fixed programs
