"""One disk's changes, made durable in groups.

The order that makes a receipt true: records are appended → fdatasync → the index knows of them →
the caller is answered. All that waits while one batch is written becomes the next batch, with one
write and one sync for all; there is one batch at a time, so each wish is judged by what all earlier
ones have made durable.
"""

from collections import deque
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from minibox.chunk import ChunkId
from minibox.disk import Disk, Part
from minibox.errors import DiskFull, NoRoom, StoreStopped
from minibox.node.batch import Incoming, Wish, chunk_of, is_refused, records_for
from minibox.node.check import is_good
from minibox.node.held import Held, held_after
from minibox.node.index import Index
from minibox.node.limits import Limits
from minibox.node.volume import (
    RECORD_HEADER_BYTES,
    Kind,
    Place,
    Record,
    pack_record,
)
from minibox.node.volumes import Volumes
from minibox.world import Threads

BALLAST = "ballast"

_log = Logger()


class _Job:
    """Wishes that are fulfilled together or not at all, and who waits for that."""

    __slots__ = ("chunks", "done", "length", "wishes")

    def __init__(self, wishes: Sequence[Wish]) -> None:
        self.wishes = wishes
        self.chunks = [chunk_of(wish) for wish in wishes]
        self.length = sum(
            RECORD_HEADER_BYTES + wish.chunk.length for wish in wishes if isinstance(wish, Incoming)
        )
        self.done: Deferred[list[bool]] = Deferred()


class GroupCommit:
    """Takes wishes about chunks, one batch after the other.

    After a failed sync all that wait and all that come are refused with StoreStopped.
    """

    def __init__(
        self,
        threads: Threads,
        disk: Disk,
        salt: bytes,
        node: str,
        limits: Limits,
        volumes: Volumes,
        index: Index,
    ) -> None:
        self.stopped: StoreStopped | None = None
        """Why nothing more is acknowledged."""
        self.written_bytes = 0
        """How much was appended by this process."""
        self._threads = threads
        self._disk = disk
        self._salt = salt
        self._node = node
        self._limits = limits
        self._reserve_bytes = limits.reserve(disk.total_bytes())
        self._volumes = volumes
        self._index = index
        self._waiting: deque[_Job] = deque()
        self._is_writing = False
        self._idle: list[Deferred[None]] = []

    def submit(self, wishes: Sequence[Wish]) -> Deferred[list[bool]]:
        """Fulfil all wishes, no two of one chunk; fires when that is durable.

        With False for a removal that is older than the copy, else True. Fails with DiskFull (then
        none is fulfilled) or StoreStopped.
        """
        job = _Job(wishes)
        if self.stopped is not None:
            job.done.errback(StoreStopped(**self.stopped.fields()))
            return job.done
        self._waiting.append(job)
        if not self._is_writing:
            self._is_writing = True
            Deferred.fromCoroutine(self._write_what_waits())
        return job.done

    def stop(self, reason: StoreStopped) -> None:
        """Acknowledge nothing more."""
        if self.stopped is None:
            self.stopped = reason
            _log.critical("disk stopped", directory=reason.directory, reason=reason.reason)

    def close(self) -> None:
        """Take nothing more."""
        if self.stopped is None:
            self.stopped = StoreStopped(directory=self._disk.directory, reason="it was closed")

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._is_writing:
            turn: Deferred[None] = Deferred()
            self._idle.append(turn)
            await turn

    async def _write_what_waits(self) -> None:
        while self._waiting:
            jobs = self._next_batch()
            if self.stopped is not None:
                _refuse(jobs, self.stopped)
                continue
            try:
                await self._commit(jobs)
            except StoreStopped as problem:
                self.stop(problem)
                _refuse(jobs, problem)
            except Exception as problem:  # noqa: BLE001  nobody cancels this coroutine
                # After a bug in mid-batch nobody knows what is on the disk.
                _log.failure("a batch failed")
                unknown = StoreStopped(directory=self._disk.directory, reason=repr(problem))
                self.stop(unknown)
                _refuse(jobs, unknown)
        self._is_writing = False
        turns, self._idle = self._idle, []
        for turn in turns:
            turn.callback(None)

    def _next_batch(self) -> list[_Job]:
        """The jobs that waited longest, no two about one chunk, until the batch is full."""
        jobs: list[_Job] = []
        length = 0
        chunks: set[ChunkId] = set()
        while self._waiting:
            job = self._waiting[0]
            if jobs and (
                length + job.length > self._limits.batch_bytes or not chunks.isdisjoint(job.chunks)
            ):
                break
            jobs.append(self._waiting.popleft())
            length += job.length
            chunks.update(job.chunks)
        return jobs

    async def _commit(self, jobs: list[_Job]) -> None:
        """Fulfil ``jobs`` and answer them. Raises StoreStopped if nothing can be promised."""
        chunks = [chunk for job in jobs for chunk in job.chunks]
        copies = self._index.get_many(chunks)
        held = {chunk: copy for chunk, copy in zip(chunks, copies, strict=True) if copy is not None}
        good: set[ChunkId] = set()
        if held and (doubts := _duplicates(jobs, held)):
            good = await self._threads.run(self._reread, doubts)
        plan = _Plan(jobs, held, good)
        try:
            places = await self._write(plan)
        except NoRoom:
            await self._commit_what_needs_no_room(jobs, plan)
            return
        for record, place in zip(plan.records, places, strict=True):
            before = held.get(record.chunk)
            after = held_after(before, record, place)
            self._index.set(record.chunk, before, after)
            if after is not None:
                held[record.chunk] = after
        self._index.reach(self._volumes.end)
        self.written_bytes += plan.length
        for job, answer in zip(jobs, plan.answers, strict=True):
            job.done.callback(answer)

    async def _write(self, plan: "_Plan") -> list[Place]:
        """Append the records, durably; where they stand. Raises NoRoom, StoreStopped."""
        if not plan.records:
            return []
        if not self._volumes.has_room_for(plan.length):
            await self._threads.run(self._volumes.begin)
        volume, offset = self._volumes.end
        places: list[Place] = []
        parts: list[Part] = []
        for record, content in zip(plan.records, plan.contents, strict=True):
            place = Place(volume, offset)
            places.append(place)
            parts.append(pack_record(record, place, self._salt))
            parts.extend(content)
            offset += RECORD_HEADER_BYTES + record.length
        await self._threads.run(self._append, parts, plan.length, plan.content_bytes)
        return places

    async def _commit_what_needs_no_room(self, jobs: list[_Job], plan: "_Plan") -> None:
        """Refuse the jobs that bring content; if none does, the ballast goes for the others."""
        if plan.content_bytes:
            rest = [
                job for job, brings in zip(jobs, plan.brings_content, strict=True) if not brings
            ]
            full = [job for job, brings in zip(jobs, plan.brings_content, strict=True) if brings]
            _refuse(full, DiskFull(node=self._node))
            if rest:
                await self._commit(rest)
        elif await self._threads.run(self._drop_ballast):
            await self._commit(jobs)
        else:
            _refuse(jobs, DiskFull(node=self._node))

    # In threads

    def _reread(self, copies: list[tuple[ChunkId, Held]]) -> set[ChunkId]:
        return {chunk for chunk, held in copies if is_good(self._volumes, self._salt, chunk, held)}

    def _append(self, parts: list[Part], length: int, content_bytes: int) -> None:
        if content_bytes and self._disk.free_bytes() - content_bytes < self._reserve_bytes:
            raise NoRoom(directory=self._disk.directory)
        self._volumes.append(parts, length)

    def _drop_ballast(self) -> bool:
        if BALLAST not in self._disk.names():
            return False
        self._disk.remove(BALLAST)
        return True


