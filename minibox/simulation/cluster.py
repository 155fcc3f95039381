"""A whole cluster as it runs in production, on one virtual clock: what can be started and broken.

The coordinator and the nodes are those of ``start_coordinator`` and ``start_node``; disks, network,
threads and time are simulated. Each machine runs one process, which a supervisor starts again when
it ends.
"""

from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure as Reason

from minibox.chunk import ChunkId
from minibox.client.authority import Authority
from minibox.client.http import Http
from minibox.config import Config, parse_config
from minibox.coordinator.service import Coordinator, start_coordinator
from minibox.credentials import Secret
from minibox.errors import Failure
from minibox.http_api.accounts import Login
from minibox.node.index import OpenIndex
from minibox.node.service import Node, Storage, start_node
from minibox.simulation import Simulation
from minibox.simulation.disk import SimulatedDisk
from minibox.simulation.trace import Trace
from minibox.store import MemoryDisk, MemoryStore, Store
from minibox.world import World, sleep

T = TypeVar("T")

COORDINATOR = "coordinator"
URL = "http://127.0.0.1:8000"
FIRST_PASSWORD = "first password"  # noqa: S105  of a cluster that exists in memory only
RESTART_SECONDS = 1.0
VOLUME_BYTES = 1024 * 1024
"""Small, so that a run of some seconds fills several."""
NODE_ROOM_BYTES = 1 << 40
_KEY = Secret(b"simulated cluster key, 32 bytes!")


def simulated_config(
    nodes: int, *, replicas: int = 3, ack: int = 2, quota_bytes: int = 0
) -> Config:
    """A cluster.yaml for the simulation: short thresholds and cheap password hashing."""
    replicas = min(replicas, nodes)
    lines = [
        f"cluster: {{name: simulated, replicas: {replicas}, ack: {min(ack, replicas)}}}",
        "coordinator:",
        '  http: "tcp:8000:interface=127.0.0.1"',
        '  cluster: "tcp:8001:interface=127.0.0.1"',
        "  bcrypt_cost: 4",
        "  suspect_seconds: 2s",
        "  down_seconds: 4s",
        "  lost_seconds: 15s",
        "  lease_minutes: 30s",
        *([f"  default_quota_bytes: {quota_bytes}"] if quota_bytes else []),
        "nodes:",
        *(
            f'  n{number}: {{listen: "tcp:{8100 + number}:interface=127.0.0.1", data: [n{number}],'
            f" zone: {'abc'[number % 3]}, reserve_bytes: 1MiB}}"
            for number in range(1, nodes + 1)
        ),
    ]
    config = parse_config("\n".join(lines), Path("/simulated/cluster.yaml"), {})
    smaller = {
        name: msgspec.structs.replace(node, volume_bytes=VOLUME_BYTES)
        for name, node in config.nodes.items()
    }
    return msgspec.structs.replace(config, nodes=smaller)


