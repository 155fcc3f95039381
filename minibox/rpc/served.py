"""The calls that the other side has made: which run, which wait, what they hold.

At most MAX_RUNNING calls and about MAX_HELD_BYTES of bodies are being handled for one connection.
Above that, calls that are already read wait in order and the connection is no longer read, until
there is room. A call holds its place until its answer has been handed to the transport, so a caller
who doesn't read his answers stops being served.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from minibox.codec import Record, decode, encode
from minibox.errors import BadFrame, BadRecord, Failure, Internal, UnknownMethod, Unreachable
from minibox.rpc.frames import (
    EMPTY,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    Body,
    FrameType,
    Part,
    pack_header,
)
from minibox.rpc.methods import Caller, Method, Reply

MAX_RUNNING = 256
MAX_HELD_BYTES = 32 * 1024 * 1024

_log = Logger()

Send = Callable[[bytes, Sequence[Part], Callable[[], None]], object]


@dataclass(eq=False, slots=True)
class _Served:
    id: int
    method: Method | None
    message: Record | None
    refusal: Failure | None
    body: Body
    held_bytes: int
    running: Deferred[None] | None = None
    given_up: bool = False


@dataclass(eq=False)
class ServedCalls:
    """Runs handlers for one connection. ``set_reading`` stops and resumes the transport."""

    methods: Mapping[str, Method]
    caller: Caller
    send: Send
    set_reading: Callable[[bool], None]
    _running: dict[int, _Served] = field(default_factory=dict)
    _waiting: dict[int, _Served] = field(default_factory=dict)
    _held_bytes: int = 0
    _reading: bool = True
    _starting: bool = False
    _stopping: bool = False
    _ended: bool = False
    _idle: list[Deferred[None]] = field(default_factory=list)

    def begin(self, call_id: int, name: str, packed: bytes, body: Body) -> None:
        """Take a call that has arrived. Raises BadFrame if its id is in use."""
        if call_id in self._running or call_id in self._waiting:
            raise BadFrame(reason=f"call {call_id} was made twice")
        call = self._understand(call_id, name, packed, body)
        if self._has_room(call) and not self._waiting:
            self._start(call)
        else:
            self._waiting[call_id] = call
        self._adjust_reading()

    def cancel(self, call_id: int) -> None:
        """The caller no longer wants the answer."""
        if self._waiting.pop(call_id, None) is not None:
            self._adjust_reading()
            return
        call = self._running.get(call_id)
        if call is not None:
            call.given_up = True
            if call.running is not None:
                call.running.cancel()

    def refuse_new(self) -> None:
        """From now on calls are answered with Unreachable; those that run go on."""
        self._stopping = True

    async def idle(self) -> None:
        """Returns when no call runs or waits."""
        if self._running or self._waiting:
            waiting: Deferred[None] = Deferred()
            self._idle.append(waiting)
            await waiting

    def end(self) -> None:
        """The connection is gone: cancel everything."""
        self._ended = True
        self._waiting.clear()
        for call in list(self._running.values()):
            self.cancel(call.id)
            self._leave(call)

    def _understand(self, call_id: int, name: str, packed: bytes, body: Body) -> _Served:
        """Who may not call, or sends what isn't understood, holds a place too, for the refusal."""
        method = self.methods.get(name)
        if self._stopping:
            refusal: Failure = Unreachable(peer=name, reason="the process is stopping")
        elif method is None or self.caller.identity.role not in method.roles:
            refusal = UnknownMethod(method=name)
        else:
            try:
                message = decode(method.takes, packed)
                held_bytes = len(body) + method.answer_bytes(message)
            except BadRecord as problem:
                refusal = problem
            else:
                return _Served(call_id, method, message, None, body, held_bytes)
        return _Served(call_id, None, None, refusal, EMPTY, 0)

    def _has_room(self, call: _Served) -> bool:
        if not self._running:
            return True
        fits = self._held_bytes + call.held_bytes <= MAX_HELD_BYTES
        return fits and len(self._running) < MAX_RUNNING

    def _start(self, call: _Served) -> None:
        self._running[call.id] = call
        self._held_bytes += call.held_bytes
        call.running = Deferred.fromCoroutine(self._serve(call))

    async def _serve(self, call: _Served) -> None:
        try:
            header, body = await self._answer(call)
        except Failure as failure:
            header, body = self._refusal(call, failure), ()
        except CancelledError:
            if call.given_up:
                self._leave(call)
                return
            header, body = self._refusal(call, self._blame(call)), ()
        except Exception:  # noqa: BLE001 - a handler's bug is logged and answered
            header, body = self._refusal(call, self._blame(call)), ()
        call.body = EMPTY
        if not self._ended:
            self._hold(call, sum(map(len, body)))
            self.send(header, body, lambda: self._leave(call))

    async def _answer(self, call: _Served) -> tuple[bytes, Sequence[Part]]:
        reply = await self._run(call)
        header = pack_header([FrameType.ANSWER, call.id, encode(reply.message)])
        if len(header) > MAX_HEADER_BYTES or sum(map(len, reply.body)) > MAX_BODY_BYTES:
            raise ValueError("an answer above the limits of a frame")
        return header, reply.body

    def _refusal(self, call: _Served, failure: Failure) -> bytes:
        header = pack_header([FrameType.FAILURE, call.id, failure.code, failure.fields()])
        if len(header) > MAX_HEADER_BYTES:
            return pack_header([FrameType.FAILURE, call.id, Internal.code, {}])
        return header

    async def _run(self, call: _Served) -> Reply:
        if call.refusal is not None or call.method is None:
            raise call.refusal or UnknownMethod(method="")
        return await call.method.handler(self.caller, call.message, call.body)

    def _blame(self, call: _Served) -> Internal:
        request_id = f"{self.caller.identity.name}-{call.id}"
        _log.failure(
            "A handler failed: {method} for {peer} ({request_id})",
            method=call.method.name if call.method else "",
            peer=self.caller.identity.name,
            request_id=request_id,
        )
        return Internal(request_id=request_id)

    def _hold(self, call: _Served, held_bytes: int) -> None:
        self._held_bytes += held_bytes - call.held_bytes
        call.held_bytes = held_bytes

    def _leave(self, call: _Served) -> None:
        if self._running.pop(call.id, None) is None:
            return
        self._held_bytes -= call.held_bytes
        self._start_waiting()
        self._adjust_reading()
        if not self._running and not self._waiting:
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)

    def _start_waiting(self) -> None:
        """Fill the room there is.

        A call that ends while it is being started leaves its place to the running loop: else a
        thousand of them would be a thousand frames deep.
        """
        if self._starting:
            return
        self._starting = True
        while self._waiting and not self._ended:
            first = next(iter(self._waiting.values()))
            if not self._has_room(first):
                break
            del self._waiting[first.id]
            self._start(first)
        self._starting = False

    def _adjust_reading(self) -> None:
        full = len(self._running) >= MAX_RUNNING or self._held_bytes >= MAX_HELD_BYTES
        reading = not full and not self._waiting
        if reading != self._reading and not self._ended:
            self._reading = reading
            self.set_reading(reading)
