"""Calls over a connection in the simulated network: two ends, one virtual clock."""

import gc

import pytest
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogPublisher

from minibox.codec import Record
from minibox.errors import (
    CallTimeout,
    ChunkMissing,
    DiskFull,
    Internal,
    TooLarge,
    UnknownMethod,
    Unreachable,
    VersionConflict,
)
from minibox.rpc import Dialer, Identity, Method, Reply, serve
from minibox.rpc.frames import MAX_BODY_BYTES, FrameType, pack_header, pack_prefix
from minibox.rpc.served import MAX_HELD_BYTES, MAX_RUNNING
from minibox.simulation import Simulation
from minibox.world import sleep

KEY = b"k" * 32
LISTEN = "tcp:8101:interface=127.0.0.1"
NODES = ("node", "coordinator")


class Word(Record, frozen=True):
    kind = "word"
    text: str


class Door:
    """What the called side does, and what it saw."""

    def __init__(self, clock):
        self.clock = clock
        self.seen = []
        self.running = self.most_running = self.cancelled = 0
        self.held_bytes = self.most_held_bytes = 0
        self.gate = Deferred()
        self.failure = None

    def methods(self):
        return [
            Method("echo", Word, self.echo, (*NODES, "guest")),
            Method("wait", Word, self.wait, NODES),
            Method("fail", Word, self.fail, NODES),
            Method("slow", Word, self.slow, NODES),
            Method("give", Word, self.give, NODES, answer_bytes=lambda word: int(word.text)),
        ]

    async def echo(self, caller, word, body):
        self.seen.append((caller.identity, word.text))
        return Reply(word, body.parts)

    async def wait(self, _caller, word, body):
        self.running += 1
        self.held_bytes += len(body)
        self.most_running = max(self.most_running, self.running)
        self.most_held_bytes = max(self.most_held_bytes, self.held_bytes)
        waiting = Deferred()
        self.gate.addCallback(lambda _: waiting.callback(None) if not waiting.called else None)
        try:
            await waiting
        except CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
            self.held_bytes -= len(body)
        return Reply(word)

    async def fail(self, _caller, _word, _body):
        raise self.failure

    async def slow(self, _caller, word, _body):
        await sleep(self.clock, float(word.text))
        return Reply(word)

    async def give(self, _caller, word, _body):
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await sleep(self.clock, 0.01)
        self.running -= 1
        return Reply(word, (bytes(int(word.text)),))


class Pair:
    """A door on n2 and a caller on n1."""

    def __init__(self, identity=None, key=KEY, seed=1, **more):
        self.simulation = Simulation(seed, **more)
        self.door = Door(self.simulation.clock)
        world = self.simulation.world("n2")
        self.listening = self.run(
            serve(world, LISTEN, Identity("node", "n2"), KEY, self.door.methods())
        )
        self.dialer = Dialer(
            self.simulation.world("n1"), LISTEN, identity or Identity("node", "n1"), key
        )

    def run(self, awaitable, limit_seconds=3600):
        return self.simulation.run(awaitable, limit_seconds)

    def call(self, method, text="", body=(), deadline=10.0):
        coroutine = self.dialer.call(method, Word(text), Word, body, deadline=deadline)
        calling = Deferred.fromCoroutine(coroutine)
        calling.addErrback(lambda failure: failure.value)
        return calling

    def advance(self, seconds):
        self.simulation.clock.advance(seconds)


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_a_call_is_answered_with_message_and_body():
    pair = Pair()
    answer = pair.run(pair.call("echo", "hello", (b"ab", memoryview(b"cd"))))
    assert answer.message == Word("hello")
    assert answer.body.join() == b"abcd"
    assert pair.door.seen == [(Identity("node", "n1"), "hello")]


def test_a_thousand_calls_are_in_flight_and_each_gets_its_own_answer():
    pair = Pair()
    calls = [pair.call("echo", str(number), (b"x" * number,)) for number in range(1000)]
    answers = pair.run(DeferredList(calls))
    assert [answer.message.text for _, answer in answers] == list(map(str, range(1000)))
    assert [len(answer.body) for _, answer in answers] == list(range(1000))


def test_answers_may_come_in_another_order():
    pair = Pair()
    slow, quick = pair.call("slow", "5"), pair.call("slow", "0.1")
    pair.run(quick)
    assert not slow.called
    assert pair.run(slow).message == Word("5")


