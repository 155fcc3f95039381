"""Fixtures: a door, a connection to it, and the clock that both live on."""

import pytest
from http_door import Door, TurnedClock
from twisted.logger import globalLogPublisher


@pytest.fixture
def clock():
    return TurnedClock()


@pytest.fixture
def door(clock):
    return Door(clock)


@pytest.fixture
def connection(door):
    return door.connect()


@pytest.fixture
def caught_bugs():
    """The types of the exceptions that were logged since it was last asked."""
    caught = []

    def observe(event):
        if "log_failure" in event:
            caught.append(event["log_failure"].type)

    def taken():
        found = list(caught)
        caught.clear()
        return found

    globalLogPublisher.addObserver(observe)
    yield taken
    globalLogPublisher.removeObserver(observe)
