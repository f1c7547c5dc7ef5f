"""Generate Python messages, stubs and their types from `proto/`, or check that what is committed is fresh.

Usage: python tools/generate_proto.py [--check]

Generated code is committed beside its source, so that neither an installation nor a reader needs a compiler. Its
imports read `from garbagetruck.v1 import …`, because `proto/` is the root that the compiler sees; in a checkout the link
`garbagetruck/v1` makes them true. `--check` generates into a temporary folder and compares: exit 1 names what differs.
"""

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc_tools

PROTO_ROOT = Path(__file__).resolve().parent.parent / "proto"
PACKAGE = Path("garbagetruck/v1")
GENERATED_PATTERNS = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def include_folders() -> list[Path]:
    """The roots that imports in our files resolve against: ours, `google/rpc` included, and protobuf's own types."""
    return [PROTO_ROOT, Path(grpc_tools.__file__).parent / "_proto"]


def sources() -> list[Path]:
    return sorted((PROTO_ROOT / PACKAGE).glob("*.proto"))


def generate(output: Path) -> None:
    """Run the compiler over every file of the API; its messages go to stderr and its failure is ours."""
    binaries = Path(sys.executable).parent
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        *(f"--proto_path={folder}" for folder in include_folders()),
        f"--plugin=protoc-gen-mypy={binaries / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={binaries / 'protoc-gen-mypy_grpc'}",
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        # Server and client run on grpc.aio only; the synchronous face of the client drives the asynchronous one.
        f"--mypy_grpc_out=quiet,only_async:{output}",
        *(str(source.relative_to(PROTO_ROOT)) for source in sources()),
    ]
    subprocess.run(command, check=True, cwd=PROTO_ROOT)


def generated_names(folder: Path) -> set[str]:
    return {path.name for pattern in GENERATED_PATTERNS for path in folder.glob(pattern)}


def differences(fresh: Path) -> list[str]:
    """Names of generated files that are missing, left over, or unlike what the sources give now."""
    committed = PROTO_ROOT / PACKAGE
    names = generated_names(committed) | generated_names(fresh)
    _, changed, absent = filecmp.cmpfiles(committed, fresh, sorted(names), shallow=False)
    return sorted(changed + absent)


def replace(names: list[str], fresh: Path) -> None:
    """Bring the named files to what the sources give; what no source stands behind any more goes."""
    for name in names:
        committed = PROTO_ROOT / PACKAGE / name
        if (fresh / name).exists():
            shutil.copyfile(fresh / name, committed)
        else:
            committed.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when something is not fresh")
    check_only: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory(prefix="garbagetruck-proto-") as temporary:
        try:
            generate(Path(temporary))
        except subprocess.CalledProcessError as error:
            return error.returncode  # the compiler has said why; what is committed stays as it was
        fresh = Path(temporary) / PACKAGE
        stale = differences(fresh)
        if not check_only:
            replace(stale, fresh)
            return 0
    for name in stale:
        print(f"proto/{PACKAGE}/{name} is not what its source generates: run `make proto`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
