"""What a run showed.

Must not know: what was run.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    PASSED = "passed"
    VIOLATED = "violated"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Result:
    """What a run showed. `history` is the same for the same seed, byte for byte."""

    seed: int
    verdict: Verdict
    violations: tuple[str, ...]
    history: tuple[str, ...]
    summary: str

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.history).encode()).hexdigest()[:16]
