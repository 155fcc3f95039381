"""Put one content: through the door where that is quicker or the only way, else by the direct path.

A small one is one request. A larger one goes chunk by chunk to the nodes, and where nodes can't be
reached in one streamed request.
"""

import hashlib
import io
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
from twisted.web.iweb import IBodyProducer

from minibox.client.bodies import BytesBody, StreamedBody
from minibox.client.content import SMALL_BYTES
from minibox.client.direct import Direct
from minibox.client.http import Http
from minibox.client.progress import Progress, Watcher
from minibox.client.unfinished import Intent, UnfinishedUploads
from minibox.client.uploading import DirectUpload, Target
from minibox.errors import ChecksumMismatch, ValidationFailed
from minibox.http_api.files import PUT_CONTENT, Uploaded, WriteQuery
from minibox.world import World

READ_BYTES = 256 * 1024
WORTH_REMEMBERING_BYTES = 16 * 1024 * 1024
"""Smaller uploads begin anew after a crash."""

Source = str | os.PathLike[str] | bytes | BinaryIO


class OpenSource(msgspec.Struct, frozen=True):
    """A content to put: an open file, its size unless it is a pipe, and whose facts it has."""

    file: BinaryIO
    size: int | None
    mtime: float | None = None
    path: str | None = None
    mtime_ns: int = 0


def open_source(source: Source) -> OpenSource:
    """Open what is to be put; it blocks. OSError; ValidationFailed for a folder."""
    if isinstance(source, bytes):
        return OpenSource(io.BytesIO(source), len(source))
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        try:
            file = path.open("rb", buffering=0)
        except IsADirectoryError as problem:
            raise ValidationFailed("source", f"{path} is a folder") from problem
        facts = os.fstat(file.fileno())
        if stat.S_ISREG(facts.st_mode):
            where = str(path.absolute())
            return OpenSource(file, facts.st_size, facts.st_mtime, where, facts.st_mtime_ns)
        return OpenSource(file, None)
    if not source.seekable():
        return OpenSource(source, None)
    here = source.tell()
    size = source.seek(0, os.SEEK_END) - here
    source.seek(here)
    return OpenSource(source, size)


class Putter:
    """Puts contents to one server for one account."""

    def __init__(
        self, world: World, http: Http, direct: Direct, unfinished: UnfinishedUploads | None
    ) -> None:
        self._world = world
        self._http = http
        self._direct = direct
        self._unfinished = unfinished

    async def put(
        self, source: OpenSource, target: Target, watcher: Watcher, username: str
    ) -> Uploaded:
        """The file as it is committed, with the very content of ``source``."""
        if source.size is None:
            source, start = await self._probed(source)
            if start is not None:
                return await self._put_bytes(start, target, watcher)
        elif source.size <= SMALL_BYTES:
            content = await self._world.threads.run(source.file.read, SMALL_BYTES + 1)
            if len(content) <= SMALL_BYTES:
                return await self._put_bytes(content, target, watcher)
            source.file.seek(-len(content), os.SEEK_CUR)  # it has grown meanwhile
        elif not self._direct.may_work:
            return await self._put_stream(source.file, source.size, target, watcher)
        return await self._put_directly(source, target, watcher, username)

    async def _put_directly(
        self, source: OpenSource, target: Target, watcher: Watcher, username: str
    ) -> Uploaded:
        intent = self._intent(source, target, username)
        kept = self._unfinished
        former: str | None = None

        def began(upload_id: str) -> None:
            if kept is not None and intent is not None:
                kept.remember(intent, upload_id)

        if kept is not None and intent is not None:
            former = kept.find(intent)
        upload = DirectUpload(self._world, self._http, self._direct, target, watcher, began)
        made = await upload.run(source.file, source.size, former)
        if kept is not None and intent is not None:
            kept.forget(intent)
        return made

    async def _put_bytes(self, content: bytes, target: Target, watcher: Watcher) -> Uploaded:
        sha256 = hashlib.sha256(content).hexdigest()
        made = await self._http.send(
            PUT_CONTENT,
            {"path": target.path},
            lambda _: BytesBody(content),
            query=_query(target, sha256),
            headers=_headers(target),
        )
        watcher(Progress(len(content), len(content)))
        return _checked(made, sha256)

    async def _put_stream(
        self, file: BinaryIO, size: int, target: Target, watcher: Watcher
    ) -> Uploaded:
        start = file.tell()
        digest = hashlib.sha256()
        done = 0

        def body(heard: Callable[[int], None]) -> IBodyProducer:
            nonlocal digest, done
            file.seek(start)
            digest, done = hashlib.sha256(), 0

            def sent(length: int) -> None:
                nonlocal done
                done += length
                heard(length)
                watcher(Progress(done, size))

            return StreamedBody(parts(digest), size, sent)

        async def parts(whole: "hashlib._Hash") -> AsyncIterator[bytes]:
            left = size
            while left and (
                part := await self._world.threads.run(_read_and_hash, file, left, whole)
            ):
                left -= len(part)
                yield part

        made = await self._http.send(
            PUT_CONTENT,
            {"path": target.path},
            body,
            query=_query(target, None),
            headers=_headers(target),
        )
        return _checked(made, digest.hexdigest())

    async def _probed(self, source: OpenSource) -> tuple[OpenSource, bytes | None]:
        """A pipe's content if it is small, else a file that gives all of it."""
        start = await self._world.threads.run(_read_fully, source.file, SMALL_BYTES + 1)
        if len(start) <= SMALL_BYTES:
            return source, start
        return OpenSource(_Prefixed(start, source.file), None, source.mtime), None

    def _intent(self, source: OpenSource, target: Target, username: str) -> Intent | None:
        if source.path is None or source.size is None or source.size < WORTH_REMEMBERING_BYTES:
            return None
        url = self._http.url
        return Intent(url, username, source.path, source.size, source.mtime_ns, target.path)


class _Prefixed(io.RawIOBase, BinaryIO):
    """A pipe of which the start was read already."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._start = start
        self._rest = rest

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        start, self._start = self._start, b""
        return start or self._rest.read(size)


def _read_fully(file: BinaryIO, size: int) -> bytes:
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _read_and_hash(file: BinaryIO, left: int, whole: "hashlib._Hash") -> bytes:
    part = file.read(min(READ_BYTES, left))
    whole.update(part)
    return part


def _query(target: Target, sha256: str | None) -> WriteQuery:
    mtime = None if target.mtime is None else f"{target.mtime:.6f}"
    return WriteQuery(target.on_conflict, target.base, sha256, mtime)


def _headers(target: Target) -> dict[str, str]:
    return {"Content-Type": target.content_type or "application/octet-stream"}


def _checked(made: Uploaded, sha256: str) -> Uploaded:
    if made.sha256 != sha256:
        raise ChecksumMismatch(sha256, made.sha256 or "")
    return made
