"""One version of a remote file's content: any run of its bytes, from nodes or through the door."""

from collections.abc import AsyncIterator

import msgspec
from twisted.logger import Logger

from minibox.chunk import ChunkId, ChunkRef
from minibox.client.direct import Direct
from minibox.client.http import Http
from minibox.client.wire import chunk_of, sources_of
from minibox.errors import BadCapability, ContentDamaged, Unreachable
from minibox.http_api.files import DOWNLOAD, DownloadQuery
from minibox.http_api.uploads import MANIFEST, ManifestFacts, ManifestQuery
from minibox.manifest import spans
from minibox.rpc import Part
from minibox.transfer import read_content
from minibox.world import World

FRESH_SECONDS = 150.0
"""Rights to get chunks live for minutes: older ones are asked for anew."""
SMALL_BYTES = 1024 * 1024
"""Up to this size one request through the door is quicker than asking where the chunks are."""

_log = Logger()


class Which(msgspec.Struct, frozen=True):
    """The content that is meant: a file's version, with what it must turn out to be."""

    file_id: str
    version: int
    path: str
    size: int
    sha256: str


class _Page(msgspec.Struct, frozen=True):
    """Consecutive chunks, the offset of the first, and when their rights were given."""

    facts: ManifestFacts
    chunks: tuple[ChunkRef, ...]
    offset: int
    fetched_at: float

    @property
    def stop(self) -> int:
        """The offset behind the last chunk."""
        return self.offset + sum(each.length for each in self.chunks)


class RemoteContent:
    """The bytes of one version. Each is verified against its chunk's id, or came from who did."""

    def __init__(self, world: World, http: Http, direct: Direct, which: Which) -> None:
        self.which = which
        self._world = world
        self._http = http
        self._direct = direct
        self._pages: list[_Page] = []

    async def parts(self, start: int, stop: int) -> AsyncIterator[list[Part]]:
        """Bytes ``start`` to ``stop`` in order, as lists of parts.

        ContentDamaged where no good copy can be read; Unreachable; NotFound.
        """
        offset, failed_at = start, -1
        is_direct = self.which.size > SMALL_BYTES
        while offset < stop:
            if not is_direct or not self._direct.may_work:
                async for parts in self._through_door(offset, stop):
                    yield parts
                return
            try:
                async for parts in self._from_nodes(offset, stop):
                    offset += sum(map(len, parts))
                    yield parts
            except (ContentDamaged, BadCapability) as failure:
                _log.info("Reading from nodes failed: {failure}", failure=failure)
                is_direct = failed_at != offset
                failed_at = offset
                await self._forget_page(offset)
            except _NotFromHere:
                is_direct = False

    async def chunks(self) -> AsyncIterator[tuple[ChunkRef, ...]]:
        """All chunks in order, up to a thousand at a time."""
        offset = 0
        while offset < self.which.size:
            page = await self._page_at(offset)
            yield page.chunks
            offset = page.stop

    async def _from_nodes(self, start: int, stop: int) -> AsyncIterator[list[Part]]:
        """As many bytes as the rights that are at hand, or come with one question, allow."""
        page = await self._page_at(start)
        if self._world.clock.seconds() - page.fetched_at > FRESH_SECONDS:
            page = await self._refresh(page)
        if not await self._direct.works(page.facts.nodes):
            raise _NotFromHere
        wanted = spans(page.chunks, start - page.offset, min(stop, page.stop) - page.offset)
        reading = read_content(
            self._world,
            self._direct.nodes,
            wanted,
            sources_of(page.facts),
            path=self.which.path,
            report=_note,
        )
        end = page.fetched_at + FRESH_SECONDS
        try:
            async for parts in reading:
                yield parts
                if self._world.clock.seconds() > end:
                    return
        finally:
            await reading.aclose()

    async def _through_door(self, start: int, stop: int) -> AsyncIterator[list[Part]]:
        offset = start
        while offset < stop:
            headers = {} if (offset, stop) == (0, self.which.size) else _range(offset, stop)
            reply = await self._http.receive(
                DOWNLOAD,
                {"file_id": self.which.file_id},
                query=DownloadQuery(self.which.version),
                headers=headers,
            )
            began = offset
            try:
                async for part in reply.parts():
                    offset += len(part)
                    yield [part]
            except Unreachable:
                if offset == began:
                    raise
            finally:
                reply.close()

    async def _page_at(self, offset: int) -> _Page:
        """The page that has the byte at ``offset``, asked for with those before it if need be."""
        for page in self._pages:
            if page.offset <= offset < page.stop:
                return page
        while True:
            last = self._pages[-1] if self._pages else None
            first = last.facts.first + len(last.chunks) if last else 0
            page = await self._fetch(first, last.stop if last else 0)
            self._pages.append(page)
            if offset < page.stop:
                return page

    async def _refresh(self, stale: _Page) -> _Page:
        page = await self._fetch(stale.facts.first, stale.offset)
        self._pages[self._pages.index(stale)] = page
        return page

    async def _forget_page(self, offset: int) -> None:
        """Ask anew where the chunks around ``offset`` are, and whether their holders answer."""
        page = await self._refresh(await self._page_at(offset))
        await self._direct.doubt(page.facts.nodes)

    async def _fetch(self, first: int, offset: int) -> _Page:
        facts = await self._http.call(
            MANIFEST,
            {"file_id": self.which.file_id},
            query=ManifestQuery(self.which.version, first),
        )
        if not facts.chunks or facts.first != first:
            raise ContentDamaged(self.which.path)
        chunks = tuple(map(chunk_of, facts.chunks))
        return _Page(facts, chunks, offset, self._world.clock.seconds())


class _NotFromHere(Exception):
    """No node can be reached from this machine."""


def _range(start: int, stop: int) -> dict[str, str]:
    return {"Range": f"bytes={start}-{stop - 1}"}


def _note(chunk: ChunkId, node: str, finding: str) -> None:
    _log.warn("{node}: chunk {chunk} is {finding}", node=node, chunk=chunk.hex(), finding=finding)
