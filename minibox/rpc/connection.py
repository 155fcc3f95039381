"""One connection: the handshake, then many calls in flight both ways.

Frames after the handshake: ``[CALL, id, method, message]`` and a body; ``[ANSWER, id, message]``
and a body, or ``[FAILURE, id, code, fields]``; ``[CANCEL, id]`` when the caller gives up;
``[ALIVE, 0]`` from a side that has written nothing for a while, so that silence means a dead peer
or a cut network and never a slow handler. Each side counts the ids of its own calls from 1.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from minibox.codec import R, Record, decode, encode
from minibox.errors import (
    BadFrame,
    CallTimeout,
    Failure,
    HandshakeFailed,
    TooLarge,
    Unreachable,
    failure_from,
)
from minibox.rpc.frames import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    Body,
    FrameReader,
    FrameType,
    Part,
    pack_header,
)
from minibox.rpc.handshake import MAX_HELLO_BYTES, Handshake, refusal
from minibox.rpc.methods import Answer, Caller, Identity, Method
from minibox.rpc.outbox import TRANSPORT_BYTES, Outbox, Outgoing
from minibox.rpc.served import ServedCalls
from minibox.world import Clock

HANDSHAKE_SECONDS = 5.0
ALIVE_SECONDS = 5.0
SILENCE_SECONDS = 15.0
CLOSE_SECONDS = 2.0

_log = Logger()


@dataclass(eq=False, slots=True)
class _Pending:
    """A call of ours that has no answer yet."""

    method: str
    waiting: Deferred[tuple[bytes, Body]]
    timer: IDelayedCall
    outgoing: Outgoing


class Connection(Protocol):
    """Either end of a connection.

    ``established`` fires with the peer's identity, or fails with HandshakeFailed or Unreachable;
    from then on :meth:`call` works and ``methods`` are served, until it is lost.
    """

    def __init__(
        self,
        clock: Clock,
        handshake: Handshake,
        methods: Iterable[Method] = (),
    ) -> None:
        self.established: Deferred[Identity] = Deferred(lambda _: self._abort("given up"))
        self.peer = Identity("guest", "")
        self._clock = clock
        self._handshake = handshake
        self._methods = {method.name: method for method in methods}
        self.on_lost: Callable[[Connection], None] | None = None
        self._reader = FrameReader(MAX_HELLO_BYTES, 0)
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0
        self._outbox: Outbox | None = None
        self._served: ServedCalls | None = None
        self._timer: IDelayedCall | None = None
        self._reading = True
        self._heard_at = clock.seconds()
        self._written_frames = 0
        self._ending: Failure | None = None
        self._lost = False
        self._closing: list[Deferred[None]] = []

    @property
    def usable(self) -> bool:
        """Calls can be made."""
        return self._outbox is not None and self._ending is None

    @property
    def calls_in_flight(self) -> int:
        """Calls of this side that wait for their answers."""
        return len(self._pending)

    async def call(
        self,
        method: str,
        message: Record,
        answer: type[R],
        body: Sequence[Part] = (),
        *,
        deadline: float,
    ) -> Answer[R]:
        """Ask the other side; wait at most ``deadline`` seconds.

        Raises the very Failure that the other side's handler raised, or CallTimeout, or Unreachable
        (then it is not known whether the call was carried out), TooLarge, BadRecord. Cancelling
        tells the other side to stop. ``body`` must not change until the answer is there.
        """
        if self._outbox is None or self._ending is not None:
            raise self._ending or Unreachable(peer=self._label(), reason="not connected")
        call_id = self._last_id + 1
        header = pack_header([FrameType.CALL, call_id, method, encode(message)])
        if len(header) > MAX_HEADER_BYTES:
            raise TooLarge(limit=MAX_HEADER_BYTES)
        if body and sum(map(len, body)) > MAX_BODY_BYTES:
            raise TooLarge(limit=MAX_BODY_BYTES)
        self._last_id = call_id
        waiting: Deferred[tuple[bytes, Body]] = Deferred(lambda _: self._give_up(call_id))
        timer = self._clock.callLater(max(0.0, deadline), self._expire, call_id)
        outgoing = self._outbox.send(header, body)
        self._pending[call_id] = _Pending(method, waiting, timer, outgoing)
        packed, received = await waiting
        return Answer(decode(answer, packed), received)

    async def close(self) -> None:
        """End the connection; calls in flight fail with Unreachable. Returns when it is gone."""
        if self._lost:
            return
        gone: Deferred[None] = Deferred()
        self._closing.append(gone)
        if self._ending is None:
            self._end(Unreachable(peer=self._label(), reason="the connection was closed here"))
            if self.transport is not None:
                self.transport.loseConnection()
            self._set_timer(CLOSE_SECONDS, self._abort_transport)
        await gone

    async def drain(self) -> None:
        """Take no more calls; returns when those that run are answered."""
        if self._served is not None and self._ending is None:
            self._served.refuse_new()
            await self._served.idle()

    # Twisted's side

    def connectionMade(self) -> None:  # noqa: N802
        """There are bytes now: begin the handshake."""
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        for limit in ("bufferSize", "SEND_LIMIT"):
            if hasattr(transport, limit):
                setattr(transport, limit, TRANSPORT_BYTES)
        self._heard_at = self._clock.seconds()
        self._set_timer(HANDSHAKE_SECONDS, self._handshake_too_slow)
        self._write(self._handshake.opening())

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Twisted has read; carry out each frame that is complete."""
        self._heard_at = self._clock.seconds()
        try:
            for header, body in self._reader.feed(data):
                if self._served is None:
                    self._shake_hands(header)
                else:
                    self._receive(self._served, header, body)
                if self._ending is not None:
                    return
        except HandshakeFailed as problem:
            self._write(refusal(problem.reason))
            self._break("A handshake failed: {reason} ({peer})", problem)
        except BadFrame as problem:
            self._break("A peer broke the frame protocol: {reason} ({peer})", problem)

    def connectionLost(self, reason: TwistedFailure = connectionDone) -> None:  # noqa: N802
        """The transport is gone."""
        self._lost = True
        self._end(Unreachable(peer=self._label(), reason=reason.getErrorMessage()))
        self._set_timer(0, None)
        if self.on_lost is not None:
            self.on_lost(self)
        closing, self._closing = self._closing, []
        for each in closing:
            each.callback(None)

    # The handshake

    def _shake_hands(self, header: Sequence[Any]) -> None:
        self._write(self._handshake.receive(header))
        if not self._handshake.done:
            return
        self.peer = self._handshake.peer
        self._reader.max_header_bytes = MAX_HEADER_BYTES
        self._reader.max_body_bytes = MAX_BODY_BYTES
        self._outbox = Outbox(self.transport)  # type: ignore[arg-type]
        caller = Caller(self.peer, _address(self.transport))
        self._served = ServedCalls(self._methods, caller, self._outbox.send, self._set_reading)
        self._set_timer(ALIVE_SECONDS, self._watch)
        self.established.callback(self.peer)

    def _handshake_too_slow(self) -> None:
        self._timer = None
        failure = HandshakeFailed(reason=f"nothing proved within {HANDSHAKE_SECONDS:g} s")
        self._break("A handshake failed: {reason} ({peer})", failure)

    # Frames

    def _receive(self, served: ServedCalls, header: Sequence[Any], body: Body) -> None:
        match header:
            case [FrameType.ANSWER, int(call_id), bytes(packed)]:
                pending = self._take_pending(call_id)
                if pending is not None:
                    pending.waiting.callback((packed, body))
            case [FrameType.CALL, int(call_id), str(method), bytes(packed)]:
                served.begin(call_id, method, packed, body)
            case [FrameType.FAILURE, int(call_id), str(code), dict(fields)]:
                pending = self._take_pending(call_id)
                if pending is not None:
                    pending.waiting.errback(_failure(code, fields))
            case [FrameType.CANCEL, int(call_id)]:
                served.cancel(call_id)
            case [FrameType.ALIVE, 0]:
                pass
            case _:
                raise BadFrame(reason="a header of an unknown shape")

    def _take_pending(self, call_id: int) -> _Pending | None:
        """The call that is answered now; None if it was given up."""
        if not 0 < call_id <= self._last_id:
            raise BadFrame(reason=f"an answer to call {call_id}, which was never made")
        pending = self._pending.pop(call_id, None)
        if pending is not None:
            pending.timer.cancel()
            pending.outgoing.withdraw()
        return pending

    # Calls that end without an answer

    def _give_up(self, call_id: int) -> None:
        pending = self._pending.pop(call_id, None)
        if pending is None:
            return
        if pending.timer.active():
            pending.timer.cancel()
        if not pending.outgoing.withdraw() and self._outbox is not None:
            self._outbox.send(pack_header([FrameType.CANCEL, call_id]))

    def _expire(self, call_id: int) -> None:
        pending = self._pending.get(call_id)
        if pending is not None:
            self._give_up(call_id)
            pending.waiting.errback(CallTimeout(method=pending.method))

    # Silence

    def _watch(self) -> None:
        """Say that we live if we were silent; leave if they were.

        Who reads nothing because he is busy with what he has read says it too, so he is not taken
        for dead.
        """
        self._timer = None
        now = self._clock.seconds()
        if not self._reading:
            self._heard_at = now
        elif now - self._heard_at >= SILENCE_SECONDS:
            failure = Unreachable(peer=self._label(), reason=f"silent for {SILENCE_SECONDS:g} s")
            self._break("A peer fell silent: {reason} ({peer})", failure)
            return
        outbox = self._outbox
        if outbox is not None:
            if outbox.written_frames == self._written_frames and not outbox.congested:
                outbox.send(pack_header([FrameType.ALIVE, 0]))
            self._written_frames = outbox.written_frames
        self._set_timer(ALIVE_SECONDS, self._watch)

    # Ends

    def _break(self, event: str, failure: BadFrame | HandshakeFailed | Unreachable) -> None:
        _log.warn(event, reason=failure.reason, peer=self._label())
        self._end(failure)
        if isinstance(failure, HandshakeFailed) and self.transport is not None:
            self.transport.loseConnection()  # the refusal is to arrive
            self._set_timer(CLOSE_SECONDS, self._abort_transport)
        else:
            self._abort_transport()

    def _abort(self, reason: str) -> None:
        self._end(Unreachable(peer=self._label(), reason=reason))
        self._abort_transport()

    def _end(self, failure: BadFrame | HandshakeFailed | Unreachable) -> None:
        """No more calls, either way; each of ours fails with Unreachable. Happens once."""
        if self._ending is not None:
            return
        match failure:
            case Unreachable():
                lost = failure
            case BadFrame() | HandshakeFailed():
                lost = Unreachable(peer=self._label(), reason=str(failure))
            case _:
                assert_never(failure)
        self._ending = lost
        self._set_timer(0, None)
        if self._outbox is not None:
            self._outbox.close()
        if self._served is not None:
            self._served.end()
        pending, self._pending = self._pending, {}
        for each in pending.values():
            each.timer.cancel()
            each.waiting.errback(Unreachable(peer=lost.peer, reason=lost.reason))
        if not self.established.called:
            self.established.errback(failure)

    def _abort_transport(self) -> None:
        if self.transport is not None and not self._lost:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def _set_timer(self, seconds: float, function: Callable[[], None] | None) -> None:
        """A connection waits for one thing at a time: its handshake, silence or its end."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if function is None else self._clock.callLater(seconds, function)

    def _set_reading(self, reading: bool) -> None:  # noqa: FBT001
        self._reading = reading
        self._heard_at = self._clock.seconds()
        transport: Any = self.transport
        if transport is not None and not self._lost:
            (transport.resumeProducing if reading else transport.pauseProducing)()

    def _write(self, packed: bytes) -> None:
        if packed and self.transport is not None:
            self.transport.write(packed)

    def _label(self) -> str:
        if self.peer.name:
            return self.peer.name
        return _address(self.transport)


def _failure(code: str, fields: dict[Any, Any]) -> Failure:
    try:
        return failure_from(code, fields)
    except Failure as problem:
        return problem


def _address(transport: Any) -> str:  # noqa: ANN401 - what Twisted gives
    if transport is None:
        return "the peer"
    peer = transport.getPeer()
    if isinstance(peer, IPv4Address | IPv6Address):
        return f"{peer.host}:{peer.port}"
    return str(peer)