@pytest.mark.parametrize(
    "failure",
    [VersionConflict(head="f_1.7"), ChunkMissing(ids=["aa", "bb"]), DiskFull(node="n2")],
)
def test_a_declared_failure_is_raised_on_the_other_side_as_the_same(failure):
    pair = Pair()
    pair.door.failure = failure
    problem = pair.run(pair.call("fail"))
    assert type(problem) is type(failure)
    assert problem.fields() == failure.fields()


@pytest.mark.parametrize("bug", [KeyError("oops"), CancelledError()])
def test_a_bug_is_logged_there_and_internal_here(bug, logged):
    pair = Pair()
    pair.door.failure = bug
    problem = pair.run(pair.call("fail"))
    assert type(problem) is Internal
    [event] = [event for event in logged if event.get("request_id") == problem.request_id]
    assert event["log_failure"].value is bug
    assert event["method"] == "fail"


def test_an_answer_above_the_limits_is_a_bug_there(logged):
    pair = Pair()
    problem = pair.run(pair.call("give", str(MAX_BODY_BYTES + 1)))
    assert type(problem) is Internal
    assert any(event.get("log_failure") for event in logged)
    assert pair.run(pair.call("echo", "still")).message == Word("still")


def test_a_deadline_ends_the_call_here_and_cancels_it_there():
    pair = Pair()
    problem = pair.run(pair.call("wait", deadline=2))
    assert isinstance(problem, CallTimeout)
    assert pair.simulation.clock.seconds() < 2.1
    pair.advance(0.1)
    assert pair.door.cancelled == 1
    assert pair.listening.connections[0]._served._running == {}


def test_cancelling_the_caller_cancels_the_handler():
    pair = Pair()
    calling = pair.call("wait")
    pair.advance(1)
    calling.cancel()
    assert isinstance(pair.run(calling), CancelledError)
    pair.advance(0.1)
    assert pair.door.cancelled == 1


def test_a_lost_connection_fails_what_is_pending_and_cancels_what_runs():
    pair = Pair()
    calls = [pair.call("wait") for _ in range(3)]
    pair.advance(1)
    pair.simulation.network.reset("n1", "n2")
    answers = pair.run(DeferredList(calls))
    assert [type(problem) for _, problem in answers] == [Unreachable] * 3
    pair.advance(0.1)
    assert pair.door.cancelled == 3


def test_unknown_and_forbidden_methods_look_the_same_to_a_guest():
    pair = Pair(Identity("guest", "laptop"), None)
    for method in ("nonsense", "wait"):
        problem = pair.run(pair.call(method))
        assert isinstance(problem, UnknownMethod)
        assert problem.method == method
    assert pair.run(pair.call("echo", "hello")).message == Word("hello")
    assert pair.door.running == 0


def test_a_claimed_role_without_the_key_gets_nothing(logged):
    pair = Pair(Identity("coordinator", "c"), b"x" * 32)
    problem = pair.run(pair.call("echo"))
    assert isinstance(problem, Unreachable)
    assert "cluster key" in problem.reason
    assert any("cluster key" in event.get("reason", "") for event in logged)


def test_a_message_of_another_kind_is_refused_not_fatal():
    class Other(Record, frozen=True):
        kind = "other"

    pair = Pair()
    calling = Deferred.fromCoroutine(pair.dialer.call("echo", Other(), Word, deadline=5))
    with pytest.raises(Exception, match="another kind"):
        pair.run(calling)
    assert pair.run(pair.call("echo", "still")).message == Word("still")


def test_too_large_a_call_is_refused_before_it_is_sent():
    pair = Pair()
    assert isinstance(pair.run(pair.call("echo", "", (bytes(MAX_BODY_BYTES + 1),))), TooLarge)
    assert isinstance(pair.run(pair.call("echo", "x" * 1_100_000)), TooLarge)
    assert pair.run(pair.call("echo", "still")).message == Word("still")


def test_no_more_calls_run_at_once_than_allowed_and_all_are_answered():
    pair = Pair()
    calls = [pair.call("wait", str(number)) for number in range(3 * MAX_RUNNING)]
    pair.advance(1)
    assert pair.door.running == MAX_RUNNING
    pair.door.gate.callback(None)
    answers = pair.run(DeferredList(calls))
    assert [answer.message.text for _, answer in answers] == [
        str(number) for number in range(3 * MAX_RUNNING)
    ]
    assert pair.door.most_running == MAX_RUNNING


