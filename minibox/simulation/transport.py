"""Two ends of a TCP connection in memory, with what Twisted's protocols expect of a transport."""

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.error import TimeoutError as TwistedTimeoutError
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProducer,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure as TwistedFailure
from zope.interface import implementer

from minibox.simulation.wire import Wire

GIVE_UP_SECONDS = 120.0
"""After so long without an acknowledgement TCP ends a connection that has something to say."""

_FRAGMENTED_SHARE = 1 / 8


class _End(Enum):
    """What a packet may say besides bytes."""

    FINISHED = "finished"
    RESET = "reset"


_Packet = bytes | _End


class Pipe:
    """One direction of a connection: in order, late, and nothing at all while the wire is cut."""

    def __init__(self, wire: Wire, sender: "SimulatedTransport") -> None:
        self._wire = wire
        self._sender = sender
        self._batch: list[bytes] | None = None
        self._batch_at = -1.0
        self._not_before = 0.0
        self._held: list[Callable[[], None]] = []
        self._giving_up: IDelayedCall | None = None
        self.receiver: SimulatedTransport
        self.undelivered_bytes = 0

    def hold_until(self, seconds: float) -> None:
        """Nothing arrives before the other end knows of its connection."""
        self._not_before = seconds

    def send(self, data: bytes) -> None:
        """Bytes written at one moment travel together."""
        self.undelivered_bytes += len(data)
        now = self._wire.clock.seconds()
        if self._batch is not None and self._batch_at == now and not self._wire.bytes_per_second:
            self._batch.append(data)
            return
        batch = [data]
        self._batch, self._batch_at = batch, now
        self._travel(lambda: self._arrive_batch(batch), len(data))

    def end(self, end: _End) -> None:
        """The last packet of this direction."""
        self._batch = None
        self._travel(lambda: self.receiver.arrive(end), 0)

    def delivered(self, length: int) -> None:
        """The receiving protocol has taken so many bytes."""
        self.undelivered_bytes -= length
        if self._sender.waits_for_room:
            self._wire.after_delay(self._back, self._sender.look_for_room)

    def heal(self) -> None:
        """What was held arrives now, as if it had been sent again."""
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        held, self._held = self._held, []
        for arrival in held:
            self._travel(arrival, 0)

    @property
    def _forth(self) -> tuple[str, str]:
        return self._sender.machine, self.receiver.machine

    @property
    def _back(self) -> tuple[str, str]:
        return self.receiver.machine, self._sender.machine

    def _travel(self, arrival: Callable[[], None], length: int) -> None:
        clock = self._wire.clock
        due = max(self._not_before, clock.seconds() + self._wire.delay(self._forth))
        if self._wire.bytes_per_second:
            due += length / self._wire.bytes_per_second
        self._not_before = due
        clock.callLater(due - clock.seconds(), self._arrive, arrival)

    def _arrive(self, arrival: Callable[[], None]) -> None:
        if self._held or self._wire.is_cut(self._forth):
            self._held.append(arrival)
            if self._giving_up is None:
                self._giving_up = self._wire.clock.callLater(GIVE_UP_SECONDS, self._give_up)
            return
        arrival()

    def _arrive_batch(self, batch: list[bytes]) -> None:
        if self._batch is batch:
            self._batch = None
        self.receiver.arrive(b"".join(batch))

    def _give_up(self) -> None:
        self._giving_up = None
        self._held.clear()
        self._sender.lose(TwistedTimeoutError())  # type: ignore[no-untyped-call]


