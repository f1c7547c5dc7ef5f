"""Which life of a cluster an answer comes from.

Duty: read it from an answer or a refusal, say which of two lives came later, and remember the latest that has answered.
A cluster whose disks are lost is restored as its next life, under a higher incarnation: what it does not know, an
earlier one may have acknowledged.

Invariant: lives of different clusters, and one that is not told, come neither before nor after another.
It must not know: what becomes of sessions and leases.
"""

from dataclasses import dataclass

from garbagetruck.client.errors import GarbageTruckError


@dataclass(frozen=True, slots=True)
class Life:
    """One incarnation of one cluster."""

    cluster_id: str
    incarnation: int
    """From 1; each restore begins a higher one. 0: it was not told."""

    def follows(self, earlier: "Life") -> bool:
        """Whether this is a later life of the very same cluster."""
        return (
            bool(self.cluster_id)
            and self.cluster_id == earlier.cluster_id
            and 0 < earlier.incarnation < self.incarnation
        )


NOT_TOLD = Life("", 0)


def life_of_answer(message: object) -> Life:
    """Of a response of the API."""
    header = getattr(message, "header", None)
    return NOT_TOLD if header is None else Life(header.cluster_id, header.incarnation)


def life_of_refusal(error: GarbageTruckError) -> Life:
    """Of a refusal that tells it: that a lease or a session is not known, or over."""
    incarnation = error.metadata.get("incarnation", "")
    if not (incarnation.isascii() and incarnation.isdigit()):
        return NOT_TOLD
    return Life(error.metadata.get("cluster_id", ""), int(incarnation))


class LatestLife:
    """The latest that has answered a connection. An earlier one is not to be believed: it was given up by an operator."""

    def __init__(self) -> None:
        self._life = NOT_TOLD

    def precludes(self, life: Life) -> bool:
        """Whether a later one has answered before. Otherwise takes note of it."""
        if self._life.follows(life):
            return True
        if self._life is NOT_TOLD or life.follows(self._life):
            self._life = life if life.incarnation else NOT_TOLD
        return False
