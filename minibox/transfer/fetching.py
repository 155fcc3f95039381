"""Chunks from nodes: verified before a byte is released, from the next holder when one fails."""

import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure as Reason

from minibox.capability import Capability
from minibox.chunk import ChunkId, ChunkRef
from minibox.errors import ContentDamaged, Failure
from minibox.manifest import Span
from minibox.node_api import GET, MAX_CHUNKS_PER_CALL, Get, GetAnswer
from minibox.rpc import Body, Part
from minibox.transfer.nodes import Nodes
from minibox.world import World

AHEAD_BYTES = 6 * 1024 * 1024
"""Chunks of so many bytes are asked for ahead of the reader."""
GROUP_BYTES = 2 * 1024 * 1024
HEDGE_SECONDS = 0.5
"""A holder that has not answered by then is joined by the next one."""
CALL_SECONDS = 10.0
INLINE_BYTES = 64 * 1024

Report = Callable[[ChunkId, str, str], None]
"""Told of each copy that a reader found wanting: chunk, node, ``damaged`` or ``not_held``."""


class Source(msgspec.Struct, frozen=True):
    """Who holds a chunk, best first, and the right to get it."""

    capability: Capability
    nodes: tuple[str, ...]


async def read_content(
    world: World,
    nodes: Nodes,
    spans: Iterable[Span],
    sources: Mapping[ChunkId, Source],
    *,
    path: str,
    report: Report,
) -> AsyncGenerator[list[Part], None]:
    """The bytes of ``spans`` in order, as lists of parts, each verified against its chunk's id.

    ContentDamaged, naming ``path``, when no holder has a good copy of a chunk.
    """
    waiting: deque[tuple[Span, Deferred[Body]]] = deque()
    ahead = 0
    try:
        for span in spans:
            source = sources.get(span.chunk.id)
            if source is None:
                raise ContentDamaged(path)
            chase = _Chase(world, nodes, span.chunk, source, report)
            waiting.append((span, chase.begin()))
            ahead += span.chunk.length
            while ahead >= AHEAD_BYTES:
                first, fetched = waiting.popleft()
                ahead -= first.chunk.length
                yield _cut_out(await _found(fetched, path), first)
        while waiting:
            first, fetched = waiting.popleft()
            yield _cut_out(await _found(fetched, path), first)
    finally:
        for _, fetched in waiting:
            fetched.addErrback(lambda _: None)
            fetched.cancel()


async def fetch_chunks(
    world: World,
    nodes: Nodes,
    chunks: Iterable[ChunkRef],
    sources: Mapping[ChunkId, Source],
    *,
    report: Report,
) -> dict[ChunkId, list[Part]]:
    """Many small chunks in few calls. Those of which no good copy was found are absent."""
    found: dict[ChunkId, list[Part]] = {}
    left = [chunk for chunk in dict.fromkeys(chunks) if chunk.id in sources]
    turn = 0
    while left:
        by_node: dict[str, list[ChunkRef]] = {}
        for chunk in left:
            candidates = sources[chunk.id].nodes
            if turn < len(candidates):
                by_node.setdefault(candidates[turn], []).append(chunk)
        if not by_node:
            break
        for node, wanted in by_node.items():
            for group in _groups(wanted):
                found |= await _fetch_group(world, nodes, node, group, sources, report)
        left = [chunk for chunk in left if chunk.id not in found]
        turn += 1
    return found


