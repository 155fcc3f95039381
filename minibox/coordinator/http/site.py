# mypy: disallow-untyped-calls=False
"""The HTTP site: its connections, its shortcuts in front of Klein, what all responses carry."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.web import server
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource

from minibox.coordinator.http.channel import IDLE_SECONDS, Channel
from minibox.coordinator.http.request import Request
from minibox.world import World

MAX_CONNECTIONS = 4096

Shortcut = Callable[[Request], bool]
"""Looks at a request before any routing; True if it has taken it."""

_log = Logger()


def log_answer(request: Request) -> None:
    """One event for each answered request; hot ones don't get a line of their own."""
    if request.is_hot:
        return
    _log.info(
        "{method} {path} {status}",
        method=request.method.decode("ascii"),
        path=request.path_text,
        status=request.code,
        sent_bytes=request.sentLength,
        received_bytes=request.body.received_bytes,
        seconds=round(request.site.clock.seconds() - request.began_seconds, 6),
        request_id=request.request_id,
    )


class Site(server.Site):
    """A factory of Channels over one resource tree (usually Klein's one leaf)."""

    protocol = Channel  # type: ignore[assignment]  # not the HTTP/2 wrapper that Twisted expects

    def __init__(
        self,
        world: World,
        resource: IResource,
        shortcuts: Sequence[Shortcut] = (),
        observe: Callable[[Request], None] = log_answer,
    ) -> None:
        super().__init__(
            resource,
            requestFactory=Request,
            timeout=IDLE_SECONDS,
            reactor=world.clock,
            parsePOSTFormSubmission=False,
        )
        self.clock = world.clock
        self.shortcuts = tuple(shortcuts)
        self._observe = observe
        self._channels: dict[Channel, None] = {}
        self._is_closing = False
        self._closed: Deferred[None] | None = None
        self._id_prefix = world.random_bytes(6).hex()
        self._ids = 0
        self._common_second = -1
        self._common = b""

    def common_headers(self) -> bytes:
        """The headers of every response, made once a second."""
        second = int(self.clock.wall())
        if second != self._common_second:
            self._common_second = second
            self._common = (
                b"Server: minibox\r\nX-Content-Type-Options: nosniff\r\n"
                b"Referrer-Policy: same-origin\r\nDate: %b\r\n" % datetimeToString(second)
            )
        return self._common

    def make_request(self, channel: Channel) -> Request:
        """The request whose head a channel has just read."""
        return Request(channel)

    def next_request_id(self) -> str:
        """A name for one request, unlike any before, in other runs too."""
        self._ids += 1
        return f"{self._id_prefix}{self._ids:08x}"

    async def close(self, patience_seconds: float) -> None:
        """Let the requests under way finish, then cut what is left.

        The port has to be closed before. Afterwards no connection is open.
        """
        self._is_closing = True
        for channel in tuple(self._channels):
            channel.close_when_idle()
        if self._channels:
            timer = self.clock.callLater(patience_seconds, self._cut)
            self._closed = Deferred()
            await self._closed
            if timer.active():
                timer.cancel()

    def _cut(self) -> None:
        for channel in tuple(self._channels):
            channel.abort()

    # For channels and Twisted

    def connected(self, channel: Channel) -> None:
        """A connection has begun."""
        self._channels[channel] = None

    def disconnected(self, channel: Channel) -> None:
        """A connection is over."""
        self._channels.pop(channel, None)
        if not self._channels and self._closed is not None:
            closed, self._closed = self._closed, None
            closed.callback(None)

    def buildProtocol(  # type: ignore[override]  # noqa: N802
        self, addr: IAddress | None
    ) -> Channel | None:
        """A channel for a new connection; None, which closes it, when there are too many."""
        if self._is_closing or len(self._channels) >= MAX_CONNECTIONS:
            return None
        channel: Channel | None = super().buildProtocol(addr)
        return channel

    def startFactory(self) -> None:  # noqa: N802
        """Nothing: there is no log file, and no timer for its date."""

    def stopFactory(self) -> None:  # noqa: N802
        """Nothing to undo."""

    def log(self, request: Request) -> None:  # type: ignore[override]  # all are ours
        """A response is finished."""
        self._observe(request)
