"""The body of a request, pulled by its handler: bounded in memory, size and silence.

The connection pushes what arrives; above the high water it stops reading from the socket until the
handler has taken enough. Nothing is spooled and pieces are handed over as they came.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from minibox.errors import RequestTimeout, TooLarge
from minibox.world import Clock

HIGH_WATER = 1024 * 1024
LOW_WATER = 256 * 1024
EAGER_WATER = 64 * 1024
"""So much is taken before the handler asks for any: it may still refuse the caller."""
SILENCE_SECONDS = 30.0
"""A body of which nothing arrives for so long, while its handler waits, is given up."""
WHOLE_SECONDS = 60.0
"""A body that is read whole (JSON) has to arrive within this."""


class ClientGone(Exception):
    """The client's connection ended before its request was answered: nobody is left to tell."""


class Reader(Protocol):
    """Where bytes are pulled from: a request's body, or the file part of a form."""

    async def read(self, most: int = HIGH_WATER) -> bytes:
        """The next bytes, at least one and at most ``most``; empty at the end."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces as they come."""


class Body:
    """One request's body. Made by the connection, which feeds it; read by one handler."""

    def __init__(self, length: int | None, clock: Clock, on_pull: Callable[[], None]) -> None:
        self.length = length
        """The declared length; None when the body is chunked."""
        self.received_bytes = 0
        self._clock = clock
        self._on_pull = on_pull
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._limit: int | None = None
        self._complete = length == 0
        self._failure: Exception | None = None
        self._waiting: Deferred[None] | None = None
        self._until: float | None = None
        self.is_wanted = False
        """Whether the handler has asked for bytes: then a waiting client may be told to send."""

    # For the handler

    def at_most(self, limit: int) -> None:
        """Refuse a body of more than ``limit`` bytes: TooLarge now if announced, else on read."""
        if self.length is not None and self.length > limit:
            raise TooLarge(limit=limit)
        self._limit = limit
        self._check_limit()

    async def read(self, most: int = HIGH_WATER) -> bytes:
        """The next bytes, at least one and at most ``most``; empty at the end.

        Raises TooLarge, RequestTimeout after a silence, ValidationFailed for broken framing and
        ClientGone; then nothing more of this body can be read.
        """
        while not self._pieces or self._failure is not None:
            if self._failure is not None:
                raise self._failure
            if self._complete:
                return b""
            await self._more()
        piece = self._pieces.popleft()
        if len(piece) > most:
            self._pieces.appendleft(piece[most:])
            piece = piece[:most]
        was_full = self._held > LOW_WATER or not self.is_wanted
        self._held -= len(piece)
        if was_full and self._held <= LOW_WATER and not self._complete:
            self.is_wanted = True
            self._on_pull()
        return piece

    async def read_whole(self, limit: int) -> bytes:
        """The whole body of at most ``limit`` bytes, in bounded time."""
        self.at_most(limit)
        self._until = self._clock.seconds() + WHOLE_SECONDS
        parts = [piece async for piece in self]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces as they came from the network, none copied."""
        while piece := await self.read():
            yield piece

    # For the connection

    @property
    def is_complete(self) -> bool:
        """Whether all of it has arrived."""
        return self._complete

    @property
    def is_failed(self) -> bool:
        """Whether reading it raises."""
        return self._failure is not None

    @property
    def wants_more(self) -> bool:
        """Whether the socket should be read for it."""
        room = HIGH_WATER if self.is_wanted else EAGER_WATER
        return self._failure is None and self._held < room

    def received(self, pieces: list[bytes], *, complete: bool) -> None:
        """More has arrived; ``complete`` with the last."""
        self._complete = complete
        if self._failure is None:
            for piece in pieces:
                if piece:
                    self._pieces.append(piece)
                    self._held += len(piece)
                    self.received_bytes += len(piece)
            self._check_limit()
        self._wake()

    def fail(self, failure: Exception) -> None:
        """Nothing more will come, and what is held is of no use: reads raise ``failure``."""
        if self._failure is None:
            self._failure = failure
            self._pieces.clear()
            self._held = 0
        self._wake()

    def _check_limit(self) -> None:
        if self._limit is not None and self.received_bytes > self._limit:
            self.fail(TooLarge(limit=self._limit))

    async def _more(self) -> None:
        if not self.is_wanted:
            self.is_wanted = True
            self._on_pull()
            if self._pieces or self._complete or self._failure is not None:
                return
        seconds = SILENCE_SECONDS
        if self._until is not None:
            seconds = max(0.0, min(seconds, self._until - self._clock.seconds()))
        timer: IDelayedCall = self._clock.callLater(seconds, self.fail, RequestTimeout())
        self._waiting = Deferred()
        try:
            await self._waiting
        finally:
            self._waiting = None
            if timer.active():
                timer.cancel()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)
