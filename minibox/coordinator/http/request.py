# mypy: disallow-untyped-calls=False
"""One request and its response, as handlers see them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure as Reason
from twisted.web import server

from minibox.coordinator.http.body import Body, ClientGone
from minibox.coordinator.http.head import Head, path_of
from minibox.errors import (
    BadRange,
    Busy,
    Failure,
    Internal,
    MethodNotAllowed,
    RateLimited,
    Starting,
)
from minibox.http_api.headers import PROBLEM_JSON
from minibox.http_api.problems import problem_of, status_of

if TYPE_CHECKING:
    from minibox.coordinator.http.channel import Channel
    from minibox.coordinator.http.site import Site

_RETRY_SECONDS = 1
_OURS = 500
_WITHOUT_CONTENT = frozenset({204, 304})
_OF_CONTENT = (
    b"Accept-Ranges",
    b"Content-Disposition",
    b"Content-Range",
    b"Content-Security-Policy",
    b"ETag",
    b"Last-Modified",
)
"""Headers about content that was to be sent: a problem in its place must not carry them."""


class Request(server.Request):
    """A twisted.web request whose body is streamed: handlers pull it from ``body``."""

    channel: "Channel"
    site: "Site"
    body: Body
    path_text = ""
    """The path, percent-decoded once: text without NUL. Names in it are checked elsewhere."""
    query_string = b""
    is_hot = False
    """Whether a shortcut answers it: such requests are not worth a log line each."""
    began_seconds = 0.0
    defaultContentType = None  # noqa: N815

    _log = Logger()
    _request_id: str | None = None
    _on_gone: Callable[[], object] | None = None

    def begin(self, head: Head, body: Body) -> None:
        """Take the head and the (coming) body; dispatched by ``process``."""
        self.site = self.channel.site
        self.began_seconds = self.site.clock.seconds()
        self.method, self.uri, self.clientproto = head.method, head.target, head.version
        self.path, _, self.query_string = head.target.partition(b"?")
        self.args = {}
        self.body = body
        add = self.requestHeaders.addRawHeader
        for name, value in head.headers:
            add(name, value)
        self.parseCookies()

    @property
    def request_id(self) -> str:
        """What this request is called in logs and problem documents."""
        if self._request_id is None:
            self._request_id = self.site.next_request_id()
        return self._request_id

    @property
    def is_gone(self) -> bool:
        """Whether the client has left."""
        return bool(self._disconnected)

    @property
    def is_answered(self) -> bool:
        """Whether a response has been begun."""
        return bool(self.startedWriting or self.finished)

    def header(self, name: bytes) -> str | None:
        """A header's only value (the last, if it stands twice); undecodable bytes as Latin-1."""
        values = self.requestHeaders.getRawHeaders(name)
        return None if values is None else values[-1].decode("latin-1")

    def when_gone(self, call: Callable[[], object]) -> None:
        """Call this once if the client leaves before the response is finished."""
        self._on_gone = call

    def process(self) -> None:
        """Give the request to the first shortcut that takes it, else to the resource tree."""
        try:
            self.path_text = path_of(self.path)
            self.is_hot = True
            for shortcut in self.site.shortcuts:
                if shortcut(self):
                    return
            self.is_hot = False
            self.prepath = []
            self.postpath = [part.encode() for part in self.path_text[1:].split("/")]
            self.render(self.site.getResourceFor(self))
        except Failure as failure:
            self.refuse(failure)
        except Exception:  # noqa: BLE001  the last frame before the reactor
            self.processingFailed(Reason())

    def respond(self, status: int, content: bytes, content_type: bytes | None) -> None:
        """Answer with these bytes and finish. The headers set before go with them."""
        if self._disconnected or not self.channel.is_answering(self):
            return
        if self.cookies:
            self.responseHeaders.setRawHeaders(b"Set-Cookie", self.cookies)
        self.setResponseCode(status)
        self.startedWriting = 1
        bare = self.method == b"HEAD" or status in _WITHOUT_CONTENT
        self.sentLength = 0 if bare else len(content)
        length = None if status in _WITHOUT_CONTENT else len(content)
        self.channel.send_answer(self, content_type, length, b"" if bare else content)
        self.finish()

    def refuse(self, failure: Failure) -> None:
        """Answer with the failure's problem document; cut the connection if it is too late."""
        if self._disconnected:
            return
        if self.is_answered:
            self.abort()
            return
        status = status_of(failure)
        for name in _OF_CONTENT:
            self.responseHeaders.removeHeader(name)
        for name, value in _explaining(failure, status):
            self.responseHeaders.setRawHeaders(name, [value])
        if status >= _OURS and not isinstance(failure, Internal):  # a bug has been logged
            self._log.warn(
                "{path} is refused: {detail}",
                path=self.path_text,
                detail=str(failure),
                code=failure.code,
                request_id=self.request_id,
            )
        document = msgspec.json.encode(problem_of(failure, self.request_id))
        self.respond(status, document, PROBLEM_JSON.encode())

    def abort(self) -> None:
        """Cut the connection: a response that is not whole must not look so."""
        if not self._disconnected and not self.finished:
            self.channel.abort()

    async def writable(self) -> None:
        """Return when the client has taken what was written. Raises ClientGone."""
        if self._disconnected:
            raise ClientGone
        if self.channel.is_blocked:
            await self.channel.unblocked()

    def processingFailed(self, reason: Reason) -> Reason:  # noqa: N802
        """Log a bug and answer 500 with the id to look for."""
        self.log_bug(reason)
        self.refuse(Internal(request_id=self.request_id))
        return reason

    def log_bug(self, reason: Reason) -> None:
        """Keep the traceback under the request id."""
        self._log.failure(
            "{method} {path} failed as {request_id}",
            failure=reason,
            method=self.method.decode("ascii"),
            path=self.path_text,
            request_id=self.request_id,
        )

    def connectionLost(self, reason: Reason) -> None:  # noqa: N802
        """The client has left; whoever asked to know is told."""
        super().connectionLost(reason)
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone()

    def getRequestHostname(self) -> bytes:  # noqa: N802
        """The host that was asked for, always a valid name: Klein's routing chokes on others."""
        host: Any = super().getRequestHostname() if self.requestHeaders.hasHeader(b"Host") else b""
        return bytes(host) or b"localhost"


def _explaining(failure: Failure, status: int) -> list[tuple[bytes, bytes]]:
    """The headers that HTTP wants beside some refusals."""
    headers = [(b"Cache-Control", b"no-store")]
    match failure:
        case RateLimited(retry_after=seconds):
            headers.append((b"Retry-After", b"%d" % seconds))
        case Starting() | Busy():
            headers.append((b"Retry-After", b"%d" % _RETRY_SECONDS))
        case MethodNotAllowed(allowed=allowed):
            headers.append((b"Allow", allowed.encode("latin-1", "replace")))
        case BadRange(size=size):
            headers.append((b"Content-Range", b"bytes */%d" % size))
        case _ if status == 401:  # noqa: PLR2004
            headers.append((b"WWW-Authenticate", b'Bearer realm="minibox"'))
    return headers
