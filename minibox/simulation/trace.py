"""What happened in a simulation, in order: the same seed gives the same trace in any process."""

import hashlib

from minibox.world import Clock


class Trace:
    """Events with their virtual times. Packets count in the digest and are not kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._digest = hashlib.sha256()
        self._clock: Clock | None = None

    def begin(self, clock: Clock) -> None:
        """Times are this clock's from now on."""
        self._clock = clock

    def event(self, actor: str, verb: str, *words: object) -> None:
        """Note what ``actor`` did or was told."""
        now = self._clock.seconds() if self._clock is not None else 0.0
        line = f"{now:10.4f} {actor:<12} {verb} {' '.join(map(str, words))}".rstrip()
        self.lines.append(line)
        self._digest.update(line.encode())

    def packet(self, *words: object) -> None:
        """What the network did."""
        self._digest.update(repr(words).encode())

    @property
    def digest(self) -> str:
        """One word for all of it."""
        return self._digest.hexdigest()
