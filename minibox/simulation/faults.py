"""Seeded faults: what goes wrong, where, for how long.

The cluster promises to survive the loss of W - 1 copies at once. So a second disk is lost or
spoilt only when every chunk has all its copies again; everything else may happen at any moment.
"""

from collections.abc import Awaitable, Callable
from random import Random

from minibox.coordinator import holders
from minibox.simulation.cluster import COORDINATOR, NODE_ROOM_BYTES, SimulatedCluster
from minibox.simulation.platters import holding, platter_of

Fault = Callable[[], Awaitable[None]]

FULL_AFTERMATH_SECONDS = 25.0
"""So long after room is back a request that began before may still be refused for lack of it."""
_NODE_SHARE = 0.75


class Faults:
    """Breaks things until told to stop; :meth:`mend` repairs what an operator would."""

    def __init__(self, cluster: SimulatedCluster, clients: list[str], generator: Random) -> None:
        self._cluster = cluster
        self._clients = clients
        self._generator = generator
        self._nodes = list(cluster.config.nodes)
        self._has_destroyed = False
        self._stopped_disks: dict[str, None] = {}
        self._over = False
        self._under_way = 0
        self._faults: list[tuple[Fault, int]] = [
            (self.kill, 8),
            (self.cut_power, 6),
            (self.end_in_a_write, 6),
            (self.cut_all_power, 1),
            (self.cut_wire, 7),
            (self.slow_wire, 4),
            (self.reset, 4),
            (self.fail_a_sync, 2),
            (self.fail_a_commit, 1),
            (self.fill_disk, 3),
            (self.fill_metadata, 1),
            (self.flip, 2),
            (self.lose_disk, 1),
            (self.step_wall, 1),
        ]

    async def happen(self, shortest: float, longest: float) -> None:
        """One fault after the other until :meth:`mend`."""
        doings, weights = zip(*self._faults, strict=True)
        while not self._over:
            await self._cluster.pause(self._generator.uniform(shortest, longest))
            if self._is_over():
                return
            [doing] = self._generator.choices(doings, weights)
            self._cluster.together(self._do(doing))

    async def mend(self) -> None:
        """No more faults; wires, disks and processes work again."""
        self._over = True
        while self._under_way:
            await self._cluster.pause(0.1)
        self._cluster.simulation.network.heal_all()
        for node in self._stopped_disks:
            self._cluster.kill(node)
        self._cluster.start_all()

    async def _do(self, doing: Fault) -> None:
        self._under_way += 1
        try:
            await doing()
        finally:
            self._under_way -= 1

    # Processes and power

    async def kill(self) -> None:
        """A process ends and comes back."""
        machine = self._machine()
        self._event("kills", machine)
        self._cluster.kill(machine)
        await self._return(machine)

    async def cut_power(self) -> None:
        """A machine ends and comes back."""
        machine = self._machine()
        self._event("cuts the power of", machine)
        self._cluster.cut_power(machine)
        await self._return(machine)

    async def end_in_a_write(self) -> None:
        """Power or process ends in the middle of the next things that a node writes."""
        node = self._generator.choice(self._nodes)
        disk, changes = self._cluster.disks[node], self._generator.randrange(1, 12)
        is_power = self._generator.random() < 0.7  # noqa: PLR2004 - a share
        self._event("will end", node, "after", changes, "changes", is_power)
        (disk.crash_before if is_power else disk.kill_before)(changes)
        await self._cluster.pause(self._generator.uniform(0.2, 2.0))
        disk.go_on()
        if self._cluster.is_running(node):  # it has written nothing that long
            (self._cluster.cut_power if is_power else self._cluster.kill)(node)
        await self._return(node)

    async def cut_all_power(self) -> None:
        """All machines at once."""
        self._event("cuts all power")
        for machine in self._cluster.machines:
            self._cluster.cut_power(machine)
        await self._cluster.pause(self._generator.uniform(0.1, 3.0))
        machines = list(self._cluster.machines)
        self._generator.shuffle(machines)
        for machine in machines:
            self._cluster.start(machine)
            await self._cluster.pause(self._generator.uniform(0, 1.0))

    async def fail_a_sync(self) -> None:
        """A node's disk fails a sync; its owner starts the node again some time later."""
        node = self._generator.choice(self._nodes)
        self._event("lets the next sync fail of", node)
        self._cluster.disks[node].fail_next_sync()
        await self._cluster.pause(self._generator.uniform(1, 6))
        self._cluster.kill(node)
        await self._return(node)

    async def fail_a_commit(self) -> None:
        """A commit of the metadata can't be made durable: the coordinator has to end."""
        self._event("lets commits fail")
        self._cluster.metadata.sync_fails = True
        await self._cluster.pause(self._generator.uniform(0.1, 1.0))
        self._cluster.metadata.sync_fails = False

    async def step_wall(self) -> None:
        """Somebody sets a clock, forth or back."""
        machine, seconds = self._machine(), self._generator.uniform(-3000, 3000)
        self._event("steps the clock of", machine, f"{seconds:.0f}")
        self._cluster.step_wall(machine, seconds)

    # Wires

    async def cut_wire(self) -> None:
        """Nothing goes between two machines, or one way only."""
        one, other = self._two_machines()
        one_way = self._generator.random() < 0.4  # noqa: PLR2004 - a share
        self._event("cuts", one, "from", other, "one way" if one_way else "")
        self._cluster.simulation.network.cut(one, other, one_way=one_way)
        await self._last(0.2, 12)
        self._event("heals", one, other)
        self._cluster.simulation.network.heal(one, other)

    async def slow_wire(self) -> None:
        """What one sends to another comes late."""
        one, other = self._two_machines()
        self._event("slows", one, other)
        self._cluster.simulation.network.slow(one, other, self._generator.uniform(0.05, 1.5))
        await self._last(0.5, 8)
        self._cluster.simulation.network.slow(one, other, 0)

    async def reset(self) -> None:
        """Connections between two machines end."""
        one, other = self._two_machines()
        self._event("resets", one, other)
        self._cluster.simulation.network.reset(one, other)

    # Room

    async def fill_disk(self) -> None:
        """A node's disk is full, up to a few bytes."""
        node = self._generator.choice(self._nodes)
        disk = self._cluster.disks[node]
        self._event("fills the disk of", node)
        self._cluster.may_be_full = True
        disk.resize(disk.used_bytes() + self._generator.choice((0, 1_048_576 + 300)))
        await self._last(0.5, 8)
        disk.resize(NODE_ROOM_BYTES)
        await self._room_is_back()

    async def fill_metadata(self) -> None:
        """The coordinator's disk is full."""
        self._event("fills the metadata disk")
        self._cluster.may_be_full = True
        self._cluster.metadata.room_bytes = self._cluster.metadata.rows.bytes * 20 // 19
        await self._last(0.5, 4)
        self._cluster.metadata.room_bytes = None
        await self._room_is_back()

    async def _room_is_back(self) -> None:
        self._event("gives room back")
        self._full_until = self._cluster.now + FULL_AFTERMATH_SECONDS
        self._cluster.simulation.clock.callLater(FULL_AFTERMATH_SECONDS, self._look_at_room)

    def _look_at_room(self) -> None:
        if self._cluster.now >= self._full_until:
            self._cluster.may_be_full = False

    # What destroys copies

    async def flip(self) -> None:
        """A bit of a volume flips."""
        node = self._generator.choice(self._nodes)
        if not self._may_destroy():
            return
        platter = platter_of(self._cluster.disks[node])
        if not platter.records:
            return
        self._has_destroyed = True
        hit = self._generator.choice(platter.records)
        at = self._generator.randrange(hit.start, hit.end)
        self._event("flips a bit of", node, hit.file, at)
        self._cluster.damaged[node, hit.record.chunk] = None
        self._cluster.disks[node].flip(hit.file, at, 1 << self._generator.randrange(8))

    async def lose_disk(self) -> None:
        """A node comes back with an empty disk."""
        node = self._generator.choice(self._nodes)
        if not self._may_destroy():
            return
        self._has_destroyed = True
        self._event("loses the disk of", node)
        self._cluster.lose_disk(node)
        await self._return(node)

    def _may_destroy(self) -> bool:
        if not self._has_destroyed:
            return True
        platters = {name: platter_of(disk) for name, disk in self._cluster.disks.items()}
        wanted = self._cluster.config.cluster.replicas
        known = self._cluster.store().read(
            lambda reader: [each for each, _ in holders.every(reader)]
        )
        return all(len(holding(platters, chunk)) >= wanted for chunk in known)

    # Choices

    def _is_over(self) -> bool:
        return self._over

    async def _return(self, machine: str) -> None:
        await self._last(0.1, 9)
        self._event("starts", machine)
        self._cluster.start(machine)

    async def _last(self, shortest: float, longest: float) -> None:
        """Most faults are short, some are long; all end when faults are over."""
        seconds = shortest + (longest - shortest) * self._generator.random() ** 2
        until = self._cluster.now + seconds
        while self._cluster.now < until and not self._over:
            await self._cluster.pause(min(0.5, until - self._cluster.now))

    def _machine(self) -> str:
        if self._generator.random() < _NODE_SHARE:
            return self._generator.choice(self._nodes)
        return COORDINATOR

    def _two_machines(self) -> tuple[str, str]:
        one, other = self._generator.sample([COORDINATOR, *self._nodes, *self._clients], 2)
        return one, other

    def _event(self, *words: object) -> None:
        self._cluster.trace.event("fate", *map(str, words))
