"""What is wrong with a configuration, told all at once."""

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from garbagetruck.cluster.node.config.tables import HandlerSettings


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct: where, what is wrong, and what would be right. Holds no secret."""

    key: str
    problem: str
    remedy: str = ""
    """Empty when the problem's own words say it."""

    @override
    def __str__(self) -> str:
        return f"{self.key}: {self.problem}{'; ' if self.remedy else ''}{self.remedy}"


class SettingsError(Exception):
    """The configuration cannot be used. `problems` has everything that was found, never only the first.

    `handlers` are those that could be read, so that what is wrong with their own options can be told beside it.
    """

    def __init__(self, problems: tuple[Problem, ...], handlers: Mapping[str, HandlerSettings] | None = None) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
        self.handlers = handlers or {}
