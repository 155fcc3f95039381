"""One virtual clock for a whole cluster: time passes only when something is due.

Events happen in the order of (time, order of asking), so a seeded run has one trace.
"""

import heapq
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure as TwistedFailure
from zope.interface import implementer

T = TypeVar("T")

START_WALL_SECONDS = 1_700_000_000.0


class NothingHappens(Exception):
    """The awaited never fires: no event is left."""


class TooLong(Exception):
    """The awaited didn't fire within the limit of virtual time."""


@implementer(IDelayedCall)
class Timer:
    """One event to come."""

    __slots__ = ("_clock", "_due", "args", "cancelled", "function", "kw", "order")

    def __init__(
        self,
        clock: "VirtualClock",
        due: float,
        function: Callable[..., object],
        args: tuple[object, ...],
        kw: dict[str, object],
    ) -> None:
        self._clock = clock
        self._due = due
        self.order = 0
        self.function: Callable[..., object] | None = function
        self.args = args
        self.kw = kw
        self.cancelled = False

    def getTime(self) -> float:  # noqa: N802
        """When it is due, in the clock's seconds."""
        return self._due

    def active(self) -> bool:
        """Neither called nor cancelled yet."""
        return self.function is not None and not self.cancelled

    def cancel(self) -> None:
        """It won't happen. Raises AlreadyCalled, AlreadyCancelled."""
        self._check()
        self.cancelled = True
        self.function, self.args, self.kw = None, (), {}

    def reset(self, secondsFromNow: float) -> None:  # noqa: N803
        """Due so long from now."""
        self._check()
        self._move(self._clock.seconds() + secondsFromNow)

    def delay(self, secondsLater: float) -> None:  # noqa: N803
        """Due so much later."""
        self._check()
        self._move(self._due + secondsLater)

    def _move(self, due: float) -> None:
        self._due = due
        self._clock.queue(self)

    def _check(self) -> None:
        if self.cancelled:
            raise AlreadyCancelled
        if self.function is None:
            raise AlreadyCalled


@implementer(IReactorTime)
class VirtualClock:
    """Satisfies :class:`minibox.world.Clock`. The wall may be stepped, ``seconds`` may not."""

    def __init__(self) -> None:
        self._now = 0.0
        self._wall_offset = START_WALL_SECONDS
        self._heap: list[tuple[float, int, Timer]] = []
        self._orders = 0
        self.events = 0

    def seconds(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now

    def wall(self) -> float:
        """Unix time, as this world believes it to be."""
        return self._now + self._wall_offset

    def step_wall(self, seconds: float) -> None:
        """An administrator sets the clock."""
        self._wall_offset += seconds

    def callLater(  # noqa: N802
        self,
        delay: float,
        callable: Callable[..., object],
        *args: object,
        **kw: object,
    ) -> Timer:
        """Twisted's IReactorTime."""
        if delay < 0:
            raise ValueError("a delay can't be negative")
        timer = Timer(self, self._now + delay, callable, args, kw)
        self.queue(timer)
        return timer

    def getDelayedCalls(self) -> list[IDelayedCall]:  # noqa: N802
        """Events to come, in their order."""
        entries = [entry for entry in sorted(self._heap) if self._holds(entry)]
        return [timer for _, _, timer in entries]

    def queue(self, timer: Timer) -> None:
        """Enter a timer by its due time, also again; an entry that it had before is void."""
        self._orders += 1
        timer.order = self._orders
        heapq.heappush(self._heap, (timer.getTime(), self._orders, timer))

    def step(self) -> bool:
        """Let the next event happen; False if there is none. What it raises comes out here."""
        while self._heap:
            entry = heapq.heappop(self._heap)
            if not self._holds(entry):
                continue
            due, _, timer = entry
            self._now = max(self._now, due)
            function, args, kw = timer.function, timer.args, timer.kw
            timer.function, timer.args, timer.kw = None, (), {}
            self.events += 1
            if function is not None:
                function(*args, **kw)
            return True
        return False

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass with all that is due in them."""
        until = self._now + seconds
        while (due := self.next_due()) is not None and due <= until:
            self.step()
        self._now = max(self._now, until)

    def next_due(self) -> float | None:
        """When the next event happens."""
        while self._heap and not self._holds(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run(self, awaitable: Awaitable[T], limit_seconds: float = 3600.0) -> T:
        """Let time pass until ``awaitable`` is done; its result, or what it raised.

        Raises NothingHappens when no event is left, and TooLong after ``limit_seconds``.
        """
        outcome: list[T | TwistedFailure] = []
        running: Deferred[T] = (
            awaitable
            if isinstance(awaitable, Deferred)
            else Deferred.fromCoroutine(cast("Coroutine[Deferred[Any], Any, T]", awaitable))
        )
        running.addBoth(outcome.append)
        until = self._now + limit_seconds
        while not outcome:
            due = self.next_due()
            if due is None:
                raise NothingHappens
            if due > until:
                raise TooLong(f"not done after {limit_seconds:g} s")
            self.step()
        result = outcome[0]
        if isinstance(result, TwistedFailure):
            result.raiseException()
        return result

    @staticmethod
    def _holds(entry: tuple[float, int, Timer]) -> bool:
        return entry[2].order == entry[1] and entry[2].function is not None


@implementer(IReactorTime)
class ProcessClock:
    """The clock as one process has it: with its own wall, and no more events after its death."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._wall_step = 0.0
        self._dead = False

    def kill(self) -> None:
        """Nothing that this process has set will happen."""
        self._dead = True

    def seconds(self) -> float:
        """Virtual seconds since the beginning of the world."""
        return self._clock.seconds()

    def wall(self) -> float:
        """Unix time on this machine."""
        return self._clock.wall() + self._wall_step

    def step_wall(self, seconds: float) -> None:
        """An administrator sets this machine's clock."""
        self._wall_step += seconds

    def callLater(  # noqa: N802
        self,
        delay: float,
        callable: Callable[..., object],
        *args: object,
        **kw: object,
    ) -> IDelayedCall:
        """Twisted's IReactorTime."""
        return self._clock.callLater(delay, self._happen, callable, args, kw)

    def getDelayedCalls(self) -> list[IDelayedCall]:  # noqa: N802
        """Events to come, of the whole world."""
        return self._clock.getDelayedCalls()

    def _happen(
        self, function: Callable[..., object], args: tuple[object, ...], kw: dict[str, object]
    ) -> None:
        if not self._dead:
            function(*args, **kw)
