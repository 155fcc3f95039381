"""A deadline that is moved with every request, on one lazy timer.

Moving it costs a comparison: the timer is left to fire at the earlier time and looks again then.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall

from minibox.world import Clock


class Deadline:
    """Calls ``on_passed`` once the time set last has passed, unless it was cleared or moved."""

    def __init__(self, clock: Clock, on_passed: Callable[[], None]) -> None:
        self._clock = clock
        self._on_passed = on_passed
        self._moment: float | None = None
        self._timer: IDelayedCall | None = None

    def set(self, seconds: float) -> None:
        """Move it to so many seconds from now."""
        self._moment = self._clock.seconds() + seconds
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._look)
        elif self._timer.getTime() > self._moment:
            self._timer.reset(seconds)

    def clear(self) -> None:
        """Nothing is expected for now."""
        self._moment = None

    def stop(self) -> None:
        """Nothing is expected any more; no timer is left behind."""
        self._moment = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._moment is None:
            return
        left = self._moment - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._look)
        else:
            self._moment = None
            self._on_passed()