def test_bodies_being_handled_are_bounded_by_no_longer_reading():
    pair = Pair()
    body = bytes(4 * 1024 * 1024)
    calls = [pair.call("wait", str(number), (body,), deadline=100) for number in range(40)]
    pair.advance(5)
    assert MAX_HELD_BYTES - len(body) <= pair.door.held_bytes <= MAX_HELD_BYTES
    waiting = pair.listening.connections[0]._served._waiting.values()
    assert sum(len(call.body) for call in waiting) <= 2 * len(body)
    pair.door.gate.callback(None)
    pair.run(DeferredList(calls))
    assert pair.door.most_held_bytes <= MAX_HELD_BYTES


def test_a_busy_peer_that_reads_nothing_is_not_taken_for_dead():
    pair = Pair()
    body = bytes(16 * 1024 * 1024)
    calls = [pair.call("wait", str(number), (body,), deadline=500) for number in range(6)]
    pair.advance(120)
    assert [calling.called for calling in calls] == [False] * 6
    pair.door.gate.callback(None)
    answers = pair.run(DeferredList(calls))
    assert [answer.message.text for _, answer in answers] == list("012345")


def test_reserved_answers_bound_how_many_handlers_run():
    pair = Pair()
    large = 16 * 1024 * 1024
    calls = [pair.call("give", str(large), deadline=100) for _ in range(20)]
    answers = pair.run(DeferredList(calls))
    assert all(len(answer.body) == large for _, answer in answers)
    assert pair.door.most_running <= MAX_HELD_BYTES // large


def test_a_small_call_overtakes_large_ones_that_wait():
    pair = Pair(bytes_per_second=100_000_000)
    pair.run(pair.call("echo"))
    body = bytes(10_000_000)
    large = [pair.call("echo", "large", (body,), deadline=100) for _ in range(10)]
    small = pair.call("slow", "0")
    pair.run(small)
    assert sum(calling.called for calling in large) <= 1
    pair.run(DeferredList(large))


def test_a_large_call_that_is_given_up_in_the_queue_is_never_sent():
    pair = Pair(bytes_per_second=10_000_000)
    pair.run(pair.call("echo"))
    first = pair.call("echo", "first", (bytes(10_000_000),), deadline=100)
    second = pair.call("echo", "second", (bytes(10_000_000),), deadline=100)
    second.cancel()
    assert isinstance(pair.run(second), CancelledError)
    pair.run(first)
    pair.advance(5)
    assert [text for _, text in pair.door.seen] == ["", "first"]


def test_a_silent_cut_ends_calls_and_the_next_call_finds_a_new_way():
    pair = Pair()
    pair.run(pair.call("echo"))
    pair.simulation.network.cut("n2", "n1", one_way=True)
    problem = pair.run(pair.call("echo", deadline=100))
    assert isinstance(problem, Unreachable)
    assert "silent" in problem.reason
    pair.simulation.network.heal_all()
    pair.advance(40)
    assert pair.run(pair.call("echo", "again")).message == Word("again")


def test_an_idle_connection_stays():
    pair = Pair()
    pair.run(pair.call("echo"))
    [connection] = pair.listening.connections
    pair.advance(3600)
    assert pair.listening.connections == [connection]
    assert connection.usable


def test_stopping_lets_running_calls_end_and_takes_no_new_ones():
    pair = Pair()
    running = pair.call("slow", "3")
    pair.advance(1)
    stopping = Deferred.fromCoroutine(pair.listening.stop())
    refused = pair.run(pair.call("echo"))
    assert isinstance(refused, Unreachable)
    assert pair.run(running).message == Word("3")
    pair.run(stopping)
    assert pair.listening.connections == []


def test_stopping_does_not_wait_for_ever():
    pair = Pair()
    running = pair.call("wait", deadline=1000)
    pair.advance(1)
    pair.run(pair.listening.stop(), limit_seconds=20)
    assert isinstance(pair.run(running), Unreachable)
    assert pair.door.cancelled == 1


class Stranger(Protocol):
    """Sends what the test says, remembers what happens."""

    def __init__(self):
        self.received = b""
        self.lost = None

    def dataReceived(self, data):  # noqa: N802
        self.received += data

    def connectionLost(self, reason):  # noqa: N802
        self.lost = reason.value


