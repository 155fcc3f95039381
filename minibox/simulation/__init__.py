"""A whole cluster in one process, on one virtual clock, with seeded faults.

Owners and library users run their own code in it too: a :class:`Simulation` gives each machine a
:class:`minibox.world.World`, and the same seed gives the same trace.
"""

from collections.abc import Awaitable
from random import Random
from typing import TypeVar

from minibox.simulation.clock import ProcessClock, VirtualClock
from minibox.simulation.network import Network, SimulatedEndpoints
from minibox.simulation.threads import SimulatedThreads
from minibox.simulation.wire import Record, _unrecorded
from minibox.world import World

T = TypeVar("T")

__all__ = ["Network", "ProcessClock", "SimulatedEndpoints", "Simulation", "VirtualClock"]


class Simulation:
    """Time, network and chance of a simulated cluster."""

    def __init__(
        self, seed: int, bytes_per_second: float = 0.0, record: Record = _unrecorded
    ) -> None:
        self.random = Random(seed)
        self.clock = VirtualClock()
        self.network = Network(self.clock, self._fork(), bytes_per_second, record)
        self._clocks: dict[str, ProcessClock] = {}

    def world(self, machine: str) -> World:
        """A fresh start of the process on ``machine``; an earlier one has to be crashed first."""
        if machine in self._clocks:
            raise ValueError(f"{machine} is running")
        clock = self._clocks[machine] = ProcessClock(self.clock)
        return World(
            clock=clock,
            random_bytes=self._fork().randbytes,
            endpoints=SimulatedEndpoints(self.network, machine),
            threads=SimulatedThreads(clock, self._fork()),
        )

    def crash(self, machine: str) -> None:
        """The process on ``machine`` ends without a word: no timer, thread or byte of it comes."""
        clock = self._clocks.pop(machine, None)
        if clock is not None:
            clock.kill()
        self.network.crash(machine)

    def run(self, awaitable: Awaitable[T], limit_seconds: float = 3600.0) -> T:
        """Let virtual time pass until ``awaitable`` is done; its result, or what it raised."""
        return self.clock.run(awaitable, limit_seconds)

    def _fork(self) -> Random:
        """Chance of its own for each part: one that asks more often doesn't change the others."""
        return Random(self.random.getrandbits(64))
