"""`python -m garbagetruck.chaos.mutants NAME`: one simulated trial, told as one line of JSON. `run` starts these.

`--control NAME...` runs the simulators without any mutant.
"""

import json
import logging
import sys

import structlog

from garbagetruck.chaos.mutants.mutant import BySimulator
from garbagetruck.chaos.mutants.table import MUTANTS
from garbagetruck.chaos.mutants.trial import Fate, Trial, control, simulated_trial

CONTROL = "--control"


def main(arguments: list[str]) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    trial = _control(arguments[1:]) if arguments[0] == CONTROL else _trial(arguments[0])
    sys.stdout.write(json.dumps({"fate": trial.fate.value, "said": trial.said}) + "\n")


def _trial(name: str) -> Trial:
    chosen = MUTANTS[name]
    assert isinstance(chosen.catcher, BySimulator), "tests are run by pytest"
    return simulated_trial(chosen, chosen.catcher)


def _control(names: list[str]) -> Trial:
    catchers = [MUTANTS[name].catcher for name in names]
    violated = control(each for each in catchers if isinstance(each, BySimulator))
    return Trial(Fate.SURVIVED, "") if violated is None else Trial(Fate.UNDECIDED, violated)


if __name__ == "__main__":
    main(sys.argv[1:])
