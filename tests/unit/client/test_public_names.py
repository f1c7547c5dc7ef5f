"""What a user needs is a name of `garbagetruck`, and importing it imports nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

import garbagetruck

PAGE = Path(__file__).parents[3] / "docs" / "client.md"


@pytest.mark.parametrize("name", garbagetruck.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(garbagetruck, name) is not None


def test_every_error_of_the_pages_table_is_a_public_name() -> None:
    _, _, table = PAGE.read_text(encoding="utf-8").partition("| exception |")
    rows = [line for line in table.split("\n\n")[0].splitlines() if line.startswith("| `")]
    named = {part for row in rows for part in row.split("|")[1].split("`")[1::2]}
    assert len(named) > 8
    assert named <= set(garbagetruck.__all__)


def test_importing_the_package_imports_neither_grpc_nor_the_client() -> None:
    program = "import sys, garbagetruck; sys.exit('grpc' in sys.modules or 'garbagetruck.client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = garbagetruck.nonsense
