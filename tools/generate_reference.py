"""Write docs/configuration.md from the settings, or with --check say whether it is fresh."""

import sys
from pathlib import Path

from garbagetruck.cluster.node.config.reference import render_reference

TARGET = Path(__file__).parent.parent / "docs" / "configuration.md"


def main(arguments: list[str]) -> int:
    """0 when written or fresh, 1 when stale."""
    text = render_reference()
    if arguments == ["--check"]:
        return 0 if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
