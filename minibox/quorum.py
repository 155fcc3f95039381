"""The first k of n answers, the rest go on and are told of; or the first of several in turn."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure as TwistedFailure

from minibox.world import Clock

T = TypeVar("T")


class QuorumImpossible(Exception):
    """Too many attempts failed. What has happened so far, by the attempt's position."""

    def __init__(
        self, needed: int, successes: dict[int, Any], failures: dict[int, Exception]
    ) -> None:
        reasons = "; ".join(f"{at}: {failures[at]}" for at in sorted(failures))
        super().__init__(f"{needed} successes are out of reach ({reasons})")
        self.needed = needed
        self.successes = successes
        self.failures = failures


def _unheard(_position: int, _outcome: object) -> None:
    return


async def first_of(
    needed: int,
    attempts: Sequence[Awaitable[T]],
    late: Callable[[int, T | Exception], None] = _unheard,
) -> dict[int, T]:
    """Run all ``attempts`` at once; at least ``needed`` results by position, as soon as they are.

    Raises QuorumImpossible as soon as too few can still succeed. Whether it returns, raises or is
    cancelled, attempts that still run are never cancelled: each outcome that comes afterwards, a
    result or an exception, goes to ``late`` with its position.
    """
    race: _Race[T] = _Race(needed, len(attempts), late)
    for position, attempt in enumerate(attempts):
        running: Deferred[Any] = (
            attempt
            if isinstance(attempt, Deferred)
            else Deferred.fromCoroutine(cast("Coroutine[Deferred[Any], Any, T]", attempt))
        )
        running.addCallbacks(
            race.won,
            race.lost,
            callbackArgs=(position,),
            errbackArgs=(position,),
        )
    race.decide()
    return await race.decided


class _Race(Generic[T]):
    def __init__(
        self, needed: int, attempts: int, late: Callable[[int, T | Exception], None]
    ) -> None:
        self.decided: Deferred[dict[int, T]] = Deferred(lambda _: self._leave())
        self._needed = needed
        self._attempts = attempts
        self._late = late
        self._started = False
        self._over = False
        self._successes: dict[int, T] = {}
        self._failures: dict[int, Exception] = {}

    def won(self, result: T, position: int) -> None:
        if self._over:
            self._late(position, result)
            return
        self._successes[position] = result
        self._decide_if_started()

    def lost(self, failure: TwistedFailure, position: int) -> None:
        problem = failure.value
        if not isinstance(problem, Exception):
            failure.raiseException()
        elif self._over:
            self._late(position, problem)
        else:
            self._failures[position] = problem
            self._decide_if_started()

    def decide(self) -> None:
        """All attempts have begun: what is known already may be enough."""
        self._started = True
        self._decide_if_started()

    def _decide_if_started(self) -> None:
        if not self._started or self._over:
            return
        if len(self._successes) >= self._needed:
            self._over = True
            self.decided.callback(dict(self._successes))
        elif self._attempts - len(self._failures) < self._needed:
            self._over = True
            self.decided.errback(
                QuorumImpossible(self._needed, dict(self._successes), dict(self._failures))
            )

    def _leave(self) -> None:
        """The caller has gone; what was already there is told as well, or nobody would know."""
        self._over = True
        for position in sorted(self._successes.keys() | self._failures.keys()):
            if position in self._successes:
                self._late(position, self._successes[position])
            else:
                self._late(position, self._failures[position])


class AllRefused(Exception):
    """No attempt succeeded; what became of each, in their order of failing."""

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__("; ".join(map(str, failures)))
        self.failures = failures


async def first_in_turn(
    clock: Clock,
    attempts: Iterable[Callable[[], Coroutine[Any, Any, T]]],
    patience_seconds: float,
    passing: tuple[type[Exception], ...],
) -> T:
    """The first success. The next attempt begins when one fails, or is silent for so long.

    Failures of the ``passing`` classes lead on to the next attempt, another one raises at once;
    AllRefused when none is left. What still runs in the end is cancelled.
    """
    turns = _Turns(clock, iter(attempts), patience_seconds, passing)
    turns.begin_next()
    return await turns.decided


class _Turns(Generic[T]):
    def __init__(
        self,
        clock: Clock,
        attempts: Iterator[Callable[[], Coroutine[Any, Any, T]]],
        patience_seconds: float,
        passing: tuple[type[Exception], ...],
    ) -> None:
        self.decided: Deferred[T] = Deferred(lambda _: self._stop())
        self._clock = clock
        self._attempts = attempts
        self._patience_seconds = patience_seconds
        self._passing = passing
        self._running: list[Deferred[None]] = []
        self._open = 0
        self._is_over = False
        self._failures: list[Exception] = []
        self._timer: IDelayedCall | None = None

    def begin_next(self) -> None:
        """Begin an attempt if one is left; if none is and none runs, all is over."""
        self._drop_timer()
        attempt = next(self._attempts, None)
        if attempt is None:
            if not self._open and not self._is_over:
                self._is_over = True
                self.decided.errback(AllRefused(self._failures))
            return
        self._open += 1
        running = Deferred.fromCoroutine(attempt()).addCallbacks(self._won, self._lost)
        self._running.append(running)
        if not self._is_over and not running.called:
            self._timer = self._clock.callLater(self._patience_seconds, self.begin_next)

    def _won(self, result: T) -> None:
        self._open -= 1
        if not self._is_over:
            self._stop()
            self.decided.callback(result)

    def _lost(self, reason: TwistedFailure) -> None:
        self._open -= 1
        if self._is_over:
            return
        if isinstance(reason.value, self._passing):
            self._failures.append(reason.value)
            self.begin_next()
        else:
            self._stop()
            self.decided.errback(reason)

    def _stop(self) -> None:
        self._is_over = True
        self._drop_timer()
        self._attempts = iter(())
        running, self._running = self._running, []
        for each in running:
            if not each.called:
                each.cancel()

    def _drop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
