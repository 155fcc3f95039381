"""What the cluster has promised its clients: every acknowledged change, and what is in doubt.

A content of one version of one file never changes, so whatever is seen of it, in an answer, in a
download or in the store, has to agree with all that was seen of it before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from minibox.coordinator.journal import Verb


class Broken(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail


VersionKey = tuple[str, int]
"""A file's public id and a version's number."""


@dataclass(frozen=True)
class Fact:
    """An acknowledged change: what its journal must say, and between which moments it was made.

    ``head`` is the version that it made, 0 if none; ``name`` the name that it gave, if that counts.
    """

    user: str
    verb: Verb
    entry: str
    began: float
    answered: float
    head: int = 0
    name: str = ""


@dataclass
class Promises:
    """All that clients know. SHA-256 of contents stand for them."""

    contents: dict[VersionKey, bytes] = field(default_factory=dict)
    acknowledged: dict[VersionKey, float] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    purge_asked: dict[str, None] = field(default_factory=dict)
    refused: dict[bytes, str] = field(default_factory=dict)
    in_doubt: dict[bytes, None] = field(default_factory=dict)
    sent_once: dict[bytes, None] = field(default_factory=dict)
    spread: dict[bytes, None] = field(default_factory=dict)
    _commits: dict[VersionKey, str] = field(default_factory=dict)

    def saw(self, entry: str, number: int, sha256: bytes) -> None:
        """A version has this content, as somebody was told."""
        known = self.contents.setdefault((entry, number), sha256)
        if known != sha256:
            raise Broken("D5", f"{entry}.{number} was {known.hex()[:12]}, is {sha256.hex()[:12]}")

    def acknowledge(
        self, fact: Fact, sha256: bytes | None = None, *, key: str, base: str | None = None
    ) -> None:
        """A change was acknowledged. ``key`` tells one deed from another, ``base`` was its ETag."""
        self.facts.append(fact)
        if sha256 is None:
            return
        version = (fact.entry, fact.head)
        self.saw(*version, sha256)
        other = self._commits.setdefault(version, key)
        if other != key:
            raise Broken("M1", f"{fact.entry}.{fact.head} was acknowledged to two commits")
        if base is not None and base != f"{fact.entry}.{fact.head - 1}":
            raise Broken("M1", f"a commit over {base} became {fact.entry}.{fact.head}")
        self.acknowledged.setdefault(version, fact.answered)

    def head_at_least(self, entry: str, began: float) -> int:
        """The latest version of a file that was acknowledged before ``began``."""
        return max(
            (
                number
                for (file, number), answered in self.acknowledged.items()
                if file == entry and answered < began
            ),
            default=0,
        )

    def doubt(self, sha256: Iterable[bytes]) -> None:
        """Nobody knows whether these were committed."""
        self.in_doubt.update(dict.fromkeys(sha256))
