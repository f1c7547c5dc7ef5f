"""The checkout under test: where it is, what is committed in it, and which of that people wrote.

It must not know: what the tests beside it demand.
"""

import ast
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PRODUCT_FOLDERS = ("cluster", "storage", "cli", "client", "chaos")
"""Top-level folders that are imported as `garbagetruck.<folder>`."""

SOURCE_FOLDERS = (*PRODUCT_FOLDERS, "docs", "garbagetruck", "examples", "proto", "tests", "tools")


@cache
def committed_paths() -> tuple[Path, ...]:
    """Every file and link of the index that is still in the work tree, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = (Path(name) for name in listed.split("\0") if name)
    return tuple(path for path in paths if (ROOT / path).is_symlink() or (ROOT / path).is_file())


def committed_texts() -> list[tuple[Path, str]]:
    """Path and content of every committed file that is text."""
    texts = []
    for path in committed_paths():
        if (ROOT / path).is_symlink():
            continue
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            texts.append((path, content.decode("utf-8")))
    return texts


def is_generated(path: Path) -> bool:
    return "_pb2" in path.stem


def handwritten_modules() -> list[Path]:
    """Python files that people wrote, relative to the root; each once, under its real folder."""
    found = []
    for folder in SOURCE_FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            relative = path.relative_to(ROOT)
            through_link = any((ROOT / parent).is_symlink() for parent in relative.parents)
            if not through_link and not is_generated(relative):
                found.append(relative)
    return sorted(found)


@cache
def syntax_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


@cache
def project_table() -> dict[str, Any]:
    """`pyproject.toml`, decoded."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)
