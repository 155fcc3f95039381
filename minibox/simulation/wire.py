"""What lies between machines: how late things are, and what is cut."""

from collections.abc import Callable
from random import Random

from minibox.world import Clock

Way = tuple[str, str]
"""From one machine to another."""

SHORTEST_SECONDS = 0.000_1
LONGEST_SECONDS = 0.002

Record = Callable[..., None]


def _unrecorded(*_words: object) -> None:
    return


class Wire:
    """Seeded delays and faults by machine. Within one machine nothing is ever cut."""

    def __init__(
        self,
        clock: Clock,
        random: Random,
        bytes_per_second: float = 0.0,
        record: Record = _unrecorded,
    ) -> None:
        self.clock = clock
        self.random = random
        self.bytes_per_second = bytes_per_second
        self.record = record
        self._cut: set[Way] = set()
        self._late: dict[Way, float] = {}

    def delay(self, way: Way) -> float:
        """Seconds that the next packet takes."""
        usual = self.random.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
        return usual + self._late.get(way, 0.0)

    def after_delay(self, way: Way, function: Callable[[], object]) -> None:
        """Call ``function`` when a packet that leaves now would arrive."""
        self.clock.callLater(self.delay(way), function)

    def is_cut(self, way: Way) -> bool:
        """Whether packets vanish on this way."""
        return way in self._cut

    def cut(self, way: Way) -> None:
        """Packets vanish on this way."""
        if way[0] != way[1]:
            self._cut.add(way)

    def heal(self, way: Way) -> None:
        """Packets arrive again."""
        self._cut.discard(way)

    def cuts(self) -> list[Way]:
        """All ways that are cut, in a stable order."""
        return sorted(self._cut)

    def slow(self, way: Way, seconds: float) -> None:
        """Each packet on this way takes so much longer; 0 ends it."""
        self._late[way] = seconds