class _Chase:
    """One chunk asked of one holder after the other until a verified copy is here."""

    def __init__(
        self, world: World, nodes: Nodes, chunk: ChunkRef, source: Source, report: Report
    ) -> None:
        self._world = world
        self._nodes = nodes
        self._chunk = chunk
        self._source = source
        self._report = report
        self._left = iter(source.nodes)
        self._running: list[Deferred[None]] = []
        self._hedge: IDelayedCall | None = None
        self._found: Deferred[Body] = Deferred(lambda _: self._stop())

    def begin(self) -> Deferred[Body]:
        """Fires with the chunk's bytes; fails with ContentDamaged. Cancel it to give up."""
        self._ask_next()
        return self._found

    def _ask_next(self) -> None:
        node = next(self._left, None)
        if node is None:
            if not any(not each.called for each in self._running) and not self._found.called:
                self._found.errback(ContentDamaged(""))
            return
        running = Deferred.fromCoroutine(self._ask(node))
        self._running.append(running)
        running.addCallbacks(self._ended, self._broke)
        if not self._found.called and not running.called:
            self._hedge = self._world.clock.callLater(HEDGE_SECONDS, self._ask_next)

    async def _ask(self, node: str) -> None:
        try:
            body = await _get_one(self._nodes, node, self._chunk, self._source)
        except Failure:
            return
        if isinstance(body, str):
            self._report(self._chunk.id, node, body)
        elif await _is_good(self._world, self._chunk, body.parts):
            if not self._found.called:
                self._found.callback(body)
        else:
            self._report(self._chunk.id, node, "damaged")

    def _ended(self, _: None) -> None:
        self._drop_hedge()
        if self._found.called:
            self._stop()
        else:
            self._ask_next()

    def _broke(self, reason: Reason) -> None:
        if not isinstance(reason.value, CancelledError) and not self._found.called:
            self._found.errback(reason)

    def _drop_hedge(self) -> None:
        if self._hedge is not None and self._hedge.active():
            self._hedge.cancel()
        self._hedge = None

    def _stop(self) -> None:
        self._drop_hedge()
        self._left = iter(())
        for each in self._running:
            if not each.called:
                each.cancel()


async def _get_one(nodes: Nodes, node: str, chunk: ChunkRef, source: Source) -> Body | str:
    """The chunk's bytes as the node gives them, or why it doesn't."""
    message = Get((source.capability,))
    answer = await nodes.call(node, GET, message, GetAnswer, deadline=CALL_SECONDS)
    if answer.message.found == ("here",) and len(answer.body) == chunk.length:
        return answer.body
    return "not_held" if answer.message.found == ("not_held",) else "damaged"


async def _fetch_group(
    world: World,
    nodes: Nodes,
    node: str,
    group: Sequence[ChunkRef],
    sources: Mapping[ChunkId, Source],
    report: Report,
) -> dict[ChunkId, list[Part]]:
    message = Get(tuple(sources[chunk.id].capability for chunk in group))
    try:
        answer = await nodes.call(node, GET, message, GetAnswer, deadline=CALL_SECONDS)
        here = [
            chunk
            for chunk, state in zip(group, answer.message.found, strict=False)
            if state == "here"
        ]
        pieces = answer.body.split([chunk.length for chunk in here])
    except Failure:
        return {}
    for chunk, state in zip(group, answer.message.found, strict=False):
        if state != "here":
            report(chunk.id, node, state)
    good: dict[ChunkId, list[Part]] = {}
    for chunk, parts in zip(here, pieces, strict=True):
        if await _is_good(world, chunk, parts):
            good[chunk.id] = parts
        else:
            report(chunk.id, node, "damaged")
    return good


def _groups(chunks: Sequence[ChunkRef]) -> list[list[ChunkRef]]:
    groups: list[list[ChunkRef]] = []
    size = GROUP_BYTES
    for chunk in chunks:
        if size + chunk.length > GROUP_BYTES or len(groups[-1]) >= MAX_CHUNKS_PER_CALL:
            groups.append([])
            size = 0
        groups[-1].append(chunk)
        size += chunk.length
    return groups


async def _is_good(world: World, chunk: ChunkRef, parts: Sequence[Part]) -> bool:
    if chunk.length <= INLINE_BYTES:
        return _matches(chunk.id, parts)
    return await world.threads.run(_matches, chunk.id, parts)


def _matches(expected: ChunkId, parts: Sequence[Part]) -> bool:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest() == expected


async def _found(fetched: Deferred[Body], path: str) -> Body:
    try:
        return await fetched
    except ContentDamaged as failure:
        raise ContentDamaged(path) from failure


def _cut_out(body: Body, span: Span) -> list[Part]:
    """The parts of a chunk's bytes from ``span.start`` to ``span.stop``."""
    if span.stop - span.start == span.chunk.length:
        return list(body.parts)
    lengths = [span.start, span.stop - span.start, span.chunk.length - span.stop]
    return body.split(lengths)[1]
