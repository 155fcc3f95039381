"""The world of a real process, made from its reactor."""

import secrets
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

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
    """A bounded pool of its own, so that DNS lookups of the reactor's pool wait for no disk."""

    def __init__(self, reactor: Any, threads: int) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, "minibox")
        reactor.callWhenRunning(self._pool.start)
        reactor.addSystemEventTrigger("after", "shutdown", self._stop)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call ``function`` in a thread; the Deferred fires on the reactor's."""
        return deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)

    def _stop(self) -> None:
        if self._pool.started:
            self._pool.stop()


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
