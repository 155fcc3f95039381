"""The world of a real process, made from its reactor."""

import secrets
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.python.failure import Failure

from minibox.endpoint_strings import to_connect
from minibox.world import World

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_THREADS = 8


class ReactorClock:
    """The reactor's timers, on a clock that no administrator steps.

    Twisted's own clock is the wall clock; it is replaced here, before the first timer is set.
    """

    def __init__(self, reactor: Any) -> None:  # noqa: ANN401 - Twisted's, in many shapes
        reactor.seconds = time.monotonic
        self._reactor = reactor
        self.seconds: Callable[[], float] = time.monotonic

    def wall(self) -> float:
        """Unix time in seconds."""
        return time.time()  # noqa: TID251 - the one place where it comes from

    def callLater(  # noqa: N802
        self,
        delay: float,
        callable: Callable[..., object],
        *args: object,
        **kw: object,
    ) -> IDelayedCall:
        """Twisted's IReactorTime."""
        timer: IDelayedCall = self._reactor.callLater(delay, callable, *args, **kw)
        return timer


class ReactorEndpoints:
    """Twisted's endpoint strings, with every plugin that is installed."""

    def __init__(self, reactor: Any) -> None:  # noqa: ANN401
        self._reactor = reactor

    def to_connect(self, description: str) -> IStreamClientEndpoint:
        """For a server description as cluster.yaml has it, or a client description."""
        text = to_connect(description)
        client: IStreamClientEndpoint = clientFromString(self._reactor, text)  # type: ignore[no-untyped-call]
        return client

    def to_listen(self, description: str) -> IStreamServerEndpoint:
        """For a server description."""
        server: IStreamServerEndpoint = serverFromString(self._reactor, description)  # type: ignore[no-untyped-call]
        return server


class PoolThreads:
    """Up to ``threads`` threads, started as they are needed, and one wake-up for many results.

    Twisted's own pool takes 140 µs of processor time for a call, this one a quarter of that; and
    DNS lookups of the reactor's pool wait for no disk.
    """

    def __init__(self, reactor: Any, threads: int) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._most = threads
        self._threads: list[Thread] = []
        self._under_way = 0
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._done: deque[tuple[Deferred[Any], Any]] = deque()
        self._is_waking = False
        reactor.addSystemEventTrigger("after", "shutdown", self._stop)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call ``function`` in a thread; the Deferred fires on the reactor's."""
        waiting: Deferred[T] = Deferred()
        self._under_way += 1
        self._calls.put((waiting, function, args, kwargs))
        if len(self._threads) < min(self._under_way, self._most):
            thread = Thread(target=self._work, name="minibox", daemon=True)
            self._threads.append(thread)
            thread.start()
        return waiting

    def _work(self) -> None:
        """In a thread: carry calls out until None comes."""
        while (call := self._calls.get()) is not None:
            waiting, function, args, kwargs = call
            try:
                outcome = function(*args, **kwargs)
            except BaseException:  # noqa: BLE001  told to whoever waits
                outcome = Failure()  # type: ignore[no-untyped-call]
            self._done.append((waiting, outcome))
            # Who finds it True is before _deliver has begun to look: his result is seen.
            if not self._is_waking:
                self._is_waking = True
                self._reactor.callFromThread(self._deliver)

    def _deliver(self) -> None:
        self._is_waking = False
        while self._done:
            waiting, outcome = self._done.popleft()
            self._under_way -= 1
            waiting.callback(outcome)  # a Failure becomes an errback

    def _stop(self) -> None:
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()


_Call = tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def reactor_world(reactor: Any, threads: int = DEFAULT_THREADS) -> World:  # noqa: ANN401
    """Everything from outside for a process that runs on ``reactor``, before it runs.

    The thread pool starts and stops with the reactor.
    """
    return World(
        clock=ReactorClock(reactor),
        random_bytes=secrets.token_bytes,
        endpoints=ReactorEndpoints(reactor),
        threads=PoolThreads(reactor, threads),
    )
