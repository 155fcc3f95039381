"""The site over real sockets: what only the kernel's buffers can show."""

import http.client
import resource
import socket
import time

import pytest
import pytest_twisted
from http_door import Door
from twisted.internet import reactor  # noqa: TID251  real sockets
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import deferToThread

from minibox.coordinator.http.download import Content, serve_content
from minibox.http_api.route import Route

MIB = 1024 * 1024
BIG = Route(name="big", method="GET", path="/api/big", summary="Many bytes", access="anyone")


class RealClock:
    seconds = staticmethod(reactor.seconds)
    wall = staticmethod(time.time)  # noqa: TID251
    callLater = staticmethod(reactor.callLater)  # noqa: N815


class Flood:
    """64 MiB in parts, and a Deferred that fires when the source is closed."""

    def __init__(self):
        self.closed = Deferred()

    async def source(self, start, stop):
        try:
            for at in range(start, stop, MIB):
                yield bytes(min(MIB, stop - at))
        finally:
            self.closed.callback(None)

    async def serve(self, call):
        content = Content(64 * MIB, '"b.1"', None, "b", 0, self.source)
        await serve_content(call.request, content)


@pytest.fixture
def flood():
    return Flood()


@pytest_twisted.async_yield_fixture
async def port(flood):
    door = Door(RealClock(), [(BIG, flood.serve)])
    listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(door.site)
    yield listening.getHost().port
    await listening.stopListening()
    await door.site.close(0)


def pieces(total):
    piece = bytes(256 * 1024)
    for _ in range(total // len(piece)):
        yield piece


def ask(port, method, path, body=None, headers=None):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        client.request(method, path, body, headers or {})
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


@pytest_twisted.ensureDeferred
async def test_64_mib_are_streamed_in_little_memory(port):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    length = {"Content-Length": str(64 * MIB)}
    for headers in (length, {}):
        status, body = await deferToThread(
            ask, port, "PUT", "/api/content/a", pieces(64 * MIB), headers
        )
        assert (status, body) == (201, b'{"size":67108864}')
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 32 * 1024


@pytest_twisted.ensureDeferred
async def test_64_mib_are_sent_whole(port, flood):
    status, body = await deferToThread(ask, port, "GET", "/api/big")
    assert (status, len(body)) == (200, 64 * MIB)
    await flood.closed


def upload_until_refused(port):
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(b"PUT /api/refuse/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
    client.sendall(bytes(MIB))
    received = b""
    while piece := client.recv(65536):
        received += piece
    client.close()
    return received


@pytest_twisted.ensureDeferred
async def test_an_early_refusal_is_seen_by_a_client_in_mid_upload(port):
    received = await deferToThread(upload_until_refused, port)
    assert received.startswith(b"HTTP/1.1 409 ")
    assert received.count(b"HTTP/1.1") == 1


def download_a_little(port):
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(b"GET /api/big HTTP/1.1\r\nHost: h\r\n\r\n")
    client.recv(1000)
    client.close()


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_in_mid_download_stops_the_source(port, flood):
    await deferToThread(download_a_little, port)
    await flood.closed
