"""A node, built in the order in which its parts need each other."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from twisted.logger import Logger

from minibox.chunk import ChunkId
from minibox.config import Config, NodeConfig
from minibox.credentials import Capabilities, Receipts, Secret, cluster_id, derived_key
from minibox.disk import Disk, OperatingSystemDisk
from minibox.endpoint_strings import to_connect
from minibox.errors import ConfigInvalid, DirectoryRefused
from minibox.node.chunks import ChunkStore, open_chunks
from minibox.node.door import Door
from minibox.node.heartbeat import Heart
from minibox.node.index import OpenIndex
from minibox.node.index_files import lmdb_index
from minibox.node.limits import Limits
from minibox.node.marker import Claim, claim
from minibox.node.obedience import Obedience, read_obeyed, write_obeyed
from minibox.node.peers import Caller, Peers
from minibox.node.replication import Replication
from minibox.node.reports import Reports
from minibox.node.shelf import Shelf
from minibox.node_api import DAMAGE, RECEIPTS, Damage, Receipt
from minibox.node_api import Receipts as LateReceipts
from minibox.rpc import Dialer, Identity, Listening, serve
from minibox.world import World

COORDINATOR = "coordinator"
"""The name with which a coordinator introduces itself."""

RECEIPT_AGE_SECONDS = 60.0
DAMAGE_AGE_SECONDS = 3600.0

_log = Logger()


class Storage(NamedTuple):
    """How a data directory becomes a disk, and where its index is kept. ``open_disk`` blocks."""

    open_disk: Callable[[Path], Disk]
    open_index: Callable[[Path], OpenIndex]


def directories(world: World) -> Storage:
    """Data directories of this machine, made where they are missing; the index is inside."""
    return Storage(_open_directory, partial(lmdb_index, world))


class Node:
    """A node that serves. Stop it once."""

    def __init__(
        self,
        name: str,
        listen: str,
        listening: Listening,
        shelf: Shelf,
        obedience: Obedience,
        peers: Peers,
        replication: Replication,
        running: AsyncExitStack,
    ) -> None:
        self.name = name
        self.listen = listen
        self.shelf = shelf
        self.obedience = obedience
        self.peers = peers
        self.replication = replication
        self._listening = listening
        self._running = running

    @property
    def port(self) -> int:
        """The TCP port in use; 0 where there is none."""
        return self._listening.port

    @property
    def ready(self) -> str:
        """The line that says where it serves: ``tcp:127.0.0.1:8101``."""
        return f"ready node {self.name} on {to_connect(self.listen)}"

    async def stop(self) -> None:
        """Take no more calls, finish those that run, and leave the disks closed and complete."""
        await self._running.aclose()


async def start_node(
    world: World, config: Config, node: str, cluster_key: Secret, storage: Storage
) -> Node:
    """Open the disks, listen, and begin to beat; returns when it serves.

    Nothing is left running by what it raises: ConfigInvalid, DirectoryRefused, FormatTooNew,
    NoRoom, StoreStopped, PortTaken.
    """
    settings = config.nodes.get(node)
    if settings is None:
        known = ", ".join(config.nodes)
        raise ConfigInvalid(f"node {node!r}", f"there is no such node; the nodes are {known}")
    handshake_key = derived_key(cluster_key, "handshake")
    identity = Identity("node", node)

    def dial(name: str, listen: str) -> Dialer:
        cluster = config.cluster.name
        return Dialer(world, listen, identity, handshake_key, cluster=cluster, expected_name=name)

    async with AsyncExitStack() as running:
        coordinator: Caller = dial(COORDINATOR, config.coordinator.cluster)
        running.push_async_callback(coordinator.close)
        late: Reports[Receipt] = Reports(
            world.clock,
            coordinator,
            RECEIPTS,
            lambda receipts: LateReceipts(tuple(receipts)),
            RECEIPT_AGE_SECONDS,
        )
        running.push_async_callback(late.stop)
        damage: Reports[ChunkId] = Reports(
            world.clock,
            coordinator,
            DAMAGE,
            lambda chunks: Damage(node, tuple(chunks)),
            DAMAGE_AGE_SECONDS,
        )
        running.push_async_callback(damage.stop)

        disks = [await world.threads.run(storage.open_disk, path) for path in settings.data]
        claims = [
            await world.threads.run(claim, disk, cluster_id(cluster_key), node, world.random_bytes)
            for disk in disks
        ]
        obeyed = await world.threads.run(read_obeyed, disks)
        obedience = Obedience(
            world.clock,
            node,
            obeyed,
            lambda latest: world.threads.run(write_obeyed, node, disks, latest),
        )
        stores = await _open_stores(
            world, settings, disks, claims, storage, lambda chunk: damage.add([chunk]), running
        )
        shelf = Shelf(node, stores)

        peers = Peers(world.clock, node, dial)
        running.push_async_callback(peers.stop)
        replication = Replication(world.clock, peers, late.add)
        door = Door(
            world.threads,
            node,
            shelf,
            obedience,
            peers,
            replication,
            Capabilities(derived_key(cluster_key, "capability")),
            Receipts(derived_key(cluster_key, "receipt")),
        )
        listening = await serve(
            world,
            settings.listen,
            identity,
            handshake_key,
            door.methods(),
            cluster=config.cluster.name,
        )
        running.push_async_callback(listening.stop)
        boot = int.from_bytes(world.random_bytes(6), "big")
        heart = Heart(world, node, boot, coordinator, shelf.status, obedience, peers)
        await heart.start()
        running.push_async_callback(heart.stop)
        return Node(
            node,
            settings.listen,
            listening,
            shelf,
            obedience,
            peers,
            replication,
            running.pop_all(),
        )


def _open_directory(path: Path) -> Disk:
    try:
        path.mkdir(parents=True, exist_ok=True)
        return OperatingSystemDisk(path)
    except OSError as problem:
        reason = f"it can't be used: {problem.strerror}"
        raise DirectoryRefused(directory=str(path), reason=reason) from problem


async def _open_stores(
    world: World,
    settings: NodeConfig,
    disks: Sequence[Disk],
    claims: Sequence[Claim],
    storage: Storage,
    on_damage: Callable[[ChunkId], None],
    running: AsyncExitStack,
) -> list[ChunkStore]:
    limits = Limits(volume_bytes=settings.volume_bytes, reserve_bytes=settings.reserve_bytes)
    stores: list[ChunkStore] = []
    for path, disk, claimed in zip(settings.data, disks, claims, strict=True):
        store, recovery = await open_chunks(
            world, disk, claimed, settings.id, storage.open_index(path), on_damage, limits
        )
        running.push_async_callback(store.close)
        stores.append(store)
        _log.info(
            "disk ready",
            directory=disk.directory,
            disk=claimed.identity.disk.hex(),
            is_new=claimed.is_new,
            rebuilt=recovery.was_rebuilt,
            replayed=recovery.records,
        )
    return stores
