"""The simulated network and clock behave as the real ones, and the same each time."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    AlreadyCalled,
    AlreadyCancelled,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,  # noqa: A004 - Twisted's
    TimeoutError,  # noqa: A004 - Twisted's
)
from twisted.internet.protocol import Factory, Protocol
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from minibox.simulation import Simulation, VirtualClock
from minibox.simulation.clock import NothingHappens, TooLong
from minibox.simulation.transport import GIVE_UP_SECONDS
from minibox.world import sleep

LISTEN = "tcp:80:interface=127.0.0.1"


class Peer(Protocol):
    """Remembers all that happens to it."""

    def __init__(self):
        self.received = []
        self.lost = None

    @property
    def text(self):
        return b"".join(self.received)

    def dataReceived(self, data):  # noqa: N802
        self.received.append(data)

    def connectionLost(self, reason):  # noqa: N802
        self.lost = reason.value


class Doors(Factory):
    noisy = False

    def __init__(self, protocol=Peer):
        self.make = protocol
        self.made = []

    def buildProtocol(self, _address):  # noqa: N802
        self.made.append(self.make())
        return self.made[-1]


def connected(seed=1, **more):
    """A simulation and both ends of one connection from a to b."""
    simulation = Simulation(seed, **more)
    doors = Doors()
    simulation.run(simulation.world("b").endpoints.to_listen(LISTEN).listen(doors))
    endpoint = simulation.world("a").endpoints.to_connect("tcp:127.0.0.1:80")
    left = simulation.run(endpoint.connect(Factory.forProtocol(Peer)))
    return simulation, left, doors.made[0]


@given(st.integers(0, 1000), st.lists(st.binary(min_size=1, max_size=200_000), max_size=6))
def test_bytes_arrive_in_order_and_complete(seed, pieces):
    simulation, left, right = connected(seed)
    for number, piece in enumerate(pieces):
        left.transport.write(piece)
        if number % 2:
            simulation.clock.advance(0.0003)
    simulation.clock.advance(1)
    assert right.text == b"".join(pieces)
    assert all(len(piece) <= right.transport.bufferSize for piece in right.received)


def test_nothing_arrives_in_the_same_instant():
    simulation, left, right = connected()
    left.transport.write(b"x")
    assert right.received == []
    simulation.clock.advance(0.01)
    assert right.text == b"x"


def test_addresses_match_on_both_ends():
    _, left, right = connected()
    assert left.transport.getPeer() == right.transport.getHost()
    assert left.transport.getHost() == right.transport.getPeer()
    assert left.transport.getPeer().port == 80


def test_closing_delivers_what_was_written_first():
    simulation, left, right = connected()
    left.transport.write(b"x" * 500_000)
    left.transport.loseConnection()
    simulation.clock.advance(1)
    assert len(right.text) == 500_000
    assert isinstance(right.lost, ConnectionDone)
    assert isinstance(left.lost, ConnectionDone)


def test_aborting_tells_each_end_its_own_way():
    simulation, left, right = connected()
    left.transport.abortConnection()
    assert left.lost is None
    simulation.clock.advance(1)
    assert isinstance(left.lost, ConnectionAborted)
    assert isinstance(right.lost, ConnectionLost)


def test_half_closing_ends_it_for_a_peer_that_knows_no_half():
    simulation, left, right = connected()
    left.transport.write(b"last")
    left.transport.loseWriteConnection()
    left.transport.write(b"too late")
    simulation.clock.advance(1)
    assert right.text == b"last"
    assert isinstance(right.lost, ConnectionDone)


def test_writing_after_the_end_goes_nowhere():
    simulation, left, right = connected()
    left.transport.loseConnection()
    simulation.clock.advance(1)
    right.transport.write(b"x")
    left.transport.write(b"x")
    simulation.clock.advance(1)
    assert left.received == right.received == []


def test_a_paused_reader_gets_nothing_until_it_resumes():
    simulation, left, right = connected()
    right.transport.pauseProducing()
    left.transport.write(b"x")
    simulation.clock.advance(1)
    assert right.received == []
    right.transport.resumeProducing()
    assert right.received == []
    simulation.clock.advance(0.001)
    assert right.text == b"x"


class Producer:
    def __init__(self, transport, *, streaming):
        self.transport, self.streaming = transport, streaming
        self.paused = self.stopped = False
        self.left = 100

    def resumeProducing(self):  # noqa: N802
        self.paused = False
        while self.left and not self.paused:
            self.left -= 1
            self.transport.write(bytes(10_000))
            if not self.streaming:
                break
        if not self.left:
            self.transport.unregisterProducer()

    def pauseProducing(self):  # noqa: N802
        self.paused = True

    def stopProducing(self):  # noqa: N802
        self.stopped = True


@pytest.mark.parametrize("streaming", [True, False])
def test_a_producer_is_held_up_by_a_reader_who_pauses(streaming):
    simulation, left, right = connected()
    right.transport.pauseProducing()
    producer = Producer(left.transport, streaming=streaming)
    left.transport.registerProducer(producer, streaming)
    if streaming:
        producer.resumeProducing()
    simulation.clock.advance(1)
    assert left.transport.out.undelivered_bytes <= left.transport.bufferSize + 10_000
    right.transport.resumeProducing()
    simulation.clock.advance(1)
    assert len(right.text) == 1_000_000


def test_a_producer_is_stopped_when_the_connection_is_lost():
    simulation, left, _ = connected()
    producer = Producer(left.transport, streaming=True)
    left.transport.registerProducer(producer, True)
    simulation.network.reset("a", "b")
    simulation.clock.advance(1)
    assert producer.stopped


def test_a_cut_is_silent_and_made_up_for_when_healed():
    simulation, left, right = connected()
    simulation.network.cut("a", "b")
    left.transport.write(b"one")
    simulation.clock.advance(60)
    left.transport.write(b"two")
    simulation.clock.advance(1)
    assert right.received == []
    assert left.lost is right.lost is None
    simulation.network.heal("a", "b")
    simulation.clock.advance(1)
    assert right.text == b"onetwo"


def test_a_one_way_cut_leaves_the_other_way():
    simulation, left, right = connected()
    simulation.network.cut("a", "b", one_way=True)
    left.transport.write(b"lost")
    right.transport.write(b"heard")
    simulation.clock.advance(1)
    assert (left.text, right.text) == (b"heard", b"")


def test_a_long_cut_ends_a_connection_that_had_something_to_say():
    simulation, left, right = connected()
    simulation.network.cut("a", "b")
    left.transport.write(b"x")
    simulation.clock.advance(GIVE_UP_SECONDS + 1)
    assert isinstance(left.lost, TimeoutError)
    assert right.lost is None


def test_a_crash_is_silence_for_the_dead_and_a_loss_for_the_living():
    simulation, left, right = connected()
    left.transport.write(b"in flight")
    simulation.crash("b")
    simulation.clock.advance(1)
    assert right.received == []
    assert right.lost is None
    assert isinstance(left.lost, ConnectionLost)


def test_no_timer_and_no_thread_of_a_crashed_process_comes_back():
    simulation = Simulation(1)
    world, told = simulation.world("a"), []
    world.clock.callLater(1, told.append, "timer")
    world.threads.run(lambda: 7).addCallback(told.append)
    simulation.crash("a")
    simulation.clock.advance(10)
    assert told == []
    again = simulation.world("a")
    again.clock.callLater(1, told.append, "reborn")
    simulation.clock.advance(10)
    assert told == ["reborn"]


def test_a_process_cannot_run_twice():
    simulation = Simulation(1)
    simulation.world("a")
    with pytest.raises(ValueError, match="running"):
        simulation.world("a")


def connect(simulation, machine="a"):
    endpoint = simulation.world(machine).endpoints.to_connect(LISTEN)
    return endpoint.connect(Factory.forProtocol(Peer))


def test_connecting_fails_as_it_does_in_reality():
    simulation = Simulation(1)
    with pytest.raises(ConnectionRefusedError):
        simulation.run(connect(simulation))
    simulation.run(simulation.world("b").endpoints.to_listen(LISTEN).listen(Doors()))
    simulation.network.refuse("b")
    with pytest.raises(ConnectionRefusedError):
        simulation.run(connect(simulation, "c"))
    simulation.network.refuse("b", refused=False)
    simulation.network.cut("b", "d", one_way=True)
    with pytest.raises(TimeoutError):
        simulation.run(connect(simulation, "d"))


def test_a_connection_across_a_short_cut_is_made_when_it_heals():
    simulation = Simulation(1)
    simulation.run(simulation.world("b").endpoints.to_listen(LISTEN).listen(Doors()))
    simulation.network.cut("a", "b")
    connecting = connect(simulation)
    simulation.clock.advance(5)
    assert not connecting.called
    simulation.network.heal_all()
    assert simulation.run(connecting, 2).transport.connected


def test_a_crashed_machine_can_listen_again():
    simulation, _, _ = connected()
    simulation.crash("b")
    doors = Doors()
    simulation.run(simulation.world("b").endpoints.to_listen(LISTEN).listen(doors))
    simulation.run(connect(simulation, "c"))
    assert len(doors.made) == 1


def test_unix_sockets_and_free_ports_work_too():
    simulation = Simulation(1)
    endpoints = simulation.world("a").endpoints
    for listen in ("unix:/run/minibox", "tcp:0:interface=127.0.0.1"):
        port = simulation.run(endpoints.to_listen(listen).listen(Doors()))
        there = listen.replace(":0:", f":{port.getHost().port}:")
        made = endpoints.to_connect(there).connect(Factory.forProtocol(Peer))
        assert simulation.run(made).transport.connected


def test_bandwidth_bounds_how_fast_bytes_arrive():
    simulation, left, right = connected(bytes_per_second=1_000_000)
    for _ in range(10):
        left.transport.write(bytes(100_000))
    simulation.clock.advance(0.5)
    assert 300_000 <= len(right.text) <= 500_000
    simulation.clock.advance(0.6)
    assert len(right.text) == 1_000_000


def test_slow_packets_stay_in_order():
    simulation, left, right = connected()
    simulation.network.slow("a", "b", 5)
    left.transport.write(b"one")
    simulation.clock.advance(0.1)
    simulation.network.slow("a", "b", 0)
    left.transport.write(b"two")
    simulation.clock.advance(1)
    assert right.text == b""
    simulation.clock.advance(5)
    assert right.text == b"onetwo"


@implementer(IAgentEndpointFactory)
class Everywhere:
    """All addresses lead to the one door."""

    def __init__(self, endpoints):
        self.endpoints = endpoints

    def endpointForURI(self, _uri):  # noqa: N802
        return self.endpoints.to_connect(LISTEN)


class Page(Resource):
    isLeaf = True  # noqa: N815

    def render_POST(self, request):  # noqa: N802
        return request.content.read() * 2


def test_twisted_web_speaks_http_over_it_unmodified():
    simulation = Simulation(4)
    server, client = simulation.world("b"), simulation.world("a")
    site = Site(Page(), reactor=server.clock)
    simulation.run(server.endpoints.to_listen(LISTEN).listen(site))
    pool = HTTPConnectionPool(client.clock)
    agent = Agent.usingEndpointFactory(client.clock, Everywhere(client.endpoints), pool)

    async def ask(body):
        response = await agent.request(b"POST", b"http://b/", bodyProducer=Bytes(body))
        content = Content()
        response.deliverBody(content)
        return response.code, await content.complete

    for size in (1, 10, 300_000, 5):
        assert simulation.run(ask(b"x" * size)) == (200, b"x" * 2 * size)
    simulation.run(pool.closeCachedConnections())


class Content(Peer):
    """Gathers a response's body."""

    def __init__(self):
        super().__init__()
        self.complete = Deferred()

    def connectionLost(self, _reason):  # noqa: N802
        self.complete.callback(self.text)


