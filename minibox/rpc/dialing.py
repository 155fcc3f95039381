"""A lasting way to one peer: connects when first asked, and again whenever it is lost."""

import math
from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from minibox.codec import R, Record
from minibox.errors import CallTimeout, Unreachable
from minibox.rpc.connection import Connection
from minibox.rpc.frames import Part
from minibox.rpc.handshake import NONCE_BYTES, Handshake
from minibox.rpc.methods import Answer, Identity, Method
from minibox.services import jittered
from minibox.world import World, sleep

CONNECT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 1.0

_log = Logger()


class Dialer:
    """Calls to whoever listens on ``description``, over up to ``connections`` connections.

    From the first call until :meth:`close` it tries to stay connected: a lost connection is made
    anew at once, then at growing intervals of at most a second. A call waits while an attempt is
    being made and fails at once between two attempts, so who has another peer to ask goes there.
    """

    def __init__(
        self,
        world: World,
        description: str,
        identity: Identity,
        key: bytes | None,
        *,
        cluster: str = "",
        expected_name: str | None = None,
        methods: Iterable[Method] = (),
        connections: int = 1,
    ) -> None:
        self._clock = world.clock
        label = expected_name or description
        methods = tuple(methods)

        def connect() -> Connection:
            nonce = world.random_bytes(NONCE_BYTES)
            handshake = Handshake(
                "dialer", identity, key, nonce, cluster=cluster, expected_name=expected_name
            )
            return Connection(world.clock, handshake, methods)

        self._lines = [_Line(world, description, label, connect) for _ in range(connections)]

    @property
    def connected(self) -> bool:
        """Whether a call could be sent now."""
        return any(line.connection is not None for line in self._lines)

    async def call(
        self,
        method: str,
        message: Record,
        answer: type[R],
        body: Sequence[Part] = (),
        *,
        deadline: float,
    ) -> Answer[R]:
        """As :meth:`Connection.call`; the ``deadline`` seconds include connecting."""
        began = self._clock.seconds()
        line = min(self._lines, key=_Line.load)
        connection = line.connection or await line.connect(method, deadline)
        left = deadline - (self._clock.seconds() - began)
        return await connection.call(method, message, answer, body, deadline=left)

    async def close(self) -> None:
        """End the connections; from now on calls fail with Unreachable."""
        for line in self._lines:
            await line.close()


class _Line:
    """One connection that is kept: there, or being made, or to be made again after a pause."""

    def __init__(
        self, world: World, description: str, label: str, make: Callable[[], Connection]
    ) -> None:
        self._clock = world.clock
        self._endpoint = world.endpoints.to_connect(description)
        self._label = label
        self._make = make
        self._jittered = jittered(world.random_bytes, 0.5)
        self._connection: Connection | None = None
        self._attempting = False
        self._keeping: Deferred[None] | None = None
        self._waiting: list[Deferred[Connection]] = []
        self._reason = "not connected"
        self._closed = False

    @property
    def connection(self) -> Connection | None:
        """The connection, if calls can be made on it."""
        connection = self._connection
        return connection if connection is not None and connection.usable else None

    def load(self) -> float:
        """How little it suits for the next call: idle, to be made, busy, failing."""
        connection = self.connection
        if connection is not None:
            return connection.calls_in_flight
        pausing = self._keeping is not None and not self._attempting
        return math.inf if pausing else 0.5

    async def connect(self, method: str, deadline: float) -> Connection:
        """The connection as soon as it is made. Raises Unreachable, or CallTimeout."""
        pausing = self._keeping is not None and not self._attempting
        if self._closed or pausing:
            raise Unreachable(peer=self._label, reason=self._reason)
        waiting: Deferred[Connection] = Deferred()
        self._waiting.append(waiting)
        if self._keeping is None:
            self._attempting = True
            self._keeping = Deferred.fromCoroutine(self._keep())
            self._keeping.addErrback(self._kept)
        waiting.addTimeout(max(0.0, deadline), self._clock)  # type: ignore[arg-type]
        try:
            return await waiting
        except DeferredTimeoutError as problem:
            raise CallTimeout(method=method) from problem
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def close(self) -> None:
        self._closed = True
        self._reason = "the connection was closed here"
        if self._keeping is not None:
            self._keeping.cancel()
        self._refuse_waiting()
        if self._connection is not None:
            await self._connection.close()

    async def _keep(self) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            self._attempting = True
            began = self._clock.seconds()
            try:
                await self._hold()
            except Unreachable as problem:
                self._note(problem)
            self._attempting = False
            self._refuse_waiting()
            if self._clock.seconds() - began > MAX_PAUSE_SECONDS:
                pause_seconds = FIRST_PAUSE_SECONDS
            await sleep(self._clock, self._jittered(pause_seconds))
            pause_seconds = min(2 * pause_seconds, MAX_PAUSE_SECONDS)

    async def _hold(self) -> None:
        """Connect, and return when the connection is lost."""
        lost: Deferred[None] = Deferred()
        connection = self._make()
        connection.on_lost = lambda _: lost.callback(None)
        connecting = self._endpoint.connect(_ThisOne(connection))
        connecting.addTimeout(CONNECT_SECONDS, self._clock)  # type: ignore[arg-type]
        try:
            await connecting
            await connection.established
        except CancelledError:
            raise
        except Exception as problem:
            reason = str(problem) or type(problem).__name__
            raise Unreachable(peer=self._label, reason=reason) from problem
        self._connection = connection
        self._attempting = False
        self._reason = "the connection was lost"
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(connection)
        await lost

    def _note(self, problem: Unreachable) -> None:
        if problem.reason != self._reason:
            self._reason = problem.reason
            _log.info("{peer} can't be reached: {reason}", peer=self._label, reason=problem.reason)

    def _refuse_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(Unreachable(peer=self._label, reason=self._reason))

    def _kept(self, failure: TwistedFailure) -> None:
        """Cancelled by close; anything else is a bug, and no call may hang on it."""
        self._closed = True
        self._refuse_waiting()
        if not isinstance(failure.value, CancelledError):
            _log.failure("A dialer stopped: {peer}", failure, peer=self._label)


class _ThisOne(Factory):
    noisy = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> Connection:  # noqa: ARG002, N802
        return self._connection
