"""The documents made from the settings: complete, fresh, and the example loads."""

from dataclasses import MISSING
from pathlib import Path

from garbagetruck.cluster.node.config.loading import leaves, load_settings
from garbagetruck.cluster.node.config.reference import render_example, render_reference

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_example_loads_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(render_example())
    assert load_settings(file, {}).settings.handlers["file"].revealed() == {"roots": ["/srv/files"]}


def test_every_default_of_the_example_is_the_default_and_is_within_its_bounds(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(render_example())
    commented = tmp_path / "commented.toml"
    lines = render_example().splitlines()
    commented.write_text(
        "\n".join(
            line.removeprefix("# ")
            if line.startswith("# ") and " = " in line and not line.endswith(('HOST:PORT"', 'FILE"'))
            else line
            for line in lines
        )
    )
    assert load_settings(commented, {}).settings == load_settings(file, {}).settings


def test_every_setting_has_a_meaning_and_its_own_variable() -> None:
    every = leaves()
    assert len({leaf.variable for leaf in every}) == len(every)
    assert all(leaf.kind.meaning for leaf in every)
    assert all(leaf.kind.example for leaf in every if leaf.default is MISSING and leaf.key != "cluster.members")


def test_the_page_about_configuration_is_what_the_settings_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render_reference(), "run: python tools/generate_reference.py"
