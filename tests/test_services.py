"""Order of starting and stopping; work that comes back whatever happens."""

import pytest
from twisted.internet.defer import CancelledError, Deferred

from minibox.errors import PortTaken
from minibox.services import Periodic, Services, jittered, listen
from minibox.simulation import Simulation, VirtualClock
from minibox.world import sleep


class Part:
    """A service that tells when it is started and stopped."""

    def __init__(self, name, story, clock, *, fails_at=""):
        self.name, self.story, self.clock, self.fails_at = name, story, clock, fails_at

    async def start(self):
        await self._take("start")

    async def stop(self):
        await self._take("stop")

    async def _take(self, verb):
        self.story.append(f"{verb} {self.name}")
        await sleep(self.clock, 1)
        if self.fails_at == verb:
            raise ValueError(self.name)
        self.story.append(f"{verb} {self.name} done")


def services(clock, **failing):
    story = []
    made = Services()
    for name in ("disk", "door", "heartbeat"):
        made.add(name, Part(name, story, clock, fails_at=failing.get(name, "")))
    return made, story


def finished(verb, *names):
    return [line for name in names for line in (f"{verb} {name}", f"{verb} {name} done")]


def test_stop_is_start_reversed_one_at_a_time():
    clock = VirtualClock()
    made, story = services(clock)
    clock.run(made.start())
    assert story == finished("start", "disk", "door", "heartbeat")
    story.clear()
    clock.run(made.stop())
    assert story == finished("stop", "heartbeat", "door", "disk")


def test_a_failed_start_stops_what_had_started():
    clock = VirtualClock()
    made, story = services(clock, heartbeat="start")
    with pytest.raises(ValueError, match="heartbeat"):
        clock.run(made.start())
    assert story[-4:] == finished("stop", "door", "disk")
    story.clear()
    clock.run(made.stop())
    assert story == []


def test_a_failed_stop_stops_the_others_and_raises():
    clock = VirtualClock()
    made, story = services(clock, door="stop")
    clock.run(made.start())
    story.clear()
    with pytest.raises(ValueError, match="door"):
        clock.run(made.stop())
    assert story[-2:] == finished("stop", "disk")


def test_a_cancelled_start_stops_what_had_started():
    clock = VirtualClock()
    made, story = services(clock)
    starting = Deferred.fromCoroutine(made.start())
    clock.advance(1.5)
    starting.cancel()
    with pytest.raises(CancelledError):
        clock.run(starting)
    assert story[-2:] == finished("stop", "disk")


class Work:
    """What a Periodic calls: turns of some length that may fail."""

    def __init__(self, clock, *, seconds=0.0, problem=None):
        self.clock, self.seconds, self.problem = clock, seconds, problem
        self.began, self.ended, self.running = [], [], 0

    async def turn(self):
        assert self.running == 0
        self.running += 1
        self.began.append(self.clock.seconds())
        await sleep(self.clock, self.seconds)
        self.running -= 1
        self.ended.append(self.clock.seconds())
        if self.problem is not None:
            raise self.problem


def start(clock, work, interval_seconds=10.0):
    periodic = Periodic(clock, interval_seconds, work.turn)
    clock.run(periodic.start())
    return periodic


def test_turns_come_at_the_interval_from_the_first_at_once():
    clock = VirtualClock()
    work = Work(clock, seconds=3)
    start(clock, work)
    clock.advance(25)
    assert work.began == [0, 10, 20]


@pytest.mark.parametrize("problem", [ValueError("no"), CancelledError()])
def test_a_failing_turn_does_not_end_the_turns(problem):
    clock = VirtualClock()
    work = Work(clock, problem=problem)
    start(clock, work)
    clock.advance(35)
    assert work.began == [0, 10, 20, 30]


def test_a_turn_longer_than_the_interval_delays_the_next_and_never_overlaps():
    clock = VirtualClock()
    work = Work(clock, seconds=25)
    start(clock, work)
    clock.advance(60)
    assert work.began == [0, 25, 50]


def test_stop_waits_for_the_running_turn_and_none_follows():
    clock = VirtualClock()
    work = Work(clock, seconds=4)
    periodic = start(clock, work)
    clock.advance(1)
    clock.run(periodic.stop())
    assert clock.seconds() == 4
    assert work.ended == [4]
    clock.advance(100)
    assert work.began == [0]


def test_stop_between_turns_returns_at_once_and_leaves_no_timer():
    clock = VirtualClock()
    periodic = start(clock, Work(clock))
    clock.advance(5)
    clock.run(periodic.stop())
    assert clock.getDelayedCalls() == []


def test_waking_begins_a_turn_now_or_right_after_the_running_one():
    clock = VirtualClock()
    work = Work(clock, seconds=2)
    periodic = start(clock, work)
    clock.advance(5)
    periodic.wake()
    clock.advance(1)
    periodic.wake()
    clock.advance(1.5)
    assert work.began == [0, 5, 7]
    clock.advance(10)
    assert work.began == [0, 5, 7, 17]


def test_jitter_only_shortens():
    simulation = Simulation(1)
    shorten = jittered(simulation.world("n1").random_bytes, 0.25)
    waits = [shorten(8.0) for _ in range(200)]
    assert 6.0 < min(waits) < 6.5
    assert 7.5 < max(waits) <= 8.0


def test_a_taken_port_is_named():
    simulation = Simulation(1)
    endpoints = simulation.world("n1").endpoints

    async def twice():
        first = await listen(endpoints, "tcp:0:interface=127.0.0.1", _Factory())
        text = f"tcp:{first.port}:interface=127.0.0.1"
        with pytest.raises(PortTaken, match=text):
            await listen(endpoints, text, _Factory())
        await first.stop()
        again = await listen(endpoints, text, _Factory())
        return first.port == again.port != 0

    assert simulation.run(twice())


class _Factory:
    def doStart(self):  # noqa: N802
        pass

    def doStop(self):  # noqa: N802
        pass
