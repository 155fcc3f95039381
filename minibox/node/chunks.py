"""The chunks on one disk: put, get, verify, delete."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Literal

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from minibox.chunk import ChunkId, ChunkRef
from minibox.disk import Disk
from minibox.errors import (
    Busy,
    ChunkDamaged,
    ChunkNotHeld,
    DiskFull,
    NoRoom,
    StoreFull,
    StoreStopped,
)
from minibox.node.batch import Incoming, Removal, Suspicion
from minibox.node.check import content_if_cached, content_of, is_good
from minibox.node.group_commit import BALLAST, GroupCommit
from minibox.node.held import Held
from minibox.node.index import Index, OpenIndex
from minibox.node.limits import Limits
from minibox.node.marker import Claim
from minibox.node.recovery import Recovery, recover
from minibox.node.volumes import Volumes
from minibox.node_api import DiskStatus
from minibox.world import World

Verdict = Literal["good", "not_held", "damaged"]
Found = bytes | ChunkNotHeld | ChunkDamaged

REBUILD = "rebuild-index"
"""A file that says: the index was found damaged, make it anew at the next start."""

_log = Logger()


class ChunkStore:
    """The chunks on one disk, recovered and ready; :func:`open_chunks` makes it.

    ``on_damage`` is told of each chunk whose copy was found bad, also of those found before.
    """

    def __init__(
        self,
        world: World,
        disk: Disk,
        claim: Claim,
        limits: Limits,
        on_damage: Callable[[ChunkId], None],
        volumes: Volumes,
        index: Index,
        writer: GroupCommit,
    ) -> None:
        self.disk_id = claim.identity.disk
        self.is_new = claim.is_new
        self._world = world
        self._disk = disk
        self._salt = claim.identity.salt
        self._limits = limits
        self._on_damage = on_damage
        self._volumes = volumes
        self._index = index
        self._writer = writer
        self._total_bytes = disk.total_bytes()
        self._reserve_bytes = limits.reserve(self._total_bytes)
        self._checkpointing = DeferredLock()
        self._checkpointed_bytes = 0
        self._is_index_full = False
        self._timer: IDelayedCall | None = None

    @property
    def stopped(self) -> StoreStopped | None:
        """Why this disk acknowledges nothing more in this process, if so. Reads go on."""
        return self._writer.stopped

    def holds(self, chunk: ChunkId) -> ChunkRef | None:
        """The chunk's id and length if a copy is here, durable and not known to be bad."""
        held = self._index.get(chunk)
        return None if held is None or held.is_quarantined else ChunkRef(chunk, held.length)

    def knows(self, chunk: ChunkId) -> bool:
        """Whether there is a copy here, good or bad."""
        return self._index.get(chunk) is not None

    def refs(
        self, start: bytes = b"", stop: bytes | None = None, limit: int = 1000
    ) -> list[ChunkRef]:
        """Up to ``limit`` chunks that are held, by id from ``start`` up to before ``stop``."""
        return self._index.refs(start, stop, limit)

    def quarantined(self) -> list[ChunkId]:
        """The chunks whose copy here is bad."""
        return self._index.quarantined()

    async def quarantine_bad(self, recovery: Recovery) -> None:
        """Quarantine what recovery found bad, and report it with all that was bad before."""
        for chunk, place in recovery.bad:
            held = self._index.get(chunk)
            if held is not None and held.place == place:
                await self._quarantine(chunk, held)
        for chunk in self.quarantined():
            self._on_damage(chunk)

    def free_bytes(self) -> int:
        """What new chunks may still take: 0 if only the reserve is left or nothing is taken."""
        if self.stopped is not None:
            return 0
        return max(0, self._disk.free_bytes() - self._reserve_bytes)

    def status(self) -> DiskStatus:
        """This disk for a heartbeat."""
        free = self.free_bytes()
        return DiskStatus(
            id=self.disk_id,
            total=self._total_bytes,
            free=free,
            used=self._volumes.used_bytes,
            chunks=self._index.chunks,
            takes_writes=free > 0,
        )

    async def put(self, items: Sequence[Incoming]) -> None:
        """Keep these chunks: all of them are durable on this disk on return.

        One that is here already is reread; if it is good the sequence is noted durably, else the
        new bytes take its place. Raises DiskFull (none is kept), StoreStopped.
        """
        latest: dict[ChunkId, Incoming] = {}
        for item in items:
            other = latest.get(item.chunk.id)
            if other is None:
                latest[item.chunk.id] = item
            elif other.sequence < item.sequence:
                latest[item.chunk.id] = other._replace(sequence=item.sequence)
        await self._writer.submit(list(latest.values()))
        self._note_changes()

    async def delete(self, chunk: ChunkId, sequence: int) -> bool:
        """Remove the copy, durably on return; True also if there was none.

        False: it was put under ``sequence`` or a higher one, and stays. Raises DiskFull,
        StoreStopped.
        """
        [is_gone] = await self._writer.submit([Removal(chunk, sequence)])
        self._note_changes()
        return is_gone

    async def get(self, chunk: ChunkRef) -> bytes:
        """The chunk's bytes as they were put, by their CRC-32.

        Raises ChunkNotHeld, ChunkDamaged (the copy is in quarantine then).
        """
        held = self._index.get(chunk.id)
        if held is not None and self._is_quick(chunk, held):
            content = content_if_cached(self._volumes, held)
            if content is not None:
                return content
        [found] = await self.get_many([chunk])
        if isinstance(found, bytes):
            return found
        raise found

    async def get_many(self, chunks: Sequence[ChunkRef]) -> list[Found]:
        """The bytes of each, or why not; one wait for the disk for all that need it."""
        found: list[Found | None] = []
        slow: list[tuple[int, Held]] = []
        for chunk, held in zip(
            chunks, self._index.get_many([chunk.id for chunk in chunks]), strict=True
        ):
            content: Found | None = None
            if held is None or (held.length != chunk.length and not held.is_quarantined):
                content = ChunkNotHeld(chunk=chunk.id.hex())
            elif self._is_quick(chunk, held):
                content = content_if_cached(self._volumes, held)
            if content is None and held is not None:
                slow.append((len(found), held))
            found.append(content)
        if slow:
            contents = await self._world.threads.run(self._read, [held for _, held in slow])
            for (number, held), content in zip(slow, contents, strict=True):
                found[number] = content
                if content is None:
                    chunk_id = chunks[number].id
                    found[number] = ChunkDamaged(chunk=chunk_id.hex())
                    await self._quarantine(chunk_id, held)
        return [each for each in found if each is not None]

    async def verify(self, chunks: Sequence[ChunkId]) -> list[Verdict]:
        """Reread these against their ids; bad copies are in quarantine afterwards."""
        copies = self._index.get_many(chunks)
        here = [(chunk, held) for chunk, held in zip(chunks, copies, strict=True) if held]
        good = await self._world.threads.run(self._reread, here)
        for chunk, held in here:
            if chunk not in good:
                await self._quarantine(chunk, held)
        return [
            "not_held" if held is None else "good" if chunk in good else "damaged"
            for chunk, held in zip(chunks, copies, strict=True)
        ]

    async def close(self) -> None:
        """Finish what waits, bring the index up to date, and take nothing more."""
        await self._writer.idle()
        await self.checkpoint()
        self._writer.close()
        self._cancel_timer()
        await self._index.close()

    async def checkpoint(self) -> bool:
        """Bring the index up to date with the volumes; False where it has to stay behind."""
        await self._checkpointing.acquire()
        self._cancel_timer()
        try:
            if self._index.waiting and self.stopped is None:
                written = self._writer.written_bytes
                await self._world.threads.run(self._prepare_checkpoint, self._index.is_damaged)
                await self._index.checkpoint()
                self._checkpointed_bytes = written
                self._is_index_full = False
        except (StoreFull, Busy):
            self._is_index_full = True
            _log.warn("no room for the index", waiting=self._index.waiting)
            return False
        except StoreStopped as problem:
            self._writer.stop(problem)
            return False
        else:
            return self.stopped is None
        finally:
            self._checkpointing.release()

    def _note_changes(self) -> None:
        """See to it that the index follows, at once if it is far behind."""
        if self._timer is None:
            if self._checkpointing.locked or self.stopped is not None:
                return
            self._timer = self._world.clock.callLater(
                self._limits.checkpoint_seconds, self._start_checkpoint
            )
        behind = self._writer.written_bytes - self._checkpointed_bytes
        is_far = (
            self._index.waiting >= self._limits.checkpoint_rows
            or behind >= self._limits.checkpoint_bytes
        )
        if is_far and not self._is_index_full:
            self._timer.reset(0)

    def _start_checkpoint(self) -> None:
        self._timer = None
        Deferred.fromCoroutine(self.checkpoint()).addErrback(self._stop_after_bug)

    def _stop_after_bug(self, failure: TwistedFailure) -> None:
        _log.failure("the index can't be brought up to date", failure)
        reason = failure.getErrorMessage()
        self._writer.stop(StoreStopped(directory=self._disk.directory, reason=reason))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _quarantine(self, chunk: ChunkId, held: Held) -> None:
        """Put the copy into quarantine, durably where that is possible, and report it."""
        if not held.is_quarantined:
            _log.error("copy damaged", chunk=chunk.hex(), volume=held.place.volume)
            with contextlib.suppress(DiskFull, StoreStopped):
                await self._writer.submit([Suspicion(chunk, held.place)])
                self._note_changes()
        self._on_damage(chunk)

    def _is_quick(self, chunk: ChunkRef, held: Held) -> bool:
        return (
            held.length <= self._limits.inline_bytes
            and held.length == chunk.length
            and not held.is_quarantined
        )

    # In threads

    def _read(self, copies: list[Held]) -> list[bytes | None]:
        return [None if held.is_quarantined else content_of(self._volumes, held) for held in copies]

    def _reread(self, copies: list[tuple[ChunkId, Held]]) -> set[ChunkId]:
        return {chunk for chunk, held in copies if is_good(self._volumes, self._salt, chunk, held)}

    def _prepare_checkpoint(self, is_damaged: bool) -> None:  # noqa: FBT001
        restore_ballast(self._disk, self._limits)
        if is_damaged and REBUILD not in self._disk.names():
            with contextlib.suppress(NoRoom):
                self._disk.write_small(REBUILD, b"")


