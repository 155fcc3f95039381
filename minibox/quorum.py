"""The first k of n answers; the rest go on and are told of."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure as TwistedFailure

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
