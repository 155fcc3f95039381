"""What a process is made of while it runs.

Parts started in order and stopped in reverse, work that comes back, doors that know their port.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory
from twisted.logger import Logger

from minibox.errors import PortTaken
from minibox.world import Clock, Endpoints, RandomBytes

_log = Logger()


class Service(Protocol):
    """A part of a process."""

    async def start(self) -> None:
        """Returns when it works. What raises has left nothing running."""

    async def stop(self) -> None:
        """Returns when nothing of it runs any more."""


class Services:
    """Parts of a process in the order in which they need each other."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, Service]] = []
        self._started: list[tuple[str, Service]] = []

    def add(self, name: str, service: Service) -> None:
        """``name`` is for the log."""
        self._parts.append((name, service))

    async def start(self) -> None:
        """Start one after the other. If one fails, what had started is stopped before it raises."""
        for name, service in self._parts:
            try:
                await service.start()
            except Exception:
                _log.error("{service} did not start", service=name)
                await self._stop_started()
                raise
            self._started.append((name, service))

    async def stop(self) -> None:
        """Stop one after the other, last started first. All are tried; the first failure raises."""
        failures = await self._stop_started()
        if failures:
            raise failures[0]

    async def _stop_started(self) -> list[Exception]:
        failures: list[Exception] = []
        while self._started:
            name, service = self._started.pop()
            try:
                await service.stop()
            except Exception as failure:  # noqa: BLE001 - the others must be stopped as well
                _log.failure("{service} did not stop cleanly", service=name)
                failures.append(failure)
        return failures


Jitter = Callable[[float], float]
"""Seconds to seconds: what a wait of so long becomes."""


def steady(seconds: float) -> float:
    """No jitter."""
    return seconds


def jittered(random_bytes: RandomBytes, fraction: float) -> Jitter:
    """Waits shorter by up to ``fraction``, never longer, so that many don't come at once."""

    def shorten(seconds: float) -> float:
        share = int.from_bytes(random_bytes(4), "big") / 2**32
        return seconds * (1.0 - fraction * share)

    return shorten


class Periodic:
    """Calls ``function`` each ``interval_seconds``, from start to stop, the first time at once.

    A turn that raises is logged and changes nothing. Turns never overlap: one that takes longer
    than the interval is followed by the next as soon as it ends.
    """

    def __init__(
        self,
        clock: Clock,
        interval_seconds: float,
        function: Callable[[], Awaitable[object]],
        jitter: Jitter = steady,
    ) -> None:
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._function = function
        self._jitter = jitter
        self._timer: IDelayedCall | None = None
        self._turn: Deferred[None] | None = None
        self._wanted = False
        self._running = False
        self._stopping: list[Deferred[None]] = []

    async def start(self) -> None:
        """Returns at once; the first turn begins with the clock's next event."""
        self._running = True
        self._schedule(0.0)

    async def stop(self) -> None:
        """No turn begins any more; returns when the one that runs has ended."""
        self._running = False
        self._unschedule()
        if self._turn is not None:
            ended: Deferred[None] = Deferred()
            self._stopping.append(ended)
            await ended

    def wake(self) -> None:
        """Begin a turn now, or right after the one that runs."""
        if self._turn is not None:
            self._wanted = True
        elif self._running:
            self._unschedule()
            self._schedule(0.0)

    def _schedule(self, seconds: float) -> None:
        self._timer = self._clock.callLater(seconds, self._begin)

    def _unschedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._timer = None
        self._wanted = False
        began = self._clock.seconds()
        self._turn = turn = Deferred.fromCoroutine(self._take_turn())
        turn.addCallback(lambda _: self._ended(began))

    async def _take_turn(self) -> None:
        try:
            await self._function()
        except CancelledError:
            _log.warn("A periodic turn was cancelled from inside")
        except Exception:  # noqa: BLE001 - the next turn must come whatever this one did
            _log.failure("A periodic turn failed")

    def _ended(self, began: float) -> None:
        self._turn = None
        stopping, self._stopping = self._stopping, []
        for each in stopping:
            each.callback(None)
        if self._running:
            due = began + self._jitter(self._interval_seconds) - self._clock.seconds()
            self._schedule(0.0 if self._wanted else max(0.0, due))


async def listen(endpoints: Endpoints, description: str, factory: IProtocolFactory) -> "Listener":
    """Open a door. Raises PortTaken, unlike Twisted's service, which hides a failed bind."""
    try:
        port = await endpoints.to_listen(description).listen(factory)
    except (CannotListenError, OSError) as problem:
        raise PortTaken(endpoint=description, reason=str(problem)) from problem
    return Listener(port)


class Listener:
    """An open door."""

    def __init__(self, port: IListeningPort) -> None:
        self._port = port

    @property
    def port(self) -> int:
        """The TCP port that the system gave; 0 where there is none, as on a Unix socket."""
        return getattr(self._port.getHost(), "port", 0)

    async def stop(self) -> None:
        """Accept no more connections; those that are open stay."""
        await _awaitable(self._port.stopListening())


async def _awaitable(stopped: Deferred[None] | None) -> None:
    if stopped is not None:
        await stopped
