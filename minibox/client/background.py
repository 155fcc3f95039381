"""A reactor of its own in a thread, so that scripts can wait for what is async."""

from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure as Reason

from minibox.reactor_world import reactor_world
from minibox.world import World

T = TypeVar("T")

STOP_SECONDS = 10.0


class Background:
    """A private reactor in a daemon thread; the program's own reactor, if any, is not touched."""

    def __init__(self) -> None:
        self._reactor: Any = _new_reactor()
        self.world: World = reactor_world(self._reactor)
        self._thread = Thread(target=self._run, name="minibox", daemon=True)
        self._thread.start()

    def wait_for(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work`` there and wait here; its result, or what it raised.

        Interrupted by Ctrl-C it cancels the work.
        """
        ended: SimpleQueue[T | Reason] = SimpleQueue()
        running: list[Deferred[T]] = []

        def begin() -> None:
            running.append(Deferred.fromCoroutine(_as_coroutine(work)))
            running[0].addBoth(ended.put)

        def cancel() -> None:
            running[0].cancel()

        self._reactor.callFromThread(begin)
        try:
            result = ended.get()
        except BaseException:
            self._reactor.callFromThread(cancel)
            raise
        if isinstance(result, Reason):
            result.raiseException()
        return result

    def stop(self) -> None:
        """End the thread."""
        if self._thread.is_alive():
            self._reactor.callFromThread(self._reactor.stop)
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        self._reactor.run(installSignalHandlers=False)


async def _as_coroutine(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _new_reactor() -> ReactorBase:
    """The best reactor of this platform, not installed."""
    try:
        from twisted.internet.epollreactor import EPollReactor  # noqa: PLC0415 - Linux only
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor  # noqa: PLC0415

        return SelectReactor()
    made: ReactorBase = EPollReactor()  # type: ignore[no-untyped-call]
    made._registerAsIOThread = False  # noqa: SLF001 - the program's own reactor may be there
    return made
