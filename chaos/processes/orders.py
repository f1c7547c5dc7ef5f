"""Orders to a chaos child, and what it tells of their effects: two files, so that each side needs nothing of the other.

Duty: one line that orders a fault, and beside it a line for each effect, as the proof. No file, no fault.
Invariants: whoever reads an order reads a whole one; effects of earlier orders are not taken for those of this one.
Must not know: what an order means. Threads: any; the file system keeps them apart.
"""

from pathlib import Path


class Orders:
    """Both ends of the files at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bites = bites_beside(path)

    # -- who gives them -----------------------------------------------------------------------------------------

    def give(self, order: str) -> None:
        """In one step: the node reads it all the time."""
        self._bites.unlink(missing_ok=True)
        unfinished = self._path.with_name(self._path.name + ".new")
        unfinished.write_text(order, encoding="utf-8")
        unfinished.replace(self._path)

    def take_back(self) -> list[str]:
        """End the fault; answers its effects, one line each."""
        self._path.unlink(missing_ok=True)
        return self.effects()

    def effects(self) -> list[str]:
        """Those of the last order so far."""
        return self._bites.read_text(encoding="utf-8").splitlines() if self._bites.exists() else []

    # -- who follows them ---------------------------------------------------------------------------------------

    def words(self) -> list[str]:
        """The order of this moment, in words; none without one."""
        try:
            return self._path.read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []

    def bit(self, what: str) -> None:
        """Tell of an effect."""
        with self._bites.open("a", encoding="utf-8") as stream:
            stream.write(what + "\n")


def bites_beside(orders: Path) -> Path:
    """Where the effects of orders are put down."""
    return orders.with_name(orders.name + ".bites")