class SimulatedCluster:
    """A coordinator, its nodes, and clients. ``bugs`` gathers what should never have happened."""

    def __init__(self, seed: int, config: Config, trace: Trace | None = None) -> None:
        self.trace = trace or Trace()
        self.simulation = Simulation(seed, record=self.trace.packet)
        self.trace.begin(self.simulation.clock)
        self.config = config
        self.random = Random(self.simulation.random.getrandbits(64))
        self.metadata = MemoryDisk(self._generator())
        self.disks = {
            name: SimulatedDisk(self._generator(), NODE_ROOM_BYTES, name) for name in config.nodes
        }
        self.coordinator: Coordinator | None = None
        self.nodes: dict[str, Node] = {}
        self.bugs: list[str] = []
        self.may_be_full = False
        """Whether a disk is, or lately was, so small that a lack of room is no surprise."""
        self.damaged: dict[tuple[str, ChunkId], None] = {}
        """Copies, by node and chunk, that the simulation itself has spoilt."""
        self.disk_lost_at = float("-inf")
        self._indexes = {name: MemoryDisk(self._generator()) for name in config.nodes}
        self._worlds: dict[str, World] = {}
        self._held_down: dict[str, None] = {}
        self._buried: list[object] = []
        for name, disk in self.disks.items():
            disk.when_it_ends(partial(self._end, name))

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines of the cluster, without its clients."""
        return (COORDINATOR, *self.config.nodes)

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.simulation.clock.seconds()

    def pause(self, seconds: float) -> Deferred[None]:
        """Let virtual time pass, whoever lives or dies."""
        return sleep(self.simulation.clock, seconds)

    def together(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Let ``work`` go on beside whatever else happens."""
        return Deferred.fromCoroutine(work)

    # Processes

    def is_running(self, machine: str) -> bool:
        """Whether its process serves."""
        return machine in self.nodes or (machine == COORDINATOR and self.coordinator is not None)

    def start(self, machine: str) -> None:
        """Start the process of a machine, and again whenever it ends by itself."""
        self._held_down.pop(machine, None)
        if machine in self._worlds:
            return
        self.trace.event(machine, "starts")
        world = self._worlds[machine] = self.simulation.world(machine)
        starting = Deferred.fromCoroutine(self._start(machine, world))
        starting.addErrback(self._could_not_start, machine, world)

    def start_all(self) -> None:
        """Start what doesn't run."""
        for machine in self.machines:
            self.start(machine)

    def kill(self, machine: str) -> None:
        """End a process at once: the machine and its page cache live on."""
        self._end(machine)
        if machine != COORDINATOR:
            self.disks[machine].kill()

    def cut_power(self, machine: str) -> None:
        """End the machine: what was not synced is kept, lost or torn."""
        self._end(machine)
        if machine != COORDINATOR:
            self.disks[machine].crash()

    def lose_disk(self, machine: str) -> None:
        """Power goes and an empty disk is put in the place of the old one."""
        self._end(machine)
        self.disk_lost_at = self.now
        self.disks[machine].lose()
        self._indexes[machine] = MemoryDisk(self._generator())

    def step_wall(self, machine: str, seconds: float) -> None:
        """An administrator sets the clock of a machine, for as long as its process lives."""
        world = self._worlds.get(machine)
        if world is not None:
            world.clock.step_wall(seconds)  # type: ignore[attr-defined]

    # Clients

    def client(self, machine: str, login: Login | None) -> Http:
        """A client on its own machine that never tries a call again by itself."""
        return Http(
            self.client_world(machine), URL, Authority(None), login=login, patience_seconds=0
        )

    def client_world(self, machine: str) -> World:
        """The world of a client's machine, made when first asked for."""
        world = self._worlds.get(machine)
        if world is None:
            world = self._worlds[machine] = self.simulation.world(machine)
        return world

    # Looking from outside

    def store(self) -> Store:
        """The metadata as a coordinator that started now would find them; for reading only."""
        if self.coordinator is not None:
            return self.coordinator.store
        return MemoryStore(self.client_world("observer"), self.metadata.copy())

    async def settled(self, limit_seconds: float = 60.0) -> bool:
        """Wait until every process serves and the coordinator has heard all nodes."""
        until = self.now + limit_seconds
        while self.now < until:
            if all(self.is_running(machine) for machine in self.machines):
                coordinator = self.coordinator
                if coordinator is not None and len(coordinator.cluster.standing()) == len(
                    self.config.nodes
                ):
                    return True
            await self.pause(0.25)
        return False

    # Inside

    async def _start(self, machine: str, world: World) -> None:
        if machine == COORDINATOR:
            made = await start_coordinator(
                world, self.config, _KEY, lambda: self._open_store(world), _first_password
            )
            made.store.failed.addCallback(lambda _: self._ended_itself(machine))
            self.coordinator = made
        else:
            storage = Storage(
                lambda _: self.disks[machine].attach(), lambda _: self._open_index(machine, world)
            )
            self.nodes[machine] = await start_node(world, self.config, machine, _KEY, storage)
        self.trace.event(machine, "serves")

    async def _open_store(self, world: World) -> Store:
        return MemoryStore(world, self.metadata)

    def _open_index(self, machine: str, world: World) -> OpenIndex:
        async def opened(*, anew: bool) -> Store:
            if anew:
                self._indexes[machine] = MemoryDisk(self._generator())
            return MemoryStore(world, self._indexes[machine])

        return opened

    def _could_not_start(self, reason: Reason, machine: str, world: World) -> None:
        if self._worlds.get(machine) is not world:
            return
        if not isinstance(reason.value, Failure):
            self.bugs.append(f"{machine} could not start: {reason.getTraceback()}")
        self.trace.event(machine, "refuses to start", reason.value)
        self._ended_itself(machine)

    def _ended_itself(self, machine: str) -> None:
        self.kill(machine)
        self.simulation.clock.callLater(RESTART_SECONDS, self._start_again, machine)
        del self._held_down[machine]

    def _start_again(self, machine: str) -> None:
        if machine not in self._held_down:
            self.start(machine)

    def _end(self, machine: str) -> None:
        self.trace.event(machine, "ends")
        self._held_down[machine] = None
        self._buried.append((self._worlds.pop(machine, None), self.nodes.pop(machine, None)))
        self.simulation.crash(machine)
        if machine == COORDINATOR:
            self._buried.append(self.coordinator)
            self.coordinator = None
            self.metadata.crash()
        else:
            self._indexes[machine].crash()

    def _generator(self) -> Random:
        return Random(self.simulation.random.getrandbits(64))


async def _first_password() -> str:
    return FIRST_PASSWORD
