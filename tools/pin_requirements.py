"""Resolve what `pyproject.toml` asks for, and pin all of it in the requirements files.

Usage: python tools/pin_requirements.py

Writes `requirements.txt` (to run, every extra included but `embedded-postgres`, a database server, which is among the
checks' own), `requirements-build.txt` (to install the project itself) and
`requirements-dev.txt` (the checks, on top of both). Each holds exact versions, those of dependencies' dependencies
too, and no address of any index: where packages come from is the installing machine's business. Later files are
resolved under the pins of earlier ones, so that one environment can hold all three.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS_APART = frozenset({"embedded-postgres"})


def wanted() -> dict[str, list[str]]:
    """Requirements files, in the order in which they build on each other, with what each must satisfy."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    extras = [lines for name, lines in project["project"]["optional-dependencies"].items() if name not in EXTRAS_APART]
    groups = project["dependency-groups"]
    return {
        "requirements.txt": [*project["project"]["dependencies"], *(line for extra in extras for line in extra)],
        "requirements-build.txt": groups["build"],
        "requirements-dev.txt": groups["dev"],
    }


def resolve(requirements: list[str], constraints: dict[str, str]) -> dict[str, str]:
    """Versions by package name of everything that pip would install into an empty environment."""
    with tempfile.TemporaryDirectory(prefix="garbagetruck-pins-") as temporary:
        constraint_file = Path(temporary) / "constraints.txt"
        constraint_file.write_text(lines_of(constraints), encoding="utf-8")
        report_file = Path(temporary) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report_file), "--constraint", str(constraint_file), *requirements]
        subprocess.run(command, check=True)
        report = json.loads(report_file.read_text(encoding="utf-8"))
    packages = (entry["metadata"] for entry in report["install"])
    return {package["name"].lower().replace("_", "-"): package["version"] for package in packages}


def lines_of(pins: dict[str, str]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))


def main() -> int:
    known: dict[str, str] = {}
    for file_name, requirements in wanted().items():
        pins = resolve(requirements, known)
        added = {name: version for name, version in pins.items() if name not in known}
        header = "# Written by tools/pin_requirements.py from pyproject.toml: do not edit.\n"
        (ROOT / file_name).write_text(header + lines_of(added), encoding="utf-8")
        known |= pins
    return 0


if __name__ == "__main__":
    sys.exit(main())
