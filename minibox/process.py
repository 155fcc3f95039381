"""A process from its first event to its last: what starts, when it is told to stop, how it ends."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure
from zope.interface import implementer

from minibox.errors import Failure

EXIT_REFUSED = 1
EXIT_AT_ONCE = 70

_log = Logger()


class Running(Protocol):
    """A process that serves."""

    @property
    def ready(self) -> str:
        """The line that says where it serves."""

    async def stop(self) -> None:
        """Returns when nothing of it runs any more."""


def run_process(
    reactor: Any,  # noqa: ANN401 - Twisted's, in many shapes
    start: Callable[[], Awaitable[Running]],
    parent_pipe: int | None = None,
) -> int:
    """Run ``reactor`` with what ``start`` gives, until it is told to stop; the exit code.

    SIGTERM and SIGINT stop it cleanly, a second one at once. So does the end of ``parent_pipe``, a
    descriptor to read whose other end the parent keeps: it closes however the parent dies. A
    Failure at the start is one line on stderr.
    """
    process = _Process(reactor, start)
    reactor.callWhenRunning(process.begin)
    reactor.addSystemEventTrigger("before", "shutdown", process.end)
    if parent_pipe is not None:
        reactor.addReader(_ParentPipe(reactor, parent_pipe, process.stop))
    reactor.run()
    return process.exit_code


class _Process:
    def __init__(self, reactor: Any, start: Callable[[], Awaitable[Running]]) -> None:  # noqa: ANN401
        self.exit_code = 0
        self._reactor = reactor
        self._start = start
        self._starting: Deferred[None] | None = None
        self._running: Running | None = None
        self._is_stopping = False

    def begin(self) -> None:
        """The reactor runs. Its own signal handlers, which wake it, are replaced by ours."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        self._starting = Deferred.fromCoroutine(self._serve())
        self._starting.addErrback(self._refused)

    def end(self) -> Deferred[None]:
        """The reactor is about to stop, and waits for this."""
        return Deferred.fromCoroutine(self._stop_running())

    def stop(self) -> None:
        """Stop cleanly, if that has not begun."""
        if not self._is_stopping:
            self._is_stopping = True
            self._reactor.stop()

    async def _serve(self) -> None:
        self._running = await self._start()
        sys.stdout.write(self._running.ready + "\n")
        sys.stdout.flush()

    async def _stop_running(self) -> None:
        if self._starting is not None and self._running is None:
            self._starting.cancel()
        if self._running is not None:
            await self._running.stop()

    def _refused(self, failure: TwistedFailure) -> None:
        if self._is_stopping:
            return
        self.exit_code = EXIT_REFUSED
        problem = failure.value
        if isinstance(problem, Failure):
            sys.stderr.write(f"minibox: {problem}\n")
        else:
            _log.failure("It could not start", failure)
            sys.stderr.write(f"minibox: {problem!r}\n")
        self.stop()

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_stopping:
            os._exit(EXIT_AT_ONCE)
        self._reactor.callFromThread(self.stop)


@implementer(IReadDescriptor)
class _ParentPipe:
    def __init__(self, reactor: Any, descriptor: int, ended: Callable[[], None]) -> None:  # noqa: ANN401
        os.set_blocking(descriptor, False)
        self._reactor = reactor
        self._descriptor = descriptor
        self._ended = ended

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> None:  # noqa: N802
        try:
            found = os.read(self._descriptor, 4096)
        except BlockingIOError:
            return
        except OSError:
            found = b""
        if not found:
            self._reactor.removeReader(self)
            self._ended()

    def connectionLost(self, _reason: TwistedFailure) -> None:  # noqa: N802
        self._ended()

    def logPrefix(self) -> str:  # noqa: N802
        return "parent"
