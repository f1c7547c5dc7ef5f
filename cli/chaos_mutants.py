"""`garbagetruck chaos mutants`: guards of the product switched off one by one, each of which somebody must notice.

Duty: read the flags, run the control and the mutants, print what became of each and how to repeat it.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from garbagetruck.cli.exits import Exit
from garbagetruck.cli.invocation import examples_text
from garbagetruck.cli.render import note, say
from garbagetruck.cli.termination import interrupted_by_termination

if TYPE_CHECKING:
    from garbagetruck.chaos.mutants.mutant import Mutant
    from garbagetruck.chaos.mutants.run import Judged

SURVIVED = Exit.REFUSED
UNDECIDED = Exit.UNREACHABLE
"""A control that fails, or a mutant that could not be tried, shows nothing."""


class Shape(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command to `chaos`."""
    examples = [
        "garbagetruck chaos mutants --list",
        "garbagetruck chaos mutants --jobs 2",
        "garbagetruck chaos mutants targets-may-overlap any-echo-counts -o json",
    ]
    app.command("mutants", epilog=examples_text(examples))(mutants)


def mutants(
    name: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names from `--list`. Default: all.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say what mutants there are, and run none.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="How many processes run at once.")] = 1,
    output: Annotated[Shape, typer.Option("--output", "-o", help="How to print.")] = Shape.TABLE,
) -> None:
    """Switch the product's guards off, one by one, and see that the simulators or the tests notice.

    Exit code 0: all were caught; 1: one survived; 3: none did, but for some nothing was shown. A control without any
    mutant comes first. Tests are those of the checkout.
    """
    chosen = _chosen(name or ())
    if list_:
        _list(chosen, output)
        return
    try:
        with interrupted_by_termination():
            broken, judged = asyncio.run(_run(chosen, jobs))
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(Exit.INTERRUPTED) from interrupt
    if output is Shape.JSON:
        control = "passed" if broken is None else broken
        say(json.dumps({"control": control, "mutants": [_fields(each) for each in judged]}, ensure_ascii=False))
    else:
        say("\n".join(_lines(broken, judged)))
    raise typer.Exit(_exit_code(broken, judged))


def _chosen(names: Sequence[str]) -> list["Mutant"]:
    from garbagetruck.chaos.mutants.table import MUTANTS

    unknown = [name for name in names if name not in MUTANTS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: not known; `garbagetruck chaos mutants --list` has the names")
    return [MUTANTS[name] for name in names] or [*MUTANTS.values()]


def _list(chosen: Iterable["Mutant"], output: Shape) -> None:
    rows = [
        {
            "mutant": each.name,
            "summary": each.summary,
            "guard": each.guard,
            "breaks": each.breaks,
            "seams": [*each.seams],
            "caught_by": each.catcher.told,
        }
        for each in chosen
    ]
    if output is Shape.JSON:
        say(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        say(f"{row['mutant']}: {row['summary']}")
        say(f"  guard:     {row['guard']}")
        say(f"  breaks:    {row['breaks']}")
        say(f"  applied:   {', '.join(row['seams'])}")
        say(f"  caught by: {row['caught_by']}")


async def _run(chosen: Sequence["Mutant"], jobs: int) -> tuple[str | None, list["Judged"]]:
    from garbagetruck.chaos.mutants.run import Bench

    bench = Bench(jobs)
    note(f"control: what catches {len(chosen)} mutants has to pass without any")
    broken = await bench.control(chosen)
    if broken is not None:
        return broken, []
    return None, await bench.judge(chosen, lambda each: note(_line(each)))


def _line(judged: "Judged") -> str:
    trial = judged.trial
    return f"{judged.mutant.name} {trial.fate.value} in {judged.seconds:.1f} s: {trial.said}"


def _lines(broken: str | None, judged: Sequence["Judged"]) -> list[str]:
    from garbagetruck.chaos.mutants.trial import Fate

    if broken is not None:
        return [f"undecided: without any mutant, {broken}"]
    counts = {fate: sum(each.trial.fate is fate for each in judged) for fate in Fate}
    lines = [", ".join(f"{count} {fate.value}" for fate, count in counts.items() if count)]
    for each in judged:
        if each.trial.fate is not Fate.CAUGHT:
            lines += [f"{each.trial.fate.value.upper()} {each.mutant.name} ({each.mutant.guard}): {each.trial.said}"]
            lines += [f"  repeat it: {each.mutant.repeat}"]
    return lines


def _fields(judged: "Judged") -> Mapping[str, Any]:
    mutant, trial = judged.mutant, judged.trial
    return {
        "mutant": mutant.name,
        "verdict": trial.fate.value,
        "guard": mutant.guard,
        "breaks": mutant.breaks,
        "caught_by": mutant.catcher.told,
        "said": trial.said,
        "seconds": round(judged.seconds, 1),
        "repeat": mutant.repeat,
    }


def _exit_code(broken: str | None, judged: Sequence["Judged"]) -> Exit:
    from garbagetruck.chaos.mutants.trial import Fate

    fates = {each.trial.fate for each in judged}
    if Fate.SURVIVED in fates:
        return SURVIVED
    return UNDECIDED if broken is not None or Fate.UNDECIDED in fates else Exit.DONE
