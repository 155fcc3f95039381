from http_door import Connection, TurnedClock
from twisted.web.websocket import WebSocketResource

from minibox.coordinator.http.site import Site
from minibox.world import World

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HELLO = b"\x81\x85" + bytes(4) + b"hello"  # a text frame, masked with zeros


class Echo:
    def __init__(self):
        self.lost = False

    def buildProtocol(self, _request):  # noqa: N802
        return self

    def negotiationStarted(self, transport):  # noqa: N802
        self.transport = transport

    def negotiationFinished(self):  # noqa: N802
        pass

    def textMessageReceived(self, message):  # noqa: N802
        self.transport.sendTextMessage(message + "!")

    def connectionLost(self, _reason):  # noqa: N802
        self.lost = True


class Upgraded:
    def __init__(self):
        self.clock = TurnedClock()
        self.echo = Echo()
        resource = WebSocketResource(self.echo)
        resource.isLeaf = True
        self.site = Site(World(self.clock, bytes, None, None), resource)
        self.connection = Connection(self.site)


def test_a_connection_can_become_a_websocket():
    upgraded = Upgraded()
    upgraded.connection.send(UPGRADE, HELLO)
    sent = upgraded.connection.wire.value()
    assert sent.startswith(b"HTTP/1.1 101 ")
    assert sent.endswith(b"\x81\x06hello!")


def test_frames_that_came_with_the_upgrade_are_not_lost():
    upgraded = Upgraded()
    upgraded.connection.send(UPGRADE + HELLO)
    upgraded.clock.advance(0)
    assert upgraded.connection.wire.value().endswith(b"\x81\x06hello!")


def test_a_websocket_may_be_silent_for_long():
    upgraded = Upgraded()
    upgraded.connection.send(UPGRADE)
    upgraded.clock.advance(3600)
    assert not upgraded.connection.is_closed
    upgraded.connection.leave()
    assert upgraded.echo.lost
