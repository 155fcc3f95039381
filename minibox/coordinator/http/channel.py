# mypy: disallow-untyped-calls=False
"""One HTTP/1.1 connection: requests in order, each dispatched as soon as its head is in.

twisted.web's own channel reads a whole body before the handler runs, has no deadline for heads and
takes two Hosts; this one keeps its face towards requests, producers and WebSockets, and replaces
how bytes become requests. The next request is looked at only when the body of the one before has
been consumed (or discarded, within bounds) and its response is finished.
"""

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IProtocol, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure as Reason
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.http import Request as TwistedRequest
from twisted.web.http_headers import Headers

from minibox.coordinator.http.body import Body, ClientGone
from minibox.coordinator.http.chunked import ChunkedDecoder
from minibox.coordinator.http.deadline import Deadline
from minibox.coordinator.http.head import MAX_HEAD_BYTES, Head, parse_head
from minibox.errors import Failure, HeadersTooLarge, RequestTimeout
from minibox.http_api.headers import PROBLEM_JSON
from minibox.http_api.problems import problem_of, status_of

if TYPE_CHECKING:
    from minibox.coordinator.http.request import Request
    from minibox.coordinator.http.site import Site

READ_BYTES = 1024 * 1024
"""One read from the socket, and what may wait to be written before writers are paused."""
IDLE_SECONDS = 65.0
HEAD_SECONDS = 20.0
STALL_SECONDS = 120.0
"""A client that takes nothing of its response for so long is cut."""
CLOSE_SECONDS = 15.0
DRAIN_SECONDS = 5.0
DRAIN_BYTES = 4 * 1024 * 1024
"""After an early answer so much of the body is thrown away before the connection is cut."""
SMALL_REST_BYTES = 64 * 1024
"""A rest of a body up to this is read and forgotten, so that the connection can go on."""
PIPELINED_BYTES = 16 * 1024
REQUESTS_PER_TURN = 32
_TINY_PIECES = 16


class State(Enum):
    """What the next byte of the connection belongs to."""

    HEAD = auto()
    BODY = auto()
    RUNNING = auto()
    """To a later request: the body is in, the response is not out."""
    DRAINING = auto()
    """To nobody: the response is out before the body was in."""
    CLOSING = auto()
    UPGRADED = auto()


