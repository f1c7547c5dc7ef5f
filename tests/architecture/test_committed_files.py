"""What is committed belongs to the project alone: no machine, no index and no person's folder shows in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.checkout import ROOT, committed_paths, committed_texts, project_table

REQUIREMENTS_FILES = ("requirements.txt", "requirements-build.txt", "requirements-dev.txt")

# Written in pieces, so that this file does not find itself.
INDEX_ADDRESS = re.compile(
    "|".join(("--(?:extra-)?index" + "-url", "--find" + "-links", "--trusted" + "-host", "pypi" + r"\.org/simple"))
)
MACHINE_PATH = re.compile(r"(?<![\w.])/" + r"(?:work|root)" + r"(?:/|\b)")


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for path, text in committed_texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_committed_file_names_a_package_index() -> None:
    assert lines_matching(INDEX_ADDRESS) == []


def test_no_committed_file_names_a_folder_of_one_machine() -> None:
    assert lines_matching(MACHINE_PATH) == []
    assert lines_matching(re.compile(re.escape(str(ROOT)) + r"\b")) == []


@pytest.mark.parametrize("name", REQUIREMENTS_FILES)
def test_requirements_are_exact_versions_and_nothing_else(name: str) -> None:
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"#.*|[a-z0-9][a-z0-9.-]*==[0-9][0-9a-z.+]*", line), line


def test_what_the_project_asks_for_is_pinned_at_a_version_that_serves() -> None:
    table = project_table()
    asked = [
        *table["project"]["dependencies"],
        *(line for extra in table["project"]["optional-dependencies"].values() for line in extra),
        *(line for group in table["dependency-groups"].values() for line in group),
    ]
    pins = {}
    for file_name in REQUIREMENTS_FILES:
        for line in (ROOT / file_name).read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                name, version = line.split("==")
                assert name not in pins, f"{name} is pinned twice"
                pins[name] = version
    unserved = [
        line
        for line in asked
        if not Requirement(line).specifier.contains(pins.get(canonicalize_name(Requirement(line).name), "0"))
    ]
    assert unserved == [], "run `make pins`"


def test_every_committed_link_leads_somewhere_inside() -> None:
    links = [path for path in committed_paths() if (ROOT / path).is_symlink()]
    astray = [str(path) for path in links if not (ROOT / path).resolve(strict=True).is_relative_to(ROOT)]
    assert astray == []


def test_generated_code_is_what_its_source_gives() -> None:
    command = [sys.executable, str(Path("tools/generate_proto.py")), "--check"]
    checked = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_the_index_of_decisions_lists_every_record() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in sorted(folder.glob("[0-9]*.md")) if f"]({path.name})" not in index]
    assert missing == []
