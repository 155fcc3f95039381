"""Several pieces of work under way at once, no more than a few, until the first failure."""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.python.failure import Failure as Reason


class Pipeline:
    """``width`` coroutines at a time. The first failure is raised to whoever adds or finishes."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._places = DeferredSemaphore(width)
        self._running: list[Deferred[object]] = []
        self._problem: BaseException | None = None

    async def add(self, work: Coroutine[Any, Any, object]) -> None:
        """Begin ``work`` as soon as there is a place for it."""
        try:
            await self._places.acquire()
        except BaseException:
            work.close()
            raise
        if self._problem is not None:
            self._places.release()
            work.close()
            raise self._problem
        running: Deferred[object] = Deferred.fromCoroutine(work)
        self._running = [each for each in self._running if not each.called]
        self._running.append(running)
        running.addBoth(self._ended)

    async def finish(self) -> None:
        """All that was added has ended well."""
        for _ in range(self._width):
            await self._places.acquire()
        for _ in range(self._width):
            self._places.release()
        if self._problem is not None:
            raise self._problem

    def abort(self) -> None:
        """Stop what is under way."""
        for running in self._running:
            running.cancel()

    def _ended(self, result: object) -> None:
        if isinstance(result, Reason) and self._problem is None:
            self._problem = result.value
        self._places.release()
