"""Content that comes through the coordinator's own doors: staged, then committed.

Pins and promised bytes of such an upload live in memory: it dies with the process anyhow, and a
small PUT costs one durable commit.
"""

import hashlib
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from minibox.chunk import ChunkId, ChunkRef
from minibox.coordinator import namespaces
from minibox.coordinator.changes import Changes, Deed
from minibox.coordinator.cluster import Cluster
from minibox.coordinator.commit import Committed, Conditions, Destination, Staged, commit
from minibox.coordinator.versions import Content
from minibox.errors import ChecksumMismatch, QuotaExceeded, TooLarge
from minibox.identity import FreshIds
from minibox.store import Store, Writer
from minibox.transfer import Placed, Sent, Upload
from minibox.world import World

A = TypeVar("A", bound=msgspec.Struct)


class Target(msgspec.Struct, frozen=True):
    """Where the content goes and what the caller says of it, known once all of it was read.

    ``sha256`` is checked if given; ``modified`` is now if not.
    """

    destination: Destination
    conditions: Conditions
    content_type: str
    modified: float | None = None
    sha256: bytes | None = None


class Inbound:
    """Takes contents in. ``is_pinned`` tells the sweep what is under way."""

    def __init__(self, world: World, store: Store, cluster: Cluster, changes: Changes) -> None:
        self._world = world
        self._store = store
        self._cluster = cluster
        self._changes = changes
        self._promised: dict[int, int] = {}
        self._pins: dict[ChunkId, int] = {}

    def is_pinned(self, chunk: ChunkId) -> bool:
        """Whether an upload through a door needs the chunk."""
        return chunk in self._pins

    async def take(
        self,
        deed: Deed,
        parts: AsyncIterable[bytes],
        announced_bytes: int | None,
        ack: int | None,
        target: Callable[[], Awaitable[Target]],
        answer: Callable[[Committed], A],
    ) -> A | bytes:
        """Store the content and commit it; what ``answer`` makes of that.

        ``target`` is asked after the last part. Raises what commit refuses, TooLarge,
        ChecksumMismatch, NotEnoughNodes, ClusterFull, and what ``parts`` and ``target`` raise.
        """
        needed = self._cluster.safety(ack).ack
        promise = _Promise(self, deed.namespace, announced_bytes)
        placer = _DoorPlacer(self._cluster, self._pins, needed)
        copies = self._cluster.copies
        upload = Upload(
            self._world, self._cluster.nodes, placer, upload=0, copies=copies, ack=needed
        )
        try:
            async for part in parts:
                promise.grow(len(part))
                await upload.feed(part)
            asked = await target()
            sent = await upload.finish()
            staged = self._staged(deed, asked, sent)
            safety = self._cluster.safety(ack)
            if deed.key:
                deed = msgspec.structs.replace(deed, request=_digest(asked, sent))

            def operation(writer: Writer, ids: FreshIds) -> A:
                return answer(
                    commit(
                        writer,
                        deed.act,
                        ids,
                        deed.namespace,
                        asked.destination,
                        asked.conditions,
                        staged,
                        safety,
                    )
                )

            return await self._changes.run(deed, operation)
        finally:
            upload.abort()
            placer.unpin()
            promise.release()

    def _staged(self, deed: Deed, asked: Target, sent: Sent) -> Staged:
        if asked.sha256 is not None and asked.sha256 != sent.sha256:
            raise ChecksumMismatch(asked.sha256.hex(), sent.sha256.hex())
        modified = deed.act.now if asked.modified is None else asked.modified
        content = Content(sent.size, sent.sha256, True, asked.content_type, modified)
        return Staged(sent.chunks, self._cluster.checked(sent.receipts), content)

    def _promise(self, namespace: int, least: int, most: int) -> int:
        """Promise up to ``most`` bytes; how many. QuotaExceeded if not even ``least`` are left."""
        promised = self._promised.get(namespace, 0)
        row = self._store.read(lambda reader: namespaces.get(reader, namespace))
        left = namespaces.room(row, promised)
        if left is not None and least > left:
            raise QuotaExceeded(row.limit, left)
        granted = most if left is None else min(most, left)
        self._promised[namespace] = promised + granted
        return granted

    def _release(self, namespace: int, size: int) -> None:
        left = self._promised.get(namespace, 0) - size
        if left > 0:
            self._promised[namespace] = left
        else:
            self._promised.pop(namespace, None)


class _Promise:
    """The bytes promised to one upload: what was announced, or what has come, in steps."""

    STEP_BYTES = 4 * 1024 * 1024

    def __init__(self, inbound: Inbound, namespace: int, announced: int | None) -> None:
        self._inbound = inbound
        self._namespace = namespace
        self._limit = inbound._cluster.config.coordinator.max_file_bytes  # noqa: SLF001
        self._come = 0
        self._promised = 0
        self._check(announced or 0)
        if announced:
            self._raise(announced, announced)

    def grow(self, size: int) -> None:
        """More bytes have come; QuotaExceeded, TooLarge."""
        self._come += size
        if self._come > self._promised:
            self._check(self._come)
            least = self._come - self._promised
            self._raise(least, max(least, self.STEP_BYTES))

    def release(self) -> None:
        """The upload has ended, one way or the other."""
        self._inbound._release(self._namespace, self._promised)  # noqa: SLF001
        self._promised = 0

    def _raise(self, least: int, most: int) -> None:
        self._promised += self._inbound._promise(self._namespace, least, most)  # noqa: SLF001

    def _check(self, size: int) -> None:
        if self._limit is not None and size > self._limit:
            raise TooLarge(limit=self._limit)


class _DoorPlacer:
    """Pins chunks in memory for as long as one request lasts."""

    def __init__(self, cluster: Cluster, pins: dict[ChunkId, int], needed: int) -> None:
        self._cluster = cluster
        self._pins = pins
        self._needed = needed
        self._mine: list[ChunkId] = []

    async def place(self, chunks: Sequence[ChunkRef]) -> Mapping[ChunkId, Placed]:
        """All of them are sent: nodes find out by themselves what they have."""
        for chunk in chunks:
            self._pins[chunk.id] = self._pins.get(chunk.id, 0) + 1
            self._mine.append(chunk.id)
        sequence = self._cluster.sequence
        return {
            chunk.id: self._cluster.placed(chunk, 0, sequence, self._needed) for chunk in chunks
        }

    def unpin(self) -> None:
        """The request has ended."""
        for chunk in self._mine:
            if self._pins[chunk] == 1:
                del self._pins[chunk]
            else:
                self._pins[chunk] -= 1
        self._mine.clear()


def _digest(asked: Target, sent: Sent) -> bytes:
    """What tells one upload from another under the same idempotency key."""
    place = msgspec.json.encode((asked.destination, asked.conditions))
    return hashlib.sha256(place + sent.sha256).digest()
