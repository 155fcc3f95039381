"""When a process that ended is started again: a function of how long it had run."""

import msgspec

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""One that ran for so long did not fail at its start."""


class Lapses(msgspec.Struct, frozen=True):
    """How often in a row a process has ended soon after its start."""

    number: int = 0

    def after(self, ran_seconds: float) -> "Lapses":
        """One more end, of a run of so many seconds."""
        return Lapses(1 if ran_seconds >= STEADY_SECONDS else self.number + 1)

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next start."""
        return min(FIRST_PAUSE_SECONDS * 2.0 ** min(self.number - 1, 16), MAX_PAUSE_SECONDS)
