"""What waits to be written to one connection, bounded by the transport's own back-pressure.

Small frames are handed over at once. A large body goes out in slices, the next one only when the
transport has taken the last, so little of it is copied at a time. Between two large
frames all small ones that wait go first, so a heartbeat waits for one body and not for a queue.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from twisted.internet.interfaces import IPushProducer, ITransport
from zope.interface import implementer

from minibox.rpc.frames import Part, pack_prefix

TRANSPORT_BYTES = 1024 * 1024
"""What a transport reads or sends in one system call, and buffers before it wants a pause."""
SLICE_BYTES = 1024 * 1024
"""Above TRANSPORT_BYTES by far: Twisted copies what is left of a piece whenever that is less."""
MAX_WHOLE_BYTES = 4 * 1024 * 1024
SMALL_FRAME_BYTES = 64 * 1024


def _nothing() -> None:
    return


class Outgoing:
    """A frame that waits for its turn. ``withdraw`` drops it if it has not begun."""

    __slots__ = ("begun", "body", "head", "sent")

    def __init__(self, head: bytes, body: Sequence[Part], sent: Callable[[], None]) -> None:
        self.head = head
        self.body = body
        self.sent = sent
        self.begun = False

    def withdraw(self) -> bool:
        """Whether the frame was still whole: then the other side never hears of it."""
        if self.begun:
            return False
        self.head, self.body = b"", ()
        return True


@implementer(IPushProducer)
class Outbox:
    """Writes frames to ``transport``, whole and one at a time. Ends with :meth:`close`."""

    def __init__(self, transport: ITransport) -> None:
        self._transport = transport
        self._small: deque[Outgoing] = deque()
        self._large: deque[Outgoing] = deque()
        self._slices: Iterator[bytes] | None = None
        self._current: Outgoing | None = None
        self._paused = False
        self._closed = False
        self.written_frames = 0
        transport.registerProducer(self, True)  # type: ignore[attr-defined]

    @property
    def congested(self) -> bool:
        """The transport takes nothing now."""
        return self._paused

    def send(
        self, header: bytes, body: Sequence[Part] = (), sent: Callable[[], None] = _nothing
    ) -> Outgoing:
        """Queue one frame; ``sent`` is called once the transport has all of it."""
        length = sum(map(len, body)) if body else 0
        outgoing = Outgoing(pack_prefix(header, length), body, sent)
        if self._closed:
            return outgoing
        if len(header) + length > SMALL_FRAME_BYTES:
            self._large.append(outgoing)
        elif self._paused or self._current is not None or self._small:
            self._small.append(outgoing)
            return outgoing
        else:
            self._write_small(outgoing)
            return outgoing
        self._pump()
        return outgoing

    def close(self) -> None:
        """Drop what waits. The transport keeps what it has taken."""
        if not self._closed:
            self._closed = True
            self._small.clear()
            self._large.clear()
            self._slices = self._current = None
            self._transport.unregisterProducer()  # type: ignore[attr-defined]

    def pauseProducing(self) -> None:  # noqa: N802
        """The transport has enough."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802
        """The transport has room."""
        self._paused = False
        self._pump()

    def stopProducing(self) -> None:  # noqa: N802
        """The connection is gone."""
        self._closed = True
        self._small.clear()
        self._large.clear()
        self._slices = self._current = None

    def _pump(self) -> None:
        while not self._paused and not self._closed:
            if self._slices is not None:
                self._write_slice()
            elif self._small:
                self._write_small(self._small.popleft())
            elif self._large:
                self._begin(self._large.popleft())
            else:
                return

    def _write_small(self, outgoing: Outgoing) -> None:
        if not outgoing.head:
            return
        outgoing.begun = True
        self.written_frames += 1
        frame = outgoing.head
        self._transport.write(b"".join((frame, *outgoing.body)) if outgoing.body else frame)
        outgoing.sent()

    def _begin(self, outgoing: Outgoing) -> None:
        if not outgoing.head:
            return
        outgoing.begun = True
        self.written_frames += 1
        self._current = outgoing
        self._slices = _slices(outgoing.head, outgoing.body)

    def _write_slice(self) -> None:
        piece = next(self._slices, None) if self._slices is not None else None
        if piece is not None:
            self._transport.write(piece)
            return
        finished, self._current, self._slices = self._current, None, None
        if finished is not None:
            finished.body = ()
            finished.sent()


def _slices(head: bytes, body: Sequence[Part]) -> Iterator[bytes]:
    """The frame in pieces: a chunk goes as it is, uncopied, what is smaller is put together."""
    gathered: list[Part] = [head]
    length = len(head)
    for part in body:
        if isinstance(part, bytes) and SLICE_BYTES <= len(part) <= MAX_WHOLE_BYTES:
            if length:
                yield b"".join(gathered)
            yield part
            gathered, length = [], 0
            continue
        view = memoryview(part)
        while length + len(view) > SLICE_BYTES:
            room = SLICE_BYTES - length
            gathered.append(view[:room])
            yield b"".join(gathered)
            view, gathered, length = view[room:], [], 0
        gathered.append(view)
        length += len(view)
    if length:
        yield b"".join(gathered)
