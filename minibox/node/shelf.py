"""All disks of a node as one: new chunks go where most is free, reads find them on any.

A failed or full disk is one disk, not the node.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from minibox.chunk import ChunkId, ChunkRef
from minibox.errors import ChunkNotHeld, DiskFull, StoreStopped
from minibox.node.batch import Incoming
from minibox.node.chunks import ChunkStore, Found, Verdict
from minibox.node_api import DiskStatus


class OnDisk(NamedTuple):
    """A chunk that is held, and the id of the disk that holds it."""

    chunk: ChunkRef
    disk: bytes


class Shelf:
    """The disks of one node that could be opened."""

    def __init__(self, node: str, stores: Sequence[ChunkStore]) -> None:
        self._node = node
        self._stores = tuple(stores)

    @property
    def stores(self) -> tuple[ChunkStore, ...]:
        """Each disk by itself."""
        return self._stores

    def status(self) -> tuple[DiskStatus, ...]:
        """The disks for a heartbeat."""
        return tuple(store.status() for store in self._stores)

    def holds(self, chunk: ChunkId) -> OnDisk | None:
        """Where a copy is that is durable and not known to be bad."""
        for store in self._stores:
            ref = store.holds(chunk)
            if ref is not None:
                return OnDisk(ref, store.disk_id)
        return None

    async def put(self, items: Sequence[Incoming]) -> list[bytes]:
        """Keep these chunks, durable on return; the id of the disk that has each.

        Raises DiskFull if no disk has room, StoreStopped if every disk has failed.
        """
        where: dict[ChunkId, bytes] = {}
        refused: dict[bytes, DiskFull | StoreStopped] = {}
        while missing := [item for item in items if item.chunk.id not in where]:
            for store, group in self._sorted_by_disk(missing, refused):
                try:
                    await store.put(group)
                except (DiskFull, StoreStopped) as problem:
                    refused[store.disk_id] = problem
                else:
                    where.update((item.chunk.id, store.disk_id) for item in group)
        return [where[item.chunk.id] for item in items]

    async def delete(self, chunk: ChunkId, sequence: int) -> bool:
        """Remove the copies on all disks; False if one was put again later.

        Raises DiskFull, StoreStopped if a disk that has a copy can't note that.
        """
        gone = [await store.delete(chunk, sequence) for store in self._stores if store.knows(chunk)]
        return all(gone)

    async def get(self, chunk: ChunkRef) -> bytes:
        """The chunk's bytes from the first good copy. Raises ChunkNotHeld, ChunkDamaged."""
        [found] = await self.get_many([chunk])
        if isinstance(found, bytes):
            return found
        raise found

    async def get_many(self, chunks: Sequence[ChunkRef]) -> list[Found]:
        """The bytes of each, or why no disk can give them."""
        found: list[Found] = [ChunkNotHeld(chunk=chunk.id.hex()) for chunk in chunks]
        for store in self._stores:
            missing = [
                number
                for number, chunk in enumerate(chunks)
                if not isinstance(found[number], bytes) and store.knows(chunk.id)
            ]
            if missing:
                answers = await store.get_many([chunks[number] for number in missing])
                for number, answer in zip(missing, answers, strict=True):
                    if not isinstance(answer, ChunkNotHeld):
                        found[number] = answer
        return found

    async def verify(self, chunks: Sequence[ChunkId]) -> list[Verdict]:
        """Reread all copies: good if one is, and bad ones are in quarantine afterwards."""
        found: list[Verdict] = ["not_held" for _ in chunks]
        for store in self._stores:
            for number, verdict in enumerate(await store.verify(chunks)):
                if verdict == "good" or (verdict == "damaged" and found[number] == "not_held"):
                    found[number] = verdict
        return found

    async def close(self) -> None:
        """Close the disks, the last opened first."""
        for store in reversed(self._stores):
            await store.close()

    def _sorted_by_disk(
        self, items: Sequence[Incoming], refused: dict[bytes, DiskFull | StoreStopped]
    ) -> Iterator[tuple[ChunkStore, list[Incoming]]]:
        """The items by the disk that should have them, leaving out disks that refused."""
        usable = [
            each for each in self._stores if each.disk_id not in refused and each.stopped is None
        ]
        if not usable:
            for problem in refused.values():
                if isinstance(problem, DiskFull):
                    raise problem
            stopped = [store.stopped for store in self._stores if store.stopped is not None]
            if stopped:
                raise StoreStopped(**stopped[0].fields())
            raise DiskFull(node=self._node)
        roomiest = max(usable, key=ChunkStore.free_bytes) if len(usable) > 1 else usable[0]
        groups: dict[bytes, list[Incoming]] = {}
        for item in items:
            here = (store for store in usable if store.knows(item.chunk.id))
            store = next(here, roomiest) if len(usable) > 1 else roomiest
            groups.setdefault(store.disk_id, []).append(item)
        for store in usable:
            if store.disk_id in groups:
                yield store, groups[store.disk_id]