class _Plan:
    """The records that fulfil some jobs, with their contents, and what the jobs are answered."""

    def __init__(self, jobs: list[_Job], held: dict[ChunkId, Held], good: set[ChunkId]) -> None:
        self.records: list[Record] = []
        self.contents: list[Sequence[Part]] = []
        self.content_bytes = 0
        self.answers: list[list[bool]] = []
        self.brings_content: list[bool] = []
        for job in jobs:
            before = self.content_bytes
            answer = []
            for wish, chunk in zip(job.wishes, job.chunks, strict=True):
                copy = held.get(chunk)
                answer.append(not is_refused(wish, copy))
                for record in records_for(wish, copy, is_good=chunk in good):
                    self.records.append(record)
                    if record.kind is Kind.CHUNK and isinstance(wish, Incoming):
                        self.contents.append(wish.parts)
                        self.content_bytes += record.length
                    else:
                        self.contents.append(())
            self.answers.append(answer)
            self.brings_content.append(self.content_bytes > before)
        self.length = len(self.records) * RECORD_HEADER_BYTES + self.content_bytes


def _duplicates(jobs: list[_Job], held: dict[ChunkId, Held]) -> list[tuple[ChunkId, Held]]:
    """The copies of what is put again."""
    return [
        (chunk, held[chunk])
        for job in jobs
        for wish, chunk in zip(job.wishes, job.chunks, strict=True)
        if chunk in held and isinstance(wish, Incoming)
    ]


def _refuse(jobs: list[_Job], failure: DiskFull | StoreStopped) -> None:
    for job in jobs:
        if not job.done.called:
            job.done.errback(type(failure)(**failure.fields()))
