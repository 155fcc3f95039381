"""A machine with one simulated disk, whose node process is started, killed and started again."""

import hashlib
from random import Random
from zlib import crc32

from minibox.chunk import ChunkId, ChunkRef
from minibox.node.batch import Incoming
from minibox.node.chunks import ChunkStore, open_chunks
from minibox.node.limits import Limits
from minibox.node.marker import claim
from minibox.node.recovery import Recovery
from minibox.simulation.clock import ProcessClock, VirtualClock
from minibox.simulation.disk import SimulatedDisk
from minibox.simulation.threads import SimulatedThreads
from minibox.store import MemoryDisk, MemoryStore
from minibox.world import World

CLUSTER = b"cluster-of-tests"
SMALL = Limits(
    volume_bytes=4096, batch_bytes=8192, reserve_bytes=2048, ballast_bytes=512, checkpoint_rows=1000
)


class Machine:
    def __init__(self, seed: int = 0, limits: Limits = SMALL, total_bytes: int = 1 << 30) -> None:
        self.generator = Random(seed)
        self.disk = SimulatedDisk(self.generator, total_bytes)
        self.rows = MemoryDisk(self.generator)
        self.limits = limits
        self.damage: list[ChunkId] = []
        self.clock = VirtualClock()
        self._process = ProcessClock(self.clock)
        self._changes_in_start: int | None = None
        self.store: ChunkStore
        self.recovery: Recovery
        self.start()

    def start(self) -> None:
        """Start the node's process; one that ran before is dead, whatever it was doing."""
        self._process.kill()
        self.disk.kill()
        self.rows.crash()
        self._process = ProcessClock(self.clock)
        threads = SimulatedThreads(self._process, self.generator)
        self._world = World(self._process, self.generator.randbytes, None, threads)
        if self._changes_in_start is not None:
            self.disk.crash_before(self._changes_in_start)
            self._changes_in_start = None
        self.store, self.recovery = self.run(self._open())

    def crash_in_start(self, changes: int) -> None:
        """Cut the power again after so many changes in the next start."""
        self._changes_in_start = changes

    async def _open(self) -> tuple[ChunkStore, Recovery]:
        disk = self.disk.attach()
        claimed = claim(disk, CLUSTER, "n1", self.generator.randbytes)
        return await open_chunks(
            self._world, disk, claimed, "n1", self._open_index, self.damage.append, self.limits
        )

    async def _open_index(self, *, anew: bool) -> MemoryStore:
        if anew:
            self.lose_index()
        return MemoryStore(self._world, self.rows)

    def lose_index(self) -> None:
        self.rows = MemoryDisk(self.generator)

    def run(self, awaitable):
        return self.clock.run(awaitable)

    def crash(self) -> None:
        """Cut the power and start again."""
        self.disk.crash()
        self.start()

    def close(self) -> None:
        self.run(self.store.close())

    def put(self, content: bytes, sequence: int = 1) -> ChunkRef:
        item = incoming(content, sequence)
        self.run(self.store.put([item]))
        return item.chunk

    def get(self, chunk: ChunkRef) -> bytes:
        return self.run(self.store.get(chunk))

    def delete(self, chunk: ChunkRef, sequence: int) -> bool:
        return self.run(self.store.delete(chunk.id, sequence))

    def verify(self, *chunks: ChunkRef) -> list[str]:
        return self.run(self.store.verify([chunk.id for chunk in chunks]))

    def volumes(self) -> list[str]:
        return [name for name in self.disk.names() if name.endswith(".vol")]

    def find(self, content: bytes) -> tuple[str, int]:
        """The volume and offset where ``content`` stands."""
        for name in self.volumes():
            offset = self.disk.content(name).find(content)
            if offset >= 0:
                return name, offset
        raise AssertionError("it stands nowhere")


def incoming(content: bytes, sequence: int = 1) -> Incoming:
    middle = len(content) // 2
    parts = [content[:middle], memoryview(content)[middle:]]
    return Incoming(ref(content), crc32(content), sequence, parts)


def ref(content: bytes) -> ChunkRef:
    return ChunkRef(ChunkId(hashlib.sha256(content).digest()), len(content))
