"""Rows as a Markdown table, aligned, so that a terminal and docs/measurements.md show the same. Pure."""

from collections.abc import Mapping, Sequence

DECIMALS_BELOW = 1_000
"""Larger numbers are shown without decimals, which nobody could repeat."""


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """The columns that every row has, then one with whatever else a row tells."""
    if not rows:
        return ""
    common = [name for name in rows[0] if all(name in each for each in rows)]
    lines = [[*common, "more"]]
    for each in rows:
        more = ", ".join(f"{name} {_cell(value)}" for name, value in each.items() if name not in common)
        lines.append([*(_cell(each[name]) for name in common), more])
    if not any(line[-1] for line in lines[1:]):
        lines = [line[:-1] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    numeric = [column > 1 and column < len(common) for column in range(len(widths))]
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    return "\n".join(_line(line, widths, numeric) for line in [lines[0], rule, *lines[1:]])


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return " ".join(_cell(each) for each in value)
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= DECIMALS_BELOW else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