def stranger(pair):
    endpoint = pair.simulation.world("stranger").endpoints.to_connect(LISTEN)
    return pair.run(endpoint.connect(Factory.forProtocol(Stranger)))


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: n2\r\n\r\n",
        bytes(100),
        pack_prefix(pack_header([FrameType.CALL, 1, "echo", b""]), 0),
        pack_prefix(pack_header([FrameType.HELLO, 0, b""]), 0),
        pack_prefix(b"\xc1", 0),
    ],
)
def test_a_stranger_is_disconnected_with_a_logged_reason_and_others_go_on(sent, logged):
    pair = Pair()
    connection = stranger(pair)
    connection.transport.write(sent)
    pair.advance(1)
    assert connection.lost is not None
    assert any(event.get("reason") and event.get("peer") for event in logged)
    assert pair.run(pair.call("echo", "fine")).message == Word("fine")


def test_a_stranger_who_says_nothing_is_disconnected():
    pair = Pair()
    connection = stranger(pair)
    pair.advance(4)
    assert connection.lost is None
    pair.advance(2)
    assert connection.lost is not None
    assert pair.listening.connections == []


@pytest.mark.parametrize(
    "header",
    [
        [FrameType.ANSWER, 77, b""],
        [FrameType.CALL, "1", "echo", b""],
        [FrameType.HELLO, 0, b""],
        [99, 1],
        [],
    ],
)
def test_a_peer_that_breaks_the_protocol_loses_its_connection_only(header, logged):
    pair = Pair()
    pair.run(pair.call("echo"))
    calling = pair.call("wait")
    pair.advance(1)
    pair.dialer._lines[0].connection._outbox.send(pack_header(header))
    assert isinstance(pair.run(calling), Unreachable)
    assert any("broke the frame protocol" in str(event.get("log_format")) for event in logged)
    pair.advance(2)
    assert pair.run(pair.call("echo", "again")).message == Word("again")


def test_an_id_in_use_twice_ends_the_connection():
    pair = Pair()
    calling = pair.call("wait")
    pair.advance(1)
    outbox = pair.dialer._lines[0].connection._outbox
    outbox.send(pack_header([FrameType.CALL, 1, "wait", b""]))
    assert isinstance(pair.run(calling), Unreachable)


def test_a_slow_reader_bounds_what_the_writer_queues():
    pair = Pair()
    pair.run(pair.call("echo"))
    transport = pair.dialer._lines[0].connection.transport
    transport.out.receiver.pauseProducing()
    body = bytes(1_000_000)
    calls = [pair.call("wait", "", (body,), deadline=60) for _ in range(50)]
    pair.advance(5)
    assert transport.out.undelivered_bytes <= 2 * 1024 * 1024
    pair.door.gate.callback(None)
    transport.out.receiver.resumeProducing()
    pair.run(DeferredList(calls))


def test_a_caller_who_does_not_read_answers_is_no_longer_served():
    pair = Pair()
    pair.run(pair.call("echo"))
    transport = pair.dialer._lines[0].connection.transport
    transport.pauseProducing()
    body = bytes(1_000_000)
    for _ in range(200):
        pair.call("echo", "", (body,), deadline=8)
    pair.advance(5)
    served = pair.listening.connections[0]._served
    assert served._held_bytes <= MAX_HELD_BYTES
    assert len(pair.door.seen) < 100


def trace(seed):
    lines = []
    pair = Pair(seed=seed, record=lambda *words: lines.append(words))
    calls = [pair.call("slow", str(number % 7 / 100), (bytes(number),)) for number in range(50)]
    pair.run(DeferredList(calls))
    pair.simulation.network.reset("n1", "n2")
    pair.advance(1)
    pair.run(pair.call("echo"))
    return lines


def test_the_same_seed_gives_the_same_trace_and_another_seed_another():
    assert trace(5) == trace(5)
    assert trace(5) != trace(6)


def test_nothing_is_left_after_closing():
    pair = Pair()
    pair.run(DeferredList([pair.call("echo") for _ in range(5)]))
    pair.run(pair.dialer.close())
    pair.run(pair.listening.stop())
    pair.advance(10)
    assert pair.simulation.clock.getDelayedCalls() == []
    assert isinstance(pair.run(pair.call("echo")), Unreachable)
    gc.collect()
