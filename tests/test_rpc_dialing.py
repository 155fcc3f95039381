"""A lasting way to a peer: connecting, waiting, failing fast, coming back."""

import pytest
from twisted.internet.defer import Deferred, DeferredList

from minibox.codec import Record
from minibox.errors import CallTimeout, PortTaken, Unreachable
from minibox.rpc import Dialer, Identity, Method, Reply, serve
from minibox.simulation import Simulation

KEY = b"k" * 32
LISTEN = "tcp:8101:interface=127.0.0.1"


class Ping(Record, frozen=True):
    kind = "ping"


async def pong(_caller, message, _body):
    return Reply(message)


async def never(_caller, _message, _body):
    await Deferred()


class Peers:
    """n1 dials n2, which may come and go."""

    def __init__(self, **more):
        self.simulation = Simulation(3)
        self.dialer = Dialer(
            self.simulation.world("n1"), LISTEN, Identity("node", "n1"), KEY, **more
        )

    def start(self, name="n2"):
        world = self.simulation.world("n2")
        methods = [Method("ping", Ping, pong, ("node",)), Method("never", Ping, never, ("node",))]
        return self.simulation.run(serve(world, LISTEN, Identity("node", name), KEY, methods))

    def call(self, deadline=10.0, method="ping"):
        coroutine = self.dialer.call(method, Ping(), Ping, deadline=deadline)
        calling = Deferred.fromCoroutine(coroutine)
        calling.addErrback(lambda failure: failure.value)
        return calling

    def outcome(self, deadline=10.0, method="ping"):
        """What a call comes to, and after how long."""
        began = self.simulation.clock.seconds()
        result = self.simulation.run(self.call(deadline, method))
        return result, self.simulation.clock.seconds() - began

    def advance(self, seconds):
        self.simulation.clock.advance(seconds)


def test_nothing_is_connected_before_it_is_asked_for():
    peers = Peers()
    listening = peers.start()
    peers.advance(10)
    assert listening.connections == []
    peers.outcome()
    assert len(listening.connections) == 1
    assert peers.dialer.connected


def test_many_first_calls_share_one_connection():
    peers = Peers()
    listening = peers.start()
    peers.simulation.run(DeferredList([peers.call() for _ in range(20)]))
    assert len(listening.connections) == 1


def test_busy_calls_spread_over_the_connections_allowed():
    peers = Peers(connections=3)
    listening = peers.start()
    peers.simulation.run(DeferredList([peers.call() for _ in range(20)]))
    peers.simulation.run(DeferredList([peers.call() for _ in range(20)]))
    assert 1 <= len(listening.connections) <= 3


def test_a_peer_that_is_not_there_fails_fast_with_its_reason():
    peers = Peers()
    for _ in range(3):
        problem, seconds = peers.outcome()
        assert isinstance(problem, Unreachable)
        assert "refused" in problem.reason
        assert seconds < 0.1


def test_a_peer_that_comes_late_is_found_within_a_second():
    peers = Peers()
    peers.outcome()
    peers.advance(300)
    peers.start()
    peers.advance(1.1)
    assert peers.dialer.connected
    assert peers.outcome()[0].message == Ping()


def test_a_restarted_peer_is_found_again():
    peers = Peers()
    peers.start()
    peers.outcome()
    peers.simulation.crash("n2")
    peers.advance(0.5)
    assert isinstance(peers.outcome()[0], Unreachable)
    peers.start()
    peers.advance(1.1)
    assert peers.outcome()[0].message == Ping()


def test_connecting_is_within_the_deadline():
    peers = Peers()
    peers.start()
    peers.simulation.network.cut("n1", "n2")
    problem, seconds = peers.outcome(deadline=2)
    assert isinstance(problem, CallTimeout)
    assert seconds == pytest.approx(2)


def test_the_time_that_connecting_took_is_not_given_again():
    peers = Peers()
    peers.start()
    peers.simulation.network.slow("n2", "n1", 0.5)
    problem, seconds = peers.outcome(deadline=3, method="never")
    assert isinstance(problem, CallTimeout)
    assert peers.dialer.connected
    assert seconds == pytest.approx(3)


def test_a_connection_that_is_never_made_is_given_up():
    peers = Peers()
    peers.start()
    peers.simulation.network.cut("n1", "n2")
    problem, seconds = peers.outcome(deadline=60)
    assert isinstance(problem, Unreachable)
    assert seconds < 6


def test_the_wrong_peer_is_refused():
    peers = Peers(expected_name="n2")
    peers.start(name="n3")
    problem, _ = peers.outcome()
    assert isinstance(problem, Unreachable)
    assert "n3" in problem.reason


def test_closing_fails_what_waits_and_whatever_comes():
    peers = Peers()
    peers.start()
    peers.simulation.network.cut("n1", "n2")
    calling = peers.call(deadline=60)
    peers.advance(1)
    peers.simulation.run(peers.dialer.close())
    assert isinstance(peers.simulation.run(calling), Unreachable)
    assert isinstance(peers.outcome()[0], Unreachable)
    peers.simulation.network.heal_all()
    peers.advance(60)
    assert not peers.dialer.connected


def test_a_cancelled_call_leaves_the_connection_for_others():
    peers = Peers()
    peers.start()
    first, second = peers.call(), peers.call()
    first.cancel()
    assert peers.simulation.run(second).message == Ping()


def test_two_doors_on_one_port_are_refused():
    peers = Peers()
    peers.start()
    world = peers.simulation.world("n4")
    with pytest.raises(PortTaken):
        peers.simulation.run(serve(world, LISTEN, Identity("node", "n4"), KEY, []))
