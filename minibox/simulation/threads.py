"""Threads that are none: work is done on the virtual clock, after a while."""

from collections.abc import Callable
from random import Random
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred

from minibox.world import Clock

P = ParamSpec("P")
T = TypeVar("T")

SHORTEST_SECONDS = 0.000_05
LONGEST_SECONDS = 0.002


class SimulatedThreads:
    """Satisfies :class:`minibox.world.Threads`. Two jobs may end in either order, as in threads."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call ``function`` after a seeded latency. Cancelling drops the result, not the work."""
        done: Deferred[T] = Deferred()

        def work() -> None:
            try:
                result = function(*args, **kwargs)
            except Exception:  # noqa: BLE001 - whatever it is belongs to the Deferred
                done.errback()
            else:
                done.callback(result)

        self._clock.callLater(self._random.uniform(SHORTEST_SECONDS, LONGEST_SECONDS), work)
        return done
