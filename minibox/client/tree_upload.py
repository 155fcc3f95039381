"""Put a whole folder: small files by the hundred in one upload, large ones one by one.

Several batches are under way at once: one is read and hashed while another is staged and a third
is committed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from minibox.chunk import MIN_CHUNK_BYTES, ChunkId, ChunkRef, Cutter, chunk_id
from minibox.client.batching import MAX_BATCHED_BYTES, batches
from minibox.client.cutting import Piece
from minibox.client.direct import Direct
from minibox.client.http import Http
from minibox.client.local import LocalFile, LocalFolder, Skipped, walk
from minibox.client.pipeline import Pipeline
from minibox.client.progress import Watcher, unwatched
from minibox.client.putting import Putter, open_source
from minibox.client.staging import Staging
from minibox.client.tree_report import Tally, TreeReport
from minibox.client.uploading import Target
from minibox.errors import ChunkMissing, NameConflict, ValidationFailed
from minibox.http_api.files import MAKE_FOLDER, MakeFolder, OnConflict
from minibox.http_api.problems import failure_of
from minibox.http_api.uploads import BEGIN, COMMIT_MANY, Begin, CommitFile, CommitMany, FileResult
from minibox.names import parse_path
from minibox.world import World

BATCHES_IN_FLIGHT = 4
_WALKED_AT_ONCE = 5000


class _Read(msgspec.Struct, frozen=True):
    """A small file in memory."""

    file: LocalFile
    remote: str
    sha256: str
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        return sum(each.chunk.length for each in self.pieces)


class TreeUpload:
    """Puts what is in one local folder into one remote folder."""

    def __init__(
        self,
        world: World,
        http: Http,
        direct: Direct,
        putter: Putter,
        username: str,
        on_conflict: OnConflict,
        watcher: Watcher,
    ) -> None:
        self._threads = world.threads
        self._http = http
        self._direct = direct
        self._putter = putter
        self._username = username
        self._on_conflict: OnConflict = on_conflict
        self._tally = Tally(watcher)

    async def run(self, root: Path, remote: str) -> TreeReport:
        """The remote folder has all that could be read of ``root``; nothing there is removed.

        What failed is in the report. QuotaExceeded, ClusterFull, Unreachable and the like end it.
        """
        base = remote.rstrip("/")
        if base:
            await self._make_folder(base)
        pipeline = Pipeline(BATCHES_IN_FLIGHT)
        found = walk(root)
        try:
            while entries := await self._threads.run(_some, found):
                files = await self._sort(entries, base)
                small = (each for each in files if each.size <= MAX_BATCHED_BYTES)
                for batch in batches(small, _size, _name):
                    await pipeline.add(self._put_batch(batch, base))
                for each in files:
                    if each.size > MAX_BATCHED_BYTES:
                        await pipeline.add(self._put_one(each, f"{base}/{each.relative}"))
            await pipeline.finish()
        finally:
            pipeline.abort()
        return self._tally.report

    async def _sort(
        self, entries: Sequence[LocalFile | LocalFolder | Skipped], base: str
    ) -> list[LocalFile]:
        """The files that can be sent; empty folders are made at once."""
        files = []
        for entry in entries:
            if isinstance(entry, Skipped):
                self._tally.skip(entry.path, entry.reason)
                continue
            try:
                parse_path(f"{base}/{entry.relative}")
            except ValidationFailed as problem:
                self._tally.skip(entry.relative, problem.reason)
                continue
            if isinstance(entry, LocalFile):
                files.append(entry)
            else:
                await self._make_folder(f"{base}/{entry.relative}")
        return files

    async def _make_folder(self, path: str) -> None:
        try:
            await self._http.call(MAKE_FOLDER, body=MakeFolder(path=path), once=True)
        except NameConflict as problem:
            self._tally.skip(problem.path, "exists already")

    async def _put_batch(self, batch: Sequence[LocalFile], base: str) -> None:
        files, unreadable = await self._threads.run(_read_all, batch, base)
        for each in unreadable:
            self._tally.fail(each.path, each.reason)
        if not files:
            return
        pieces = _distinct(files)
        begin = Begin(
            size=sum(each.chunk.length for each in pieces),
            chunks=tuple(each.facts for each in pieces),
        )
        plan = await self._http.call(BEGIN, body=begin, once=True)
        staging = Staging(self._http, self._direct, plan)
        try:
            await staging.send(pieces, plan)
            await staging.finish()
        finally:
            staging.abort()
        commit = CommitMany(
            plan.upload_id,
            tuple(staging.receipts),
            tuple(self._named(each) for each in files),
        )
        answer = await self._http.call(COMMIT_MANY, body=commit, once=True)
        await self._note_results(files, answer.results)

    async def _note_results(self, files: Sequence[_Read], results: Sequence[FileResult]) -> None:
        done, size = 0, 0
        for each, result in zip(files, results, strict=False):
            if result.file is not None and result.file.sha256 == each.sha256:
                done, size = done + 1, size + each.size
                continue
            failure = failure_of(result.status, result.problem or {})
            if isinstance(failure, ChunkMissing):  # a node was lost in between
                await self._put_one(each.file, each.remote)
            else:
                self._tally.fail(each.file.relative, failure)
        for lost in files[len(results) :]:
            self._tally.fail(lost.file.relative, "the server did not say what became of it")
        self._tally.done(done, size)

    async def _put_one(self, file: LocalFile, remote: str) -> None:
        try:
            source = await self._threads.run(open_source, file.path)
        except OSError as problem:
            self._tally.fail(file.relative, problem.strerror)
            return
        target = Target(remote, self._on_conflict, mtime=file.mtime)
        try:
            made = await self._putter.put(source, target, unwatched, self._username)
        except (NameConflict, ValidationFailed) as problem:
            self._tally.fail(file.relative, problem)
        else:
            self._tally.done(1, made.size or 0)
        finally:
            source.file.close()

    def _named(self, read: _Read) -> CommitFile:
        return CommitFile(
            path=read.remote,
            sha256=read.sha256,
            chunks=tuple(each.facts for each in read.pieces),
            mtime=read.file.mtime,
            on_conflict=self._on_conflict,
        )


def _some(
    found: Iterator[LocalFile | LocalFolder | Skipped],
) -> list[LocalFile | LocalFolder | Skipped]:
    return list(islice(found, _WALKED_AT_ONCE))


def _read_all(batch: Sequence[LocalFile], base: str) -> tuple[list[_Read], list[Skipped]]:
    """Read and hash small files. One that grew large meanwhile is unreadable."""
    read, unreadable = [], []
    for file in batch:
        try:
            with file.path.open("rb", buffering=0) as opened:
                content = opened.read(MAX_BATCHED_BYTES + 1)
        except OSError as problem:
            unreadable.append(Skipped(file.relative, problem.strerror or str(problem)))
            continue
        if len(content) > MAX_BATCHED_BYTES:
            unreadable.append(Skipped(file.relative, "it grew while it was read"))
            continue
        read.append(_cut(file, f"{base}/{file.relative}", content))
    return read, unreadable


def _cut(file: LocalFile, remote: str, content: bytes) -> _Read:
    if not content:
        return _Read(file, remote, hashlib.sha256().hexdigest(), ())
    if len(content) <= MIN_CHUNK_BYTES:
        name = chunk_id(content)
        return _Read(file, remote, name.hex(), (Piece(ChunkRef(name, len(content)), content),))
    cutter = Cutter()
    pieces = [*cutter.feed(content), *cutter.finish()]
    return _Read(
        file,
        remote,
        hashlib.sha256(content).hexdigest(),
        tuple(Piece(ChunkRef(chunk_id(each), len(each)), each) for each in pieces),
    )


def _distinct(files: Sequence[_Read]) -> list[Piece]:
    found: dict[ChunkId, Piece] = {}
    for file in files:
        for piece in file.pieces:
            found.setdefault(piece.chunk.id, piece)
    return list(found.values())


def _size(file: LocalFile) -> int:
    return file.size


def _name(file: LocalFile) -> str:
    return file.relative
