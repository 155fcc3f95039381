"""What the coordinator is to be told without having asked: gathered, sent, and sent again.

Nothing depends on a report: a late receipt that never arrives leaves a debt that is repaired, a bad
copy is found again at the next start or scrub. So the queue is bounded, and old news is dropped.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from minibox.codec import Record
from minibox.errors import Failure
from minibox.node.peers import Caller
from minibox.node_api import Nothing
from minibox.world import Clock, sleep

GATHER_SECONDS = 0.05
AGAIN_SECONDS = 1.0
CALL_SECONDS = 5.0
MAX_PER_CALL = 1000
MAX_WAITING = 20_000

T = TypeVar("T")

_log = Logger()


class Reports(Generic[T]):
    """Tells the coordinator, in batches, until it has answered or the news is too old.

    News that waits already is not taken twice.
    """

    def __init__(
        self,
        clock: Clock,
        coordinator: Caller,
        method: str,
        message: Callable[[Sequence[T]], Record],
        max_age_seconds: float,
    ) -> None:
        self._clock = clock
        self._coordinator = coordinator
        self._method = method
        self._message = message
        self._max_age_seconds = max_age_seconds
        self._waiting: dict[T, float] = {}
        self._sending: Deferred[None] | None = None
        self._is_stopped = False

    @property
    def waiting(self) -> int:
        """How much has not been heard yet."""
        return len(self._waiting)

    def add(self, news: Iterable[T]) -> None:
        """Tell these soon."""
        now = self._clock.seconds()
        for each in news:
            self._waiting.setdefault(each, now)
        while len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        if self._sending is None and self._waiting and not self._is_stopped:
            self._sending = Deferred.fromCoroutine(self._send_all())
            self._sending.addErrback(_log_bug)

    async def stop(self) -> None:
        """Tell nothing more."""
        self._is_stopped = True
        if self._sending is not None:
            self._sending.cancel()

    async def _send_all(self) -> None:
        pause_seconds = GATHER_SECONDS
        try:
            while self._waiting:
                await sleep(self._clock, pause_seconds)
                pause_seconds = GATHER_SECONDS if await self._send_some() else AGAIN_SECONDS
        finally:
            self._sending = None

    async def _send_some(self) -> bool:
        oldest = self._clock.seconds() - self._max_age_seconds
        self._waiting = {each: since for each, since in self._waiting.items() if since >= oldest}
        batch = list(islice(self._waiting, MAX_PER_CALL))
        if not batch:
            return True
        try:
            await self._coordinator.call(
                self._method, self._message(batch), Nothing, deadline=CALL_SECONDS
            )
        except Failure as problem:
            _log.info("{method} not heard: {problem}", method=self._method, problem=problem)
            return False
        for each in batch:
            self._waiting.pop(each, None)
        return True


def _log_bug(failure: TwistedFailure) -> None:
    if not isinstance(failure.value, CancelledError):
        _log.failure("Reporting failed", failure)
