"""The import package is made of links in a checkout; docs/decisions/0001-import-package-by-symlinks.md says why."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.checkout import PRODUCT_FOLDERS, ROOT, committed_paths, handwritten_modules, project_table

LINKS = {**{folder: f"../{folder}" for folder in PRODUCT_FOLDERS}, "v1": "../proto/garbagetruck/v1"}


@pytest.mark.parametrize("name", LINKS)
def test_each_folder_is_linked_into_the_import_package(name: str) -> None:
    link = ROOT / "garbagetruck" / name
    assert link.is_symlink(), f"{link} is not a symbolic link: does this checkout have core.symlinks off?"
    assert str(link.readlink()) == LINKS[name], "the target must be relative, or the link breaks in another checkout"
    assert (link / "__init__.py").is_file()


def test_the_links_are_committed_as_links() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--stage", "garbagetruck"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    links = {line.split("\t")[1] for line in listed.splitlines() if line.startswith("120000 ")}
    assert links == {f"garbagetruck/{name}" for name in LINKS}


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_the_build_names_every_file_of_the_import_package_that_is_not_a_link(target: str) -> None:
    inside = {path for path in committed_paths() if path.is_relative_to("garbagetruck")}
    links = {Path("garbagetruck") / name for name in LINKS}
    named = map(Path, project_table()["tool"]["hatch"]["build"]["targets"][target]["only-include"])
    assert inside - links == {path for path in named if path.is_relative_to("garbagetruck")}


def test_every_folder_of_the_product_is_a_package() -> None:
    folders = {path.parent for path in handwritten_modules() if path.parts[0] in PRODUCT_FOLDERS}
    missing = [str(folder) for folder in sorted(folders) if not (ROOT / folder / "__init__.py").is_file()]
    assert missing == []


def test_importing_the_machine_loads_neither_the_client_nor_grpc() -> None:
    script = (
        "import sys, garbagetruck.cluster.machine, garbagetruck\n"
        "print(sorted({'grpc', 'asyncio', 'garbagetruck.client', 'garbagetruck.v1'} & set(sys.modules)))\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"


def test_the_front_names_what_it_does_not_have() -> None:
    import garbagetruck

    with pytest.raises(AttributeError, match=r"garbagetruck.*no attribute 'conect'"):
        _ = garbagetruck.conect


@pytest.mark.parametrize("name", ["Cleanup", "connect", "connect_sync"])
def test_the_front_resolves_the_clients_names(name: str) -> None:
    import garbagetruck
    import garbagetruck.client

    assert getattr(garbagetruck, name) is getattr(garbagetruck.client, name)
    assert name in dir(garbagetruck)
