"""What is built can be installed and imported anywhere: the wheel from the checkout, and the wheel from the sdist."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.architecture.checkout import PRODUCT_FOLDERS, ROOT, committed_paths, handwritten_modules

# One worker builds once.
pytestmark = pytest.mark.xdist_group("builds")


def build(kind: str, source: Path, output: Path) -> Path:
    """Run the build backend without an index: it is installed already, and pinned."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(output)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = output.iterdir()
    return built


def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def clean_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; third-party packages are lent by ours, the checkout is not."""
    environment = tmp_path_factory.mktemp("clean") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, env=environment_without_paths())
    # Paths added by a .pth file are not searched for .pth files, so that our editable installation stays invisible.
    (site_packages,) = (environment / "lib").glob("python*/site-packages")
    (site_packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return environment


def environment_without_paths() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}


def run_clean(environment: Path, *arguments: str) -> str:
    """Run a program of the clean environment from a folder where the checkout cannot be seen."""
    program, *rest = arguments
    command = [str(environment / "bin" / program), *rest]
    finished = subprocess.run(
        command, cwd=environment, env=environment_without_paths(), check=False, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_wheel_holds_every_module_under_one_name(wheel: Path) -> None:
    product = [path for path in handwritten_modules() if path.parts[0] in PRODUCT_FOLDERS]
    names = wheel_names(wheel)
    front = {
        str(path)
        for path in committed_paths()
        if path.parent == Path("garbagetruck") and not (ROOT / path).is_symlink()
    }
    assert {f"garbagetruck/{path}" for path in product} | front | {"garbagetruck/v1/__init__.py"} <= names
    assert {name.split("/")[0] for name in names} == {"garbagetruck"}, "nothing else may land in site-packages"


def test_the_wheel_holds_the_api_and_its_stubs(wheel: Path) -> None:
    names = wheel_names(wheel)
    for source in (ROOT / "proto" / "garbagetruck" / "v1").glob("*.proto"):
        generated = {f"{source.stem}{suffix}" for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")}
        assert {f"garbagetruck/v1/{name}" for name in (source.name, *generated)} <= names


def test_a_wheel_built_from_the_sdist_is_the_same(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert wheel_names(build("wheel", unpacked, tmp_path / "wheel")) == wheel_names(wheel)


def test_the_installed_wheel_is_imported_from_its_own_environment(clean_environment: Path) -> None:
    script = (
        "import garbagetruck.cluster.machine, garbagetruck.storage, garbagetruck.v1.lease_pb2_grpc\n"
        "print(garbagetruck.cluster.machine.__file__)\n"
        "print(garbagetruck.v1.lease_pb2_grpc.__file__)\n"
    )
    for line in run_clean(clean_environment, "python", "-c", script).splitlines():
        assert Path(line).is_relative_to(clean_environment)


@pytest.mark.parametrize("name", [*PRODUCT_FOLDERS, "proto"])
def test_no_folder_is_importable_without_its_prefix(clean_environment: Path, name: str) -> None:
    script = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is not None)"
    run_clean(clean_environment, "python", "-c", script)


def test_the_installed_command_answers(clean_environment: Path) -> None:
    assert "Usage" in run_clean(clean_environment, "garbagetruck", "--help")
