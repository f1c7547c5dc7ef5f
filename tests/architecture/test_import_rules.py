"""What may be imported where. The contracts of `pyproject.toml` forbid; here is what they cannot express."""

import ast
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.checkout import PRODUCT_FOLDERS, ROOT, handwritten_modules, project_table, syntax_of

MACHINE_MAY_IMPORT = frozenset(
    {
        # Pure parts of the standard library: no clock, no randomness, no I/O, no threads.
        "abc",
        "array",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "math",
        "operator",
        "re",
        "string",
        "struct",
        "types",
        "typing",
        "typing_extensions",
        "zlib",
        # The codec and the digest: functions of their arguments.
        "msgspec",
        "xxhash",
        # Ourselves.
        "garbagetruck",
    }
)


@cache
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph("garbagetruck", include_external_packages=True, cache_dir=None)


def imported_names(path: Path) -> set[str]:
    """Top-level names that a file imports, wherever in the file it does."""
    names = set()
    for node in ast.walk(syntax_of(path)):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name.split(".")[0] for alias in aliases}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module.split(".")[0])
            case _:
                pass
    return names


def test_the_import_contracts_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None) == 0


def test_the_machine_imports_nothing_that_is_not_pure() -> None:
    impure = {
        str(path): sorted(imported_names(path) - MACHINE_MAY_IMPORT)
        for path in handwritten_modules()
        if path.is_relative_to("cluster/machine") and imported_names(path) - MACHINE_MAY_IMPORT
    }
    assert impure == {}


def test_the_machine_imports_nothing_of_ours_but_itself() -> None:
    graph = import_graph()
    inside = {"garbagetruck.cluster.machine", *graph.find_descendants("garbagetruck.cluster.machine")}
    outside = {
        (importer, imported)
        for importer in inside
        for imported in graph.find_modules_directly_imported_by(importer)
        if imported.split(".")[0] == "garbagetruck" and imported not in inside | {"garbagetruck.cluster"}
    }
    assert outside == set()


def test_nothing_is_imported_without_its_prefix() -> None:
    banned = {*PRODUCT_FOLDERS, "proto"}
    found = {str(path): sorted(imported_names(path) & banned) for path in handwritten_modules()}
    assert {path: names for path, names in found.items() if names} == {}


def test_every_imported_package_is_declared() -> None:
    project = project_table()["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    providers = packages_distributions()
    undeclared = {}
    for path in handwritten_modules():
        if path.parts[0] not in PRODUCT_FOLDERS:
            continue
        foreign = imported_names(path) - sys.stdlib_module_names - {"garbagetruck"}
        for name in foreign:
            if not declared & {canonicalize_name(provider) for provider in providers.get(name, [])}:
                undeclared[f"{path}: {name}"] = providers.get(name)
    assert undeclared == {}
