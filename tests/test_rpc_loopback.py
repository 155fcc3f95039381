"""The same over the system's own sockets."""

import os

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - real sockets need the real one
from twisted.internet.defer import Deferred, DeferredList

from minibox.codec import Record
from minibox.errors import PortTaken
from minibox.reactor_world import ReactorEndpoints
from minibox.rpc import Dialer, Identity, Method, Reply, serve
from minibox.simulation.threads import SimulatedThreads
from minibox.world import World

KEY = b"k" * 32


class Word(Record, frozen=True):
    kind = "word"
    text: str


async def echo(_caller, message, body):
    return Reply(message, body.parts)


def world():
    """The test run's reactor keeps its own clock: only what sockets need is real."""
    return World(
        clock=reactor,
        random_bytes=os.urandom,
        endpoints=ReactorEndpoints(reactor),
        threads=SimulatedThreads(reactor, None),
    )


@pytest_twisted.ensureDeferred
async def test_calls_of_all_sizes_cross_real_sockets_at_once():
    methods = [Method("echo", Word, echo, ("guest", "node"))]
    listening = await serve(
        world(), "tcp:0:interface=127.0.0.1", Identity("node", "n2"), KEY, methods
    )
    listen = f"tcp:{listening.port}:interface=127.0.0.1"
    dialer = Dialer(world(), listen, Identity("node", "n1"), KEY, expected_name="n2")
    guest = Dialer(world(), listen, Identity("guest", "laptop"), None)
    bodies = [os.urandom(size) for size in (0, 1, 65_000, 66_000, 1_100_000, 4_194_304, 9_000_001)]
    bodies = [b"", b"x", *bodies] * 3

    async def call(asked, number, body):
        answer = await asked.call("echo", Word(str(number)), Word, (body,), deadline=20)
        return answer.message.text == str(number) and answer.body.join() == body

    calls = [
        Deferred.fromCoroutine(call(asked, number, body))
        for number, body in enumerate(bodies)
        for asked in (dialer, guest)
    ]
    answers = await DeferredList(calls, fireOnOneErrback=True, consumeErrors=True)
    assert answers == [(True, True)] * len(calls)
    assert len(listening.connections) == 2
    await dialer.close()
    await guest.close()
    await listening.stop()
    assert listening.connections == []


@pytest_twisted.ensureDeferred
async def test_a_taken_port_is_refused_by_name():
    listening = await serve(world(), "tcp:0:interface=127.0.0.1", Identity("node", "n2"), KEY, [])
    description = f"tcp:{listening.port}:interface=127.0.0.1"
    with pytest.raises(PortTaken) as refused:
        await serve(world(), description, Identity("node", "n3"), KEY, [])
    assert refused.value.endpoint == description
    await listening.stop()
