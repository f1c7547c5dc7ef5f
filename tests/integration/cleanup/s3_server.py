"""A real S3 server on loopback: SeaweedFS, in a folder and on ports of its own, from a wheel.

Duty: start it, wait until it answers, stop it, whatever happened. It reports nothing to anybody: its telemetry is off.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

ACCESS_KEY_ID = "AKIDTESTS"
SECRET_ACCESS_KEY = "hush-hush-hush"
START_TRIES_MAX = 3
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
LOOK_S = 0.05
HOST = "127.0.0.1"
LOG_TAIL_BYTES = 4_000
_LIBC = ctypes.CDLL(None)
_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
)


class SeaweedServer:
    """One server, one node of everything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}
        self.url = ""

    def __enter__(self) -> Self:
        for _ in range(START_TRIES_MAX):  # a port that was free may be taken before the server takes it
            if self._start():
                return self
            self.stop()
        log = (self._folder / "log").read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        raise AssertionError(f"the S3 server did not start: {log}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, signal.SIGKILL)  # nothing in it is to last
        process.wait(STOP_TIMEOUT_S)
        for name, port in self._ports.items():  # and some it leaves outside of its folder, whatever it is told
            Path(f"/tmp/seaweedfs-{name.partition('.')[0]}-grpc-{port}.sock").unlink(missing_ok=True)

    def _start(self) -> bool:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self._folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        # Each bucket has volumes of its own: one at a time will do.
        (self._folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        (self._folder / "data").mkdir()
        self._ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self.url = f"http://{HOST}:{self._ports['s3.port']}"
        command: list[str | Path] = [Path(sysconfig.get_path("scripts")) / "weed", "server", "-filer", "-s3"]
        command += [f"-ip={HOST}", f"-ip.bind={HOST}", f"-dir={self._folder / 'data'}", "-master.telemetry=false"]
        command += [f"-{name}={port}" for name, port in self._ports.items()]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={self._folder / 's3.json'}"]
        command += [f"-filer.localSocket={self._folder / 'f'}", f"-s3.localSocket={self._folder / 's'}"]
        command += ["-master.volumeSizeLimitMB=32", "-volume.max=200", "-volume.minFreeSpace=10MiB"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "TMPDIR": str(self._folder)}
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - it is one system call
            )
        return self._answers()

    def _answers(self) -> bool:
        until_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until_s:
            assert self._process is not None
            if self._process.poll() is not None:
                return False
            try:
                with urlopen(self.url, timeout=1.0):
                    return True
            except HTTPError as refused:  # nobody may list buckets without a signature: it is there
                refused.close()
                return refused.code == 403
            except (URLError, OSError):
                time.sleep(LOOK_S)
        return False


def _die_with_parent() -> None:
    """Have the kernel kill this process when the tests' own is gone, however that came (prctl(2), PR_SET_PDEATHSIG)."""
    _LIBC.prctl(1, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