class Bytes:
    """A body in one piece, without Twisted's global cooperator."""

    def __init__(self, body):
        self.body, self.length = body, len(body)

    def startProducing(self, consumer):  # noqa: N802
        consumer.write(self.body)
        done = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self):  # noqa: N802
        pass

    def resumeProducing(self):  # noqa: N802
        pass

    def stopProducing(self):  # noqa: N802
        pass


# The clock


def test_events_happen_by_time_then_in_the_order_of_asking():
    clock, told = VirtualClock(), []
    for delay, name in ((2, "c"), (1, "a"), (2, "d"), (1, "b"), (0, "first")):
        clock.callLater(delay, told.append, name)
    clock.advance(5)
    assert told == ["first", "a", "b", "c", "d"]
    assert clock.seconds() == 5


def test_a_timer_is_cancelled_delayed_and_reset_as_twisted_has_it():
    clock, told = VirtualClock(), []
    cancelled, delayed, reset = (clock.callLater(1, told.append, name) for name in "abc")
    cancelled.cancel()
    delayed.delay(5)
    reset.reset(3)
    assert [timer.getTime() for timer in clock.getDelayedCalls()] == [3, 6]
    clock.advance(10)
    assert told == ["c", "b"]
    assert not delayed.active()
    with pytest.raises(AlreadyCalled):
        delayed.cancel()
    with pytest.raises(AlreadyCancelled):
        cancelled.reset(1)


