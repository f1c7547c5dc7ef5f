"""The record of a digest that nodes compare. What is made of it: `digests`."""

from garbagetruck.cluster.machine.model import Record


class DigestNote(Record, frozen=True):
    """What the state's digest was right behind an entry, as a leader noted it and as others reported it."""

    index: int
    digest: int
    noted_by: str
    reports: tuple[tuple[str, int], ...] = ()
    """(node, its own digest), by rising node; empty as long as nobody differs."""

    @property
    def differs(self) -> bool:
        return any(digest != self.digest for _, digest in self.reports)
