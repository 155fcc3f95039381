"""The side that others connect to."""

from collections.abc import Iterable

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from minibox.errors import HandshakeFailed, Unreachable
from minibox.rpc.connection import Connection
from minibox.rpc.handshake import NONCE_BYTES, Handshake
from minibox.rpc.methods import Identity, Method
from minibox.services import Listener, listen
from minibox.world import World

MAX_CONNECTIONS = 1000
DRAIN_SECONDS = 5.0

_log = Logger()


async def serve(
    world: World,
    description: str,
    identity: Identity,
    key: bytes,
    methods: Iterable[Method],
    *,
    cluster: str = "",
) -> "Listening":
    """Offer ``methods`` on the endpoint ``description``. Raises PortTaken."""
    acceptor = _Acceptor(world, identity, key, tuple(methods), cluster)
    listener = await listen(world.endpoints, description, acceptor)
    return Listening(world, listener, acceptor)


class Listening:
    """An open door; :meth:`stop` closes it."""

    def __init__(self, world: World, listener: Listener, acceptor: "_Acceptor") -> None:
        self._clock = world.clock
        self._listener = listener
        self._acceptor = acceptor

    @property
    def port(self) -> int:
        """The TCP port in use; 0 where there is none."""
        return self._listener.port

    @property
    def connections(self) -> list[Connection]:
        """Those that are open now, in the order in which they came."""
        return list(self._acceptor.connections)

    async def stop(self) -> None:
        """Listen no more, let the calls that run end (at most DRAIN_SECONDS), then close all."""
        await self._listener.stop()
        draining = [Deferred.fromCoroutine(each.drain()) for each in self.connections]
        drained = DeferredList(draining, consumeErrors=True)
        timer = self._clock.callLater(DRAIN_SECONDS, _cancel_all, draining)
        await drained
        if timer.active():
            timer.cancel()
        closing = [Deferred.fromCoroutine(each.close()) for each in self.connections]
        for each in closing:
            await each


def _cancel_all(waiting: list[Deferred[None]]) -> None:
    for each in waiting:
        each.cancel()


class _Acceptor(Factory):
    noisy = False

    def __init__(
        self,
        world: World,
        identity: Identity,
        key: bytes,
        methods: tuple[Method, ...],
        cluster: str,
    ) -> None:
        self._world = world
        self._identity = identity
        self._key = key
        self._methods = methods
        self._cluster = cluster
        self.connections: dict[Connection, None] = {}

    def buildProtocol(  # noqa: N802
        self,
        addr: IAddress | None,  # noqa: ARG002
    ) -> Connection | None:
        if len(self.connections) >= MAX_CONNECTIONS:
            _log.warn("Refused a connection: {open} are open", open=len(self.connections))
            return None
        nonce = self._world.random_bytes(NONCE_BYTES)
        handshake = Handshake("acceptor", self._identity, self._key, nonce, cluster=self._cluster)
        connection = Connection(self._world.clock, handshake, self._methods)
        connection.on_lost = self._forget
        connection.established.addErrback(_already_logged)
        self.connections[connection] = None
        return connection

    def _forget(self, connection: Connection) -> None:
        self.connections.pop(connection, None)


def _already_logged(failure: TwistedFailure) -> None:
    failure.trap(HandshakeFailed, Unreachable)  # type: ignore[no-untyped-call]
