"""One content on its way in: parts are fed, cut, hashed, placed and sent, in bounded memory.

Cutting and hashing one window, sending the chunks of the former and receiving the next go on at the
same time. The whole content is hashed here in the pass that names its chunks.
"""

import hashlib
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.python.failure import Failure as Reason

from minibox.capability import Receipt
from minibox.chunk import ChunkId, ChunkRef, Cutter, chunk_id
from minibox.rpc import Part
from minibox.transfer.nodes import Nodes
from minibox.transfer.sending import Outgoing, Placer, send_chunks
from minibox.world import World

CUT_BYTES = 2 * 1024 * 1024
"""So much is gathered before a thread cuts and hashes it."""
SENDS_IN_FLIGHT = 4
"""Batches of chunks, of about CUT_BYTES each, that are being stored at the same time."""
INLINE_BYTES = 64 * 1024
"""Smaller contents are hashed where they are: a thread would take longer to reach."""


class Sent(msgspec.Struct, frozen=True):
    """A content that is staged: its chunks in order, who holds them, its size and SHA-256."""

    chunks: tuple[ChunkRef, ...]
    receipts: tuple[Receipt, ...]
    size: int
    sha256: bytes


class Upload:
    """Feed parts, then finish. After a failure, or :meth:`abort`, it is of no use any more."""

    def __init__(
        self, world: World, nodes: Nodes, placer: Placer, *, upload: int, copies: int, ack: int
    ) -> None:
        self._threads = world.threads
        self._nodes = nodes
        self._placer = placer
        self._upload = upload
        self._copies = copies
        self._ack = ack
        self._cutter = Cutter()
        self._whole = hashlib.sha256()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._size = 0
        self._chunks: list[ChunkRef] = []
        self._begun: set[ChunkId] = set()
        self._receipts: list[Receipt] = []
        self._cutting: Deferred[None] | None = None
        self._places = DeferredSemaphore(SENDS_IN_FLIGHT)
        self._sending: list[Deferred[None]] = []
        self._problem: BaseException | None = None

    async def feed(self, part: bytes) -> None:
        """Add bytes; waits while too much is under way. Raises what went wrong with former ones."""
        self._gathered.append(part)
        self._gathered_bytes += len(part)
        self._size += len(part)
        if self._gathered_bytes >= CUT_BYTES:
            await self._turn(is_last=False)

    async def finish(self) -> Sent:
        """All is stored durably on enough nodes; NotEnoughNodes, ClusterFull and the like."""
        if self._cutting is None and self._size <= INLINE_BYTES:
            await self._finish_small()
        else:
            await self._finish_large()
        return Sent(tuple(self._chunks), tuple(self._receipts), self._size, self._whole.digest())

    def abort(self) -> None:
        """Stop all that is under way."""
        self._problem = self._problem or CancelledError()
        for running in (self._cutting, *self._sending):
            if running is not None:
                running.cancel()

    async def _finish_small(self) -> None:
        """All of it is here, and nothing can go on beside it."""
        self._raise_problem()
        cut = self._cut(self._gathered, is_last=True)
        self._chunks.extend(chunk for chunk, _ in cut)
        if cut:
            await self._stage(cut)

    async def _finish_large(self) -> None:
        await self._turn(is_last=True)
        await self._settle(self._cutting)
        for sending in self._sending:
            await self._settle(sending)
        self._raise_problem()

    async def _turn(self, *, is_last: bool) -> None:
        """Hand what was gathered to the cutter, once it is done with what came before."""
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        await self._settle(self._cutting)
        self._raise_problem()
        self._cutting = self._watched(self._cut_and_send(gathered, is_last=is_last))

    async def _cut_and_send(self, gathered: Sequence[bytes], *, is_last: bool) -> None:
        cut = await self._threads.run(self._cut, gathered, is_last=is_last)
        self._chunks.extend(chunk for chunk, _ in cut)
        fresh = {chunk.id: (chunk, part) for chunk, part in cut if chunk.id not in self._begun}
        if not fresh:
            return
        self._begun.update(fresh)
        await self._places.acquire()
        self._sending = [each for each in self._sending if not each.called]
        self._sending.append(self._watched(self._send(list(fresh.values()))))

    def _cut(self, gathered: Sequence[bytes], *, is_last: bool) -> list[tuple[ChunkRef, bytes]]:
        """Slow for much: the chunks that ``gathered`` completes, named."""
        pieces: list[bytes] = []
        for part in gathered:
            self._whole.update(part)
            pieces += self._cutter.feed(part)
        if is_last:
            pieces += self._cutter.finish()
        return [(ChunkRef(chunk_id(piece), len(piece)), piece) for piece in pieces]

    async def _send(self, fresh: Sequence[tuple[ChunkRef, Part]]) -> None:
        try:
            await self._stage(fresh)
        finally:
            self._places.release()

    async def _stage(self, fresh: Sequence[tuple[ChunkRef, Part]]) -> None:
        """Have the chunks placed, and send those that are not stored yet."""
        placed = await self._placer.place([chunk for chunk, _ in fresh])
        batch = [
            Outgoing(chunk, (part,), placed[chunk.id])
            for chunk, part in fresh
            if chunk.id in placed
        ]
        if batch:
            self._receipts += await send_chunks(
                self._nodes, batch, upload=self._upload, copies=self._copies, ack=self._ack
            )

    def _watched(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Run a coroutine; its failure is kept for whoever feeds or finishes."""
        running = Deferred.fromCoroutine(work)
        running.addErrback(self._note)
        return running

    def _note(self, reason: Reason) -> None:
        self._problem = self._problem or reason.value

    async def _settle(self, running: Deferred[None] | None) -> None:
        """Wait until ``running``, which never fails, has ended; who waits may be cancelled."""
        if running is not None and not running.called:
            ended: Deferred[None] = Deferred()
            running.addCallback(lambda _: ended.callback(None))
            await ended

    def _raise_problem(self) -> None:
        if self._problem is not None:
            raise self._problem