class Channel(HTTPChannel):
    """The protocol of one connection. Its factory is a Site, which gives it the clock."""

    site: "Site"
    transport: Any  # TCP, TLS or one of the simulation: more than ITransport says
    _body: Body
    _deadline: Deadline

    def __init__(self) -> None:
        super().__init__()
        self._state = State.HEAD
        self._buffer = b""
        self._head_begun = False
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._continue_due = False
        self._drained_bytes = 0
        self._advancing = False
        self._again: IDelayedCall | None = None
        self._reading = True
        self._unblocked: Deferred[None] | None = None

    # Connection

    def connectionMade(self) -> None:  # noqa: N802
        """Take the transport's bytes and its word on when to pause."""
        transport = self.transport
        if _is_tcp(transport):
            transport.setTcpNoDelay(True)
            transport.bufferSize = transport.SEND_LIMIT = READ_BYTES
        self._networkProducer = transport
        self._peer, self._host = transport.getPeer(), transport.getHost()
        transport.registerProducer(self, True)
        self._deadline = Deadline(self.site.clock, self._too_slow)
        self.site.connected(self)
        self._deadline.set(IDLE_SECONDS)

    def connectionLost(self, reason: Reason = connectionDone) -> None:  # noqa: N802
        """The request under way learns that nobody waits for it."""
        self._state = State.CLOSING
        self._deadline.stop()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self.site.disconnected(self)
        requests, self.requests = self.requests, []
        for request in requests:
            if not self._body.is_complete:
                self._body.fail(ClientGone())
            request.connectionLost(reason)
        unblocked, self._unblocked = self._unblocked, None
        if unblocked is not None:
            unblocked.errback(ClientGone())

    def getPeer(self) -> object:  # noqa: N802
        """The other end's address."""
        return self._peer

    def getHost(self) -> object:  # noqa: N802
        """This end's address."""
        return self._host

    def close_when_idle(self) -> None:
        """Take no further request; close now if none is under way."""
        self.persistent = False
        if self._state is State.HEAD:
            self.loseConnection()

    def loseConnection(self) -> None:  # noqa: N802
        """Close when what was written is out; cut when that takes too long."""
        if self._state is State.CLOSING:
            return
        self._state = State.CLOSING
        self._deadline.set(CLOSE_SECONDS)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Cut the connection: what was sent must not look complete."""
        self._state = State.CLOSING
        self.transport.abortConnection()

    # Bytes in

    def dataReceived(self, received: bytes) -> None:  # noqa: N802
        """Bytes from the socket, wherever they belong."""
        match self._state:
            case State.BODY:
                self._take_body(received)
            case State.HEAD:
                self._buffer = self._buffer + received if self._buffer else received
                self._advance()
            case State.RUNNING:
                self._buffer += received
                self._choose_reading()
            case State.DRAINING:
                self._discard(received)
            case State.CLOSING | State.UPGRADED:
                pass

    def _advance(self) -> None:
        """Begin the requests that are in the buffer, one after the other, a few each turn."""
        if self._advancing:
            return
        self._advancing = True
        turn = 0
        try:
            while self._state is State.HEAD and self._buffer and not self._waitingForTransport:
                turn += 1
                if turn > REQUESTS_PER_TURN:
                    self._advance_later()
                    break
                if not self._take_head():
                    break
        finally:
            self._advancing = False
        if self._state is State.HEAD and not self._head_begun:
            self._deadline.set(IDLE_SECONDS)
        self._choose_reading()

    def _advance_later(self) -> None:
        if self._again is None:
            self._again = self.site.clock.callLater(0, self._advance_again)

    def _advance_again(self) -> None:
        self._again = None
        self._advance()

    def _take_head(self) -> bool:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # some clients send one after a body
            buffer = buffer[2:]
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            self._buffer = buffer
            if len(buffer) >= MAX_HEAD_BYTES:
                self._refuse_head(HeadersTooLarge(limit=MAX_HEAD_BYTES))
            elif buffer and not self._head_begun:
                self._head_begun = True
                self._deadline.set(HEAD_SECONDS)
            return False
        self._head_begun = False
        self._buffer = buffer[end + 4 :]
        try:
            head = parse_head(buffer[:end])
        except Failure as failure:
            self._refuse_head(failure)
            return False
        self._begin(head)
        return True

    def _begin(self, head: Head) -> None:
        self._deadline.clear()
        self.persistent = self.persistent and head.persistent
        self._body = body = Body(head.length, self.site.clock, self._pulled)
        request: Request = self.site.make_request(self)
        self.requests.append(request)
        request.begin(head, body)
        if head.length == 0:
            self._state = State.RUNNING
        else:
            self._state = State.BODY
            self._continue_due = head.expects_continue
            self._left = head.length or 0
            self._decoder = ChunkedDecoder() if head.length is None else None
            arrived, self._buffer = self._buffer, b""
            if arrived:
                self._take_body(arrived)
        request.process()

    def _take_body(self, received: bytes) -> None:
        if self._decoder is not None:
            try:
                pieces = self._decoder.feed(received)
            except Failure as failure:
                self.persistent = False
                self._body.fail(failure)
                self._choose_reading()
                return
            complete, rest = self._decoder.over, self._decoder.rest
            if len(pieces) > _TINY_PIECES:
                pieces = [b"".join(pieces)]
        else:
            complete = len(received) >= self._left
            rest = received[self._left :] if complete else b""
            pieces = [received[: self._left] if rest else received]
            self._left -= len(pieces[0])
        if complete:
            self._state = State.RUNNING
            self._buffer = rest
        self._body.received(pieces, complete=complete)
        self._choose_reading()

    def _discard(self, received: bytes) -> None:
        if self.persistent:
            if len(received) < self._left:
                self._left -= len(received)
                return
            self._buffer = received[self._left :]
            self._state = State.HEAD
            self._advance()
            return
        self._drained_bytes += len(received)
        if self._drained_bytes > DRAIN_BYTES:
            self.loseConnection()

    def _pulled(self) -> None:
        """The handler wants bytes, or has made room."""
        if self._continue_due and self._body.is_wanted:
            self._continue_due = False
            if not self._body.received_bytes and not self.requests[0].startedWriting:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._choose_reading()

    def _choose_reading(self) -> None:
        match self._state:
            case State.BODY:
                wanted = self._body.wants_more
            case State.HEAD:
                wanted = not self._waitingForTransport and len(self._buffer) <= 2 * MAX_HEAD_BYTES
            case State.RUNNING:
                wanted = len(self._buffer) <= PIPELINED_BYTES
            case _:
                wanted = True
        if wanted is not self._reading and self._state is not State.CLOSING:
            self._reading = wanted
            if wanted:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    # Responses out

    def writeHeaders(  # noqa: N802
        self, version: bytes, code: bytes, reason: bytes, headers: Headers
    ) -> None:
        """Write the head of a response whose content follows piece by piece."""
        self.transport.write(self._head(b"%b %b %b" % (version, code, reason), headers, b""))

    def is_answering(self, request: TwistedRequest) -> bool:
        """Whether this request is the one under way, so that it may be answered."""
        return bool(self.requests) and self.requests[0] is request

    def send_answer(
        self, request: "Request", content_type: bytes | None, length: int | None, content: bytes
    ) -> None:
        """Write a whole response at once."""
        described = b"" if length is None else b"Content-Length: %d\r\n" % length
        if content_type is not None:
            described = b"Content-Type: %b\r\n%b" % (content_type, described)
        line = b"%b %d %b" % (request.clientproto, request.code, request.code_message)
        self.transport.write(self._head(line, request.responseHeaders, described) + content)

    def _head(self, line: bytes, headers: Headers, described: bytes) -> bytes:
        """A response's head. Here it is decided whether the connection goes on."""
        if self._state is State.BODY and not self._rest_is_small():
            self.persistent = False
        if not self.persistent:
            headers.setRawHeaders(b"Connection", [b"close"])
        lines = b"".join(
            [
                b"%b: %b\r\n" % (name, value)
                for name, values in headers.getAllRawHeaders()
                for value in values
            ]
        )
        return b"%b\r\n%b%b%bX-Request-ID: %b\r\n\r\n" % (
            line,
            self.site.common_headers(),
            lines,
            described,
            self.requests[0].request_id.encode(),
        )

    def requestDone(self, request: TwistedRequest) -> None:  # noqa: N802
        """The response is finished: go on with the next request, or close."""
        if not self.is_answering(request):
            raise RuntimeError("only the request under way can be done")
        self.requests.clear()
        if self._state is State.BODY:
            self._state = State.DRAINING
            self._drained_bytes = 0
            self._deadline.set(DRAIN_SECONDS)
            if not self.persistent:
                self._end_writing()
            self._choose_reading()
        elif not self.persistent:
            self.loseConnection()
        elif self._state is State.RUNNING:
            self._state = State.HEAD
            self._advance()

    def _rest_is_small(self) -> bool:
        return (
            self._decoder is None
            and not self._continue_due
            and not self._body.is_failed
            and self._left <= SMALL_REST_BYTES
        )

    def _end_writing(self) -> None:
        # Closing with unread bytes in the socket would reset the connection and take the response
        # with it: say that nothing more comes, and let the client see it.
        transport = self.transport
        if _is_tcp(transport) and not self.isSecure():
            transport.unregisterProducer()
            transport.loseWriteConnection()

    def _refuse_head(self, failure: Failure) -> None:
        request_id = self.site.next_request_id()
        status = status_of(failure)
        document = msgspec.json.encode(problem_of(failure, request_id))
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%bConnection: close\r\nContent-Type: %b\r\n"
            b"Content-Length: %d\r\nX-Request-ID: %b\r\n\r\n%b"
            % (
                status,
                RESPONSES.get(status, b"Refused"),
                self.site.common_headers(),
                PROBLEM_JSON.encode(),
                len(document),
                request_id.encode(),
                document,
            )
        )
        self._buffer = b""
        self.loseConnection()

    # Back-pressure

    @property
    def is_blocked(self) -> bool:
        """Whether the client is behind with taking what was written."""
        return bool(self._waitingForTransport)

    def unblocked(self) -> Deferred[None]:
        """Fires when more should be written; fails with ClientGone. For one writer."""
        self._unblocked = Deferred()
        return self._unblocked

    def pauseProducing(self) -> None:  # noqa: N802
        """The transport has enough to write."""
        self._waitingForTransport = True
        if self._requestProducer is not None:
            self._requestProducer.pauseProducing()
        if self._state in {State.BODY, State.RUNNING}:
            self._deadline.set(STALL_SECONDS)
        self._choose_reading()

    def resumeProducing(self) -> None:  # noqa: N802
        """The transport has written everything."""
        self._waitingForTransport = False
        if self._state in {State.BODY, State.RUNNING}:
            self._deadline.clear()
        if self._requestProducer is not None:
            self._requestProducer.resumeProducing()
        unblocked, self._unblocked = self._unblocked, None
        if unblocked is not None and not unblocked.called:
            unblocked.callback(None)
        if self._state is State.HEAD and self._buffer:
            self._advance()
        self._choose_reading()

    def _too_slow(self) -> None:
        match self._state:
            case State.HEAD if self._head_begun:
                self._refuse_head(RequestTimeout())
            case State.HEAD | State.DRAINING:
                self.loseConnection()
            case _:
                self.abort()

    # WebSockets

    def _protocolUpgradeForWebsockets(self, protocol: IProtocol) -> None:  # noqa: N802
        """Hand the connection over; what the client has sent already goes with it."""
        self._state = State.UPGRADED
        self._deadline.stop()
        self.transport.unregisterProducer()
        self.site.disconnected(self)
        arrived, self._buffer = self._buffer, b""
        super()._protocolUpgradeForWebsockets(protocol)
        if arrived:
            self.site.clock.callLater(0, protocol.dataReceived, arrived)


def _is_tcp(transport: Any) -> bool:  # noqa: ANN401  a transport of any kind
    return bool(ITCPTransport.providedBy(transport))