@implementer(ITCPTransport, IConsumer, IPushProducer)
class SimulatedTransport:
    """One end, on one machine. It pauses its producer while the other end takes nothing."""

    disconnecting = False

    def __init__(
        self, wire: Wire, machine: str, host: IPv4Address, peer: IPv4Address, name: str
    ) -> None:
        self.machine = machine
        self.name = name
        self.bufferSize = 64 * 1024
        self.connected = True
        self.protocol: IProtocol | None = None
        self.on_gone: Callable[[], object] | None = None
        self.out = Pipe(wire, self)
        self._wire = wire
        self._host = host
        self._peer = peer
        self._inbox: deque[_Packet] = deque()
        self._reading = True
        self._draining = False
        self._writing_ended = False
        self._no_delay = self._keep_alive = False
        self.producer: Any = None
        self._streaming = False
        self._producer_paused = False

    # What protocols call

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if self.connected and data and not self._writing_ended:
            self.out.send(data)
            if self._streaming and self.producer is not None and self._is_full():
                self._producer_paused = True
                self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:  # noqa: N802
        """Send bytes that come in parts."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:  # noqa: N802
        """End it when all is sent and no producer is registered."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._reading = False
            self.look_for_room()

    def loseWriteConnection(self) -> None:  # noqa: N802
        """Say that nothing more will be written, and go on reading."""
        if self.connected and not self._writing_ended:
            self._writing_ended = True
            self.out.end(_End.FINISHED)

    def abortConnection(self) -> None:  # noqa: N802
        """End it now."""
        if self.connected:
            self.disconnecting = True
            self._reading = False
            self.out.end(_End.RESET)
            self._wire.clock.callLater(0, self.lose, ConnectionAborted())

    def getHost(self) -> IPv4Address:  # noqa: N802
        """This end's address."""
        return self._host

    def getPeer(self) -> IPv4Address:  # noqa: N802
        """The other end's address."""
        return self._peer

    def getTcpNoDelay(self) -> bool:  # noqa: N802
        """As it was set."""
        return self._no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001, N802
        """Without effect: nothing is delayed by Nagle's rule here."""
        self._no_delay = enabled

    def getTcpKeepAlive(self) -> bool:  # noqa: N802
        """As it was set."""
        return self._keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: FBT001, N802
        """Without effect: two hours are longer than any simulation."""
        self._keep_alive = enabled

    # As a consumer and as a producer

    def registerProducer(  # noqa: N802
        self,
        producer: IProducer,
        streaming: bool,  # noqa: FBT001
    ) -> None:
        """Take bytes from ``producer`` as long as there is room."""
        if self.producer is not None:
            raise RuntimeError("a producer is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            self.producer.resumeProducing()

    def unregisterProducer(self) -> None:  # noqa: N802
        """No more from the producer."""
        self.producer = None
        if self.disconnecting:
            self.look_for_room()

    def pauseProducing(self) -> None:  # noqa: N802
        """Give the protocol nothing."""
        self._reading = False

    def resumeProducing(self) -> None:  # noqa: N802
        """Give the protocol what has come."""
        if self.connected and not self.disconnecting and not self._reading:
            self._reading = True
            self._wire.clock.callLater(0, self._drain)

    def stopProducing(self) -> None:  # noqa: N802
        """As Twisted's transports do."""
        self.loseConnection()

    # What the other end and the network call

    @property
    def waits_for_room(self) -> bool:
        """Whether an acknowledgement means anything to this end."""
        return self.connected and (self.producer is not None or self.disconnecting)

    def look_for_room(self) -> None:
        """Acknowledgements have come: produce more, or finish."""
        if not self.connected or self._wire.is_cut((self.out.receiver.machine, self.machine)):
            return
        if self.producer is None:
            if self.disconnecting and not self._is_full():
                self.out.end(_End.FINISHED)
                self._wire.clock.callLater(0, self.lose, ConnectionDone())
        elif not self._streaming:
            if not self.out.undelivered_bytes:
                self.producer.resumeProducing()
        elif self._producer_paused and self.out.undelivered_bytes <= self.bufferSize // 2:
            self._producer_paused = False
            self.producer.resumeProducing()

    def arrive(self, packet: _Packet) -> None:
        """A packet from the other end."""
        if packet is _End.RESET:
            self.lose(ConnectionLost())
        else:
            self._inbox.append(packet)
            self._drain()

    def reset(self) -> None:
        """Something on the way kills the connection: each end is told that the other did it."""
        self.out.end(_End.RESET)
        self.out.receiver.out.end(_End.RESET)

    def vanish(self) -> None:
        """The process is gone: its protocol hears nothing more, the other end of a reset."""
        if self.connected:
            self.connected = False
            self.protocol = self.producer = None
            self._inbox.clear()
            self.out.end(_End.RESET)
            self._gone()

    def lose(self, reason: Exception) -> None:
        """The connection is no more; the protocol is told, once."""
        if not self.connected:
            return
        self.connected = False
        self._inbox.clear()
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        protocol, self.protocol = self.protocol, None
        self._wire.record("lost", self.name, type(reason).__name__)
        if protocol is not None:
            protocol.connectionLost(TwistedFailure(reason))  # type: ignore[no-untyped-call]
        self._gone()

    def _gone(self) -> None:
        if self.on_gone is not None:
            self.on_gone()

    def _is_full(self) -> bool:
        return self.out.undelivered_bytes > self.bufferSize

    def _drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        try:
            while self._inbox and self._reading and self.connected:
                packet = self._inbox.popleft()
                if isinstance(packet, bytes):
                    self._receive(packet)
                elif packet is _End.FINISHED:
                    self.lose(ConnectionDone())
        finally:
            self._draining = False

    def _receive(self, data: bytes) -> None:
        """As recv would: up to ``bufferSize`` bytes, sometimes cut anywhere."""
        length = min(len(data), self.bufferSize)
        if length > 1 and self._wire.random.random() < _FRAGMENTED_SHARE:
            length = self._wire.random.randrange(1, length)
        if length < len(data):
            self._inbox.appendleft(data[length:])
            data = data[:length]
        self._wire.record("bytes", self.name, length)
        if self.protocol is not None:
            self.protocol.dataReceived(data)
        self.out.receiver.out.delivered(length)