async def open_chunks(
    world: World,
    disk: Disk,
    claim: Claim,
    node: str,
    open_index: OpenIndex,
    on_damage: Callable[[ChunkId], None],
    limits: Limits = Limits(),  # noqa: B008  a frozen value
) -> tuple[ChunkStore, Recovery]:
    """The chunks on a claimed disk, recovered from whatever happened to it, and what was found.

    Raises DirectoryRefused, FormatTooNew, NoRoom, StoreStopped.
    """
    volumes = Volumes(disk, claim.identity, limits.volume_bytes)
    await world.threads.run(volumes.open)
    is_damaged = REBUILD in await world.threads.run(disk.names)
    index, recovery = await recover(
        world.threads, volumes, claim.identity, open_index, anew=is_damaged
    )
    await world.threads.run(restore_ballast, disk, limits)
    writer = GroupCommit(world.threads, disk, claim.identity.salt, node, limits, volumes, index)
    store = ChunkStore(world, disk, claim, limits, on_damage, volumes, index, writer)
    await store.quarantine_bad(recovery)
    if recovery.was_rebuilt and await store.checkpoint():
        await world.threads.run(disk.remove, REBUILD)
    return store, recovery


def restore_ballast(disk: Disk, limits: Limits) -> None:
    """Make the ballast again if it went, and there is room beside it. Blocks."""
    has_room = disk.free_bytes() > limits.reserve(disk.total_bytes()) + limits.ballast_bytes
    if limits.ballast_bytes and has_room and BALLAST not in disk.names():
        with contextlib.suppress(NoRoom):
            disk.allocate(BALLAST, limits.ballast_bytes)