def test_the_wall_may_step_and_no_timer_moves():
    clock, told = VirtualClock(), []
    clock.callLater(10, told.append, "timer")
    before = clock.wall()
    clock.step_wall(-86_400)
    clock.advance(9)
    assert clock.wall() == before - 86_400 + 9
    assert told == []
    clock.advance(1)
    assert told == ["timer"]


def test_running_returns_the_result_or_raises_what_was_raised():
    clock = VirtualClock()

    async def work(problem=None):
        await sleep(clock, 3)
        if problem:
            raise problem
        return "done"

    assert clock.run(work()) == "done"
    with pytest.raises(KeyError):
        clock.run(work(KeyError("x")))
    assert clock.seconds() == 6
    with pytest.raises(NothingHappens):
        clock.run(Deferred())
    with pytest.raises(TooLong):
        clock.run(sleep(clock, 100), limit_seconds=10)


def test_a_hundred_thousand_timers_are_no_burden():
    clock, told = VirtualClock(), []
    timers = [clock.callLater(number % 1000, told.append, number) for number in range(100_000)]
    for timer in timers[::2]:
        timer.cancel()
    clock.advance(1000)
    assert len(told) == 50_000


_TRACE = """
import sys
from twisted.internet.defer import Deferred
from minibox.simulation import Simulation
from test_network import connected
lines = []
simulation, left, right = connected(7, record=lambda *words: lines.append(words))
for number in range(50):
    left.transport.write(bytes(number * 100))
    right.transport.write(bytes(number * 50))
    simulation.clock.advance(0.001)
    if number == 20:
        simulation.network.cut("a", "b")
    if number == 30:
        simulation.network.heal_all()
simulation.crash("b")
simulation.clock.advance(5)
print(lines, simulation.clock.events)
"""


@pytest.mark.parametrize("other_hash_seed", ["1"])
def test_the_same_seed_gives_the_same_trace_in_another_process(other_hash_seed):
    traces = [
        subprocess.run(
            [sys.executable, "-c", _TRACE],
            env={
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "PYTHONPATH": os.pathsep.join([*sys.path, os.path.dirname(__file__)]),  # noqa: PTH120
            },
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("0", other_hash_seed)
    ]
    assert traces[0] == traces[1]
    assert traces[0].count("bytes") > 50
