"""Bodies of requests on their way out and of answers on their way in, a bounded part at a time.

Twisted's own producers run on a global clock; these run on whatever moves their bytes.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, ITransport
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure as Reason
from twisted.web.client import ResponseDone
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from minibox.errors import BadRecord, Failure, Unreachable

PAUSE_ABOVE_BYTES = 4 * 1024 * 1024
"""The socket is not read while so much of an answer waits for its reader."""


class _Pausing(Protocol):
    def pauseProducing(self) -> None: ...  # noqa: N802
    def resumeProducing(self) -> None: ...  # noqa: N802
    def stopProducing(self) -> None: ...  # noqa: N802


@implementer(IBodyProducer)
class BytesBody:
    """A request body that is at hand."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802
        """Write it all."""
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802
        """It is written already."""

    def resumeProducing(self) -> None:  # noqa: N802
        """It is written already."""

    def stopProducing(self) -> None:  # noqa: N802
        """It is written already."""


@implementer(IBodyProducer)
class StreamedBody:
    """A request body of ``length`` bytes that is read while it is sent.

    The source is asked for the next part only when the socket has taken the last one. ``sent`` is
    told how many bytes went out.
    """

    def __init__(
        self, source: AsyncIterator[bytes], length: int, sent: Callable[[int], None]
    ) -> None:
        self.length = length
        self._source = source
        self._sent = sent
        self._pumping: Deferred[None] | None = None
        self._paused: Deferred[None] | None = None
        self._is_stopped = False

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802
        """Write the source to ``consumer``; fires when all of it was taken, never once stopped."""
        done: Deferred[None] = Deferred()

        def ended(result: object) -> None:
            if self._is_stopped:
                return
            if isinstance(result, Reason):
                done.errback(result)
            else:
                done.callback(None)

        self._pumping = Deferred.fromCoroutine(self._pump(consumer))
        self._pumping.addBoth(ended)
        return done

    def pauseProducing(self) -> None:  # noqa: N802
        """Take no further part from the source."""
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:  # noqa: N802
        """Go on."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.callback(None)

    def stopProducing(self) -> None:  # noqa: N802
        """The connection is gone, or the answer came before the end."""
        self._is_stopped = True
        if self._pumping is not None:
            self._pumping.cancel()

    async def _pump(self, consumer: IConsumer) -> None:
        async for part in self._source:
            consumer.write(part)
            self._sent(len(part))
            if self._paused is not None:
                await self._paused


class IncomingBody(TwistedProtocol):
    """The body of an answer, for one reader. It ends with what went wrong, if something did."""

    def __init__(self, peer: str, heard: Callable[[], None], ended: Callable[[], None]) -> None:
        self._peer = peer
        self._heard = heard
        self._tell_ended = ended
        self._parts: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_paused = False
        self._ended = False
        self._problem: Failure | None = None
        self._reader: Deferred[None] | None = None
        self._source: _Pausing | None = None

    def makeConnection(self, transport: ITransport) -> None:  # noqa: N802
        """Twisted hands in what can be paused."""
        self._source = transport  # type: ignore[assignment]
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """A part has come."""
        self._heard()
        if self._ended:
            return
        self._parts.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > PAUSE_ABOVE_BYTES and not self._is_paused and self._source:
            self._is_paused = True
            self._source.pauseProducing()
        self._wake()

    def connectionLost(self, reason: Reason = connectionDone) -> None:  # noqa: N802
        """The body is complete, or cut."""
        if not reason.check(ResponseDone):  # type: ignore[no-untyped-call]
            self.fail(Unreachable(self._peer, "the connection was cut in the middle of an answer"))
        self._finish()

    def fail(self, problem: Failure) -> None:
        """End it here; the reader gets ``problem``."""
        if self._ended:
            return
        self._problem = problem
        self._parts.clear()
        self._finish()
        self._abandon()

    def close(self) -> None:
        """Nobody reads on. A body that isn't complete takes its connection with it."""
        if not self._ended:
            self._finish()
            self._abandon()
        self._parts.clear()

    async def parts(self) -> AsyncIterator[bytes]:
        """The parts as they come. Unreachable or CallTimeout where the body ends too early."""
        try:
            while True:
                while self._parts:
                    part = self._parts.popleft()
                    self._waiting_bytes -= len(part)
                    yield part
                if self._ended:
                    break
                if self._is_paused and self._source is not None:
                    self._is_paused = False
                    self._source.resumeProducing()
                    continue
                self._reader = Deferred()
                await self._reader
            if self._problem is not None:
                raise self._problem
        finally:
            self.close()

    async def read(self, limit: int) -> bytes:
        """All of it; BadRecord where it is longer than ``limit`` bytes."""
        parts: list[bytes] = []
        left = limit
        async for part in self.parts():
            left -= len(part)
            if left < 0:
                self.close()
                raise BadRecord(kind="answer", reason=f"it is longer than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    def _finish(self) -> None:
        if not self._ended:
            self._ended = True
            self._tell_ended()
        self._wake()

    def _abandon(self) -> None:
        if self._source is not None:
            self._source.stopProducing()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.called:
            reader.callback(None)
