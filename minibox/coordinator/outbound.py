"""Content that goes out through the coordinator's own doors."""

from collections.abc import AsyncGenerator, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from minibox.chunk import ChunkId, ChunkRef
from minibox.coordinator import holders, versions
from minibox.coordinator.cluster import Cluster
from minibox.coordinator.tree import Entry
from minibox.coordinator.versions import Version
from minibox.errors import Failure
from minibox.manifest import Span, spans
from minibox.node_api import VERIFY, Verify, VerifyAnswer
from minibox.store import Reader, Store
from minibox.transfer import Source, read_content
from minibox.world import World

VERIFY_SECONDS = 30.0

_log = Logger()


class Outbound:
    """Reads contents for the doors."""

    def __init__(self, world: World, store: Store, cluster: Cluster) -> None:
        self._world = world
        self._store = store
        self._cluster = cluster

    async def read(
        self, entry: Entry, version: Version | None, path: str, start: int, stop: int
    ) -> AsyncGenerator[bytes, None]:
        """The verified bytes ``start`` to ``stop`` of a version (None: the head).

        ContentDamaged, naming ``path``, when no holder has a good copy.
        """
        wanted, sources = self._store.read(
            lambda reader: self._plan(reader, entry, version, start, stop)
        )
        reading = read_content(
            self._world, self._cluster.nodes, wanted, sources, path=path, report=self._suspect
        )
        try:
            async for parts in reading:
                yield b"".join(parts)  # transports send large pieces of bytes in place
        finally:
            await reading.aclose()

    def _plan(
        self, reader: Reader, entry: Entry, version: Version | None, start: int, stop: int
    ) -> tuple[list[Span], dict[ChunkId, Source]]:
        if version is None and entry.chunks <= 1:
            chunks: Sequence[ChunkRef] = versions.sole_chunk(entry.sha256, entry.size)
        else:
            number = entry.head if version is None else version.number
            chunks = tuple(
                versions.chunks_of(reader, entry.id, versions.get(reader, entry.id, number))
            )
        wanted = list(spans(chunks, start, stop))
        sources: dict[ChunkId, Source] = {}
        for span in wanted:
            if span.chunk.id not in sources:
                copies = holders.of(reader, span.chunk.id)
                if copies is not None:
                    sources[span.chunk.id] = self._cluster.source(span.chunk, copies, entry.id)
        return wanted, sources

    def _suspect(self, chunk: ChunkId, node: str, finding: str) -> None:
        """A reader found a copy wanting: the node is asked to look again, and reports by itself."""
        _log.warn(
            "A copy of {chunk} on {node} was {finding}",
            chunk=chunk.hex(),
            node=node,
            finding=finding,
        )
        asking = Deferred.fromCoroutine(self._ask_again(chunk, node))
        asking.addErrback(lambda reason: _log.failure("Asking again failed", reason))

    async def _ask_again(self, chunk: ChunkId, node: str) -> None:
        try:
            answer = await self._cluster.nodes.call(
                node, VERIFY, Verify((chunk,)), VerifyAnswer, deadline=VERIFY_SECONDS
            )
        except Failure:
            return
        if answer.message.found == ("good",):
            return
        copies, now = self._cluster.copies, self._world.clock.wall()
        await self._store.write(lambda writer: holders.withdraw(writer, chunk, node, copies, now))
