"""A network in memory: machines, ports, connections, and everything that can go wrong with them."""

from random import Random

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionRefusedError,  # noqa: A004 - Twisted's name for it
)
from twisted.internet.error import TimeoutError as TwistedTimeoutError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from minibox import endpoint_strings
from minibox.simulation.transport import SimulatedTransport
from minibox.simulation.wire import Record, Wire, _unrecorded
from minibox.world import Clock

CONNECT_TIMEOUT_SECONDS = 30.0
CONNECT_RETRY_SECONDS = 1.0
_FIRST_EPHEMERAL_PORT = 49152

Address = tuple[str, int]
"""Interface and port; a Unix socket is its path and 0."""


class Network:
    """Machines are known by name; addresses are those of the endpoint strings, one space for all.

    Connections behave as TCP's: in order, late, silent while cut and made up for when healed, ended
    after GIVE_UP_SECONDS of a cut. ``record`` is told of each event, for comparing traces.
    """

    def __init__(
        self,
        clock: Clock,
        random: Random,
        bytes_per_second: float = 0.0,
        record: Record = _unrecorded,
    ) -> None:
        self.wire = Wire(clock, random, bytes_per_second, record)
        self._ports: dict[Address, SimulatedPort] = {}
        self._transports: dict[SimulatedTransport, None] = {}
        self._attempts: dict[_Attempt, None] = {}
        self._refusing: set[str] = set()
        self._next_port = _FIRST_EPHEMERAL_PORT
        self._connections = 0

    # Faults

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """What ``a`` sends to ``b`` vanishes, and the other way too unless ``one_way``."""
        self.wire.record("cut", a, b, one_way)
        self.wire.cut((a, b))
        if not one_way:
            self.wire.cut((b, a))

    def heal(self, a: str, b: str) -> None:
        """Both ways work again between ``a`` and ``b``."""
        self.wire.record("heal", a, b)
        self.wire.heal((a, b))
        self.wire.heal((b, a))
        for transport in list(self._transports):
            if {transport.machine, transport.out.receiver.machine} == {a, b}:
                transport.out.heal()
                transport.look_for_room()

    def heal_all(self) -> None:
        """No way is cut."""
        for a, b in self.wire.cuts():
            self.heal(a, b)

    def refuse(self, machine: str, *, refused: bool = True) -> None:
        """New connections to ``machine`` are refused, as if nothing listened."""
        if refused:
            self._refusing.add(machine)
        else:
            self._refusing.discard(machine)

    def slow(self, a: str, b: str, seconds: float) -> None:
        """Packets from ``a`` to ``b`` take so much longer; 0 ends it."""
        self.wire.slow((a, b), seconds)

    def reset(self, a: str, b: str) -> None:
        """Each connection between ``a`` and ``b`` is reset; both ends are told."""
        self.wire.record("reset", a, b)
        for transport in list(self._transports):
            if (transport.machine, transport.out.receiver.machine) in ((a, b), (b, a)):
                transport.reset()

    def crash(self, machine: str) -> None:
        """The processes of ``machine`` are gone.

        Their protocols hear nothing more, their ports are free, the other ends of their connections
        are reset.
        """
        self.wire.record("crash", machine)
        self._ports = {at: port for at, port in self._ports.items() if port.machine != machine}
        for attempt in list(self._attempts):
            if attempt.machine == machine:
                attempt.vanish()
        for transport in list(self._transports):
            if transport.machine == machine:
                transport.vanish()

    # What endpoints call

    def listen(self, machine: str, address: Address, factory: IProtocolFactory) -> "SimulatedPort":
        """Open a port. Raises CannotListenError."""
        interface, number = address
        if not number and not interface.startswith("/"):
            number = self._ephemeral_port()
        if self._port_at(interface, number) is not None:
            taken = OSError("Address already in use")
            raise CannotListenError(interface, number, taken)  # type: ignore[no-untyped-call]
        port = SimulatedPort(self, machine, (interface, number), factory)
        self._ports[interface, number] = port
        factory.doStart()
        return port

    def close(self, address: Address, port: "SimulatedPort") -> None:
        """Close a port, unless another has taken its place."""
        if self._ports.get(address) is port:
            del self._ports[address]
            port.factory.doStop()

    def connect(
        self, machine: str, address: Address, factory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        """As Twisted's client endpoints do, with their failures."""
        attempt = _Attempt(self, machine, address, factory)
        self._attempts[attempt] = None
        return attempt.connected

    def over(self, attempt: "_Attempt") -> None:
        """The attempt has succeeded or failed."""
        self._attempts.pop(attempt, None)

    def reached(self, machine: str, address: Address) -> "SimulatedPort | None":
        """Who listens there for callers from ``machine``; None while the way there or back is cut.

        Raises ConnectionRefusedError.
        """
        port = self._port_at(*address)
        if port is None or port.machine in self._refusing:
            raise ConnectionRefusedError
        there, back = (machine, port.machine), (port.machine, machine)
        return None if self.wire.is_cut(there) or self.wire.is_cut(back) else port

    def join(self, machine: str, port: "SimulatedPort") -> SimulatedTransport:
        """Make both ends; the accepting one is live, the connecting one is returned."""
        self._connections += 1
        name = f"{machine}>{port.machine}#{self._connections}"
        here = IPv4Address("TCP", "127.0.0.1", self._ephemeral_port())
        client = SimulatedTransport(self.wire, machine, here, port.getHost(), f"{name} dialer")
        server = SimulatedTransport(
            self.wire, port.machine, port.getHost(), here, f"{name} acceptor"
        )
        client.out.receiver, server.out.receiver = server, client
        for transport in (client, server):
            self._transports[transport] = None
            transport.on_gone = lambda transport=transport: self._transports.pop(transport, None)
        return client

    def _port_at(self, interface: str, number: int) -> "SimulatedPort | None":
        for candidate in (interface, "", "0.0.0.0"):  # noqa: S104 - looked up, not bound
            port = self._ports.get((candidate, number))
            if port is not None:
                return port
        return None

    def _ephemeral_port(self) -> int:
        self._next_port += 1
        return self._next_port - 1


def _timed_out() -> TwistedTimeoutError:
    return TwistedTimeoutError()  # type: ignore[no-untyped-call]


class _Attempt:
    """One connection being made."""

    def __init__(
        self, network: Network, machine: str, address: Address, factory: IProtocolFactory
    ) -> None:
        self.connected: Deferred[IProtocol] = Deferred(lambda _: self._cancel())
        self.machine = machine
        self._network = network
        self._machine = machine
        self._address = address
        self._factory = factory
        self._over = False
        clock = network.wire.clock
        self._timeout = clock.callLater(CONNECT_TIMEOUT_SECONDS, self._fail, _timed_out())
        self._after_delay(self._arrive)

    def _arrive(self) -> None:
        if self._over:
            return
        try:
            port = self._network.reached(self._machine, self._address)
        except ConnectionRefusedError as refused:
            self._fail(refused)
            return
        if port is None:
            self._network.wire.clock.callLater(CONNECT_RETRY_SECONDS, self._arrive)
            return
        client = self._network.join(self._machine, port)
        server = client.out.receiver
        protocol = port.factory.buildProtocol(server.getPeer())
        due_seconds = self._network.wire.delay((port.machine, self._machine))
        server.out.hold_until(self._network.wire.clock.seconds() + due_seconds)
        self._network.wire.clock.callLater(due_seconds, self._answered, client)
        if protocol is None:
            server.vanish()
        else:
            server.protocol = protocol
            protocol.makeConnection(server)

    def _answered(self, client: SimulatedTransport) -> None:
        if self._over or not client.connected:
            client.vanish()
            return
        self.vanish()
        self._factory.doStart()
        protocol = self._factory.buildProtocol(client.getPeer())
        if protocol is None:
            client.vanish()
            self.connected.errback(ConnectionAborted())
            return
        client.protocol = protocol
        protocol.makeConnection(client)
        self.connected.callback(protocol)

    def vanish(self) -> None:
        """Who asked is gone, or has what was asked for: nothing more comes of it."""
        self._over = True
        self._network.over(self)
        if self._timeout.active():
            self._timeout.cancel()

    def _cancel(self) -> None:
        self.vanish()

    def _fail(self, problem: Exception) -> None:
        if not self._over:
            self.vanish()
            self.connected.errback(problem)

    def _after_delay(self, function: object) -> None:
        wire = self._network.wire
        wire.clock.callLater(wire.delay((self._machine, "")), function)  # type: ignore[arg-type]


@implementer(IListeningPort)
class SimulatedPort:
    """A port that is open."""

    def __init__(
        self, network: Network, machine: str, address: Address, factory: IProtocolFactory
    ) -> None:
        self._network = network
        self._address = address
        self.machine = machine
        self.factory = factory

    def startListening(self) -> None:  # noqa: N802
        """It listens from the beginning."""

    def stopListening(self) -> Deferred[None]:  # noqa: N802
        """Free the port; connections stay."""
        self._network.close(self._address, self)
        return succeed(None)

    def getHost(self) -> IPv4Address:  # noqa: N802
        """The address, with the port that was given out."""
        return IPv4Address("TCP", self._address[0] or "0.0.0.0", self._address[1])  # noqa: S104


class SimulatedEndpoints:
    """Satisfies :class:`minibox.world.Endpoints` for one machine: tcp and unix descriptions."""

    def __init__(self, network: Network, machine: str) -> None:
        self._network = network
        self._machine = machine

    def to_connect(self, description: str) -> IStreamClientEndpoint:
        """For a server or client description."""
        description = endpoint_strings.to_connect(description)
        kind, positional, named = endpoint_strings.parse(description)
        if kind == "unix":
            address = (named["path"], 0)
        elif kind == "tcp":
            host, port = [*positional, named.get("host", ""), named.get("port", "")][:2]
            address = (host, int(port or named["port"]))
        else:
            raise ValueError(f"{description!r} can't be simulated")
        return _ClientEndpoint(self._network, self._machine, address)

    def to_listen(self, description: str) -> IStreamServerEndpoint:
        """For a server description."""
        kind, positional, named = endpoint_strings.parse(description)
        if kind == "unix":
            address = (positional[0] if positional else named["address"], 0)
        elif kind == "tcp":
            port = positional[0] if positional else named["port"]
            address = (named.get("interface", ""), int(port))
        else:
            raise ValueError(f"{description!r} can't be simulated")
        return _ServerEndpoint(self._network, self._machine, address)


@implementer(IStreamClientEndpoint)
class _ClientEndpoint:
    def __init__(self, network: Network, machine: str, address: Address) -> None:
        self._network = network
        self._machine = machine
        self._address = address

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        return self._network.connect(self._machine, self._address, protocolFactory)


@implementer(IStreamServerEndpoint)
class _ServerEndpoint:
    def __init__(self, network: Network, machine: str, address: Address) -> None:
        self._network = network
        self._machine = machine
        self._address = address

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:  # noqa: N803
        try:
            return succeed(self._network.listen(self._machine, self._address, protocolFactory))
        except CannotListenError as problem:
            failed: Deferred[IListeningPort] = Deferred()
            failed.errback(problem)
            return failed
