"""Switch a guard off in this process, and on again.

Duty: put something else in the place of an attribute, and remember where. Files are never touched.
Must not know: what a guard is for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_ABSENT = object()
PACKAGE = "garbagetruck."


class Patch:
    """What was put in the place of what; `undo` puts all of it back."""

    def __init__(self) -> None:
        self._former: list[tuple[object, str, object]] = []
        self.seams: list[str] = []
        """Where, as dotted names without the package's own."""

    def setattr(self, target: object, name: str, value: object) -> None:
        """Raises AttributeError where `target` has no such attribute: a guard that moved must not be missed in silence."""
        getattr(target, name)
        self._former.append((target, name, vars(target).get(name, _ABSENT)))
        self.seams.append(f"{_name_of(target)}.{name}")
        setattr(target, name, value)

    def undo(self) -> None:
        """The latest first. Idempotent."""
        while self._former:
            target, name, former = self._former.pop()
            if former is _ABSENT:
                delattr(target, name)
            else:
                setattr(target, name, former)


@contextmanager
def patching() -> Iterator[Patch]:
    """A patch that is undone at the end, however that comes."""
    patch = Patch()
    try:
        yield patch
    finally:
        patch.undo()


def _name_of(target: object) -> str:
    if isinstance(target, ModuleType):
        return target.__name__.removeprefix(PACKAGE)
    assert isinstance(target, type), "seams are in modules and classes"
    return f"{target.__module__.removeprefix(PACKAGE)}.{target.__qualname__}"
