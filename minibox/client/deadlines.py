"""Two deadlines on one clock: for the whole of something, and for silence in the middle of it."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall

from minibox.world import Clock


class Watch:
    """Calls ``expired`` once: after ``silence_seconds`` without progress, or ``total_seconds``.

    One timer serves both, however often progress is made: it looks at the clock when it fires.
    """

    def __init__(
        self,
        clock: Clock,
        expired: Callable[[], None],
        silence_seconds: float,
        total_seconds: float | None = None,
    ) -> None:
        self._clock = clock
        self._expired = expired
        self._silence_seconds = silence_seconds
        self._heard = clock.seconds()
        self._end = None if total_seconds is None else self._heard + total_seconds
        self._timer: IDelayedCall | None = None
        self.has_expired = False
        self._wait()

    def progressed(self) -> None:
        """Something was sent or received."""
        self._heard = self._clock.seconds()

    def stop(self) -> None:
        """It will not expire any more."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _wait(self) -> None:
        due = self._heard + self._silence_seconds
        if self._end is not None:
            due = min(due, self._end)
        left = due - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._wait)
        else:
            self._timer = None
            self.has_expired = True
            self._expired()
