"""Chunks from nodes: verified before a byte is released, from the next holder when one fails."""

import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec
from twisted.internet.defer import Deferred

from minibox.capability import Capability
from minibox.chunk import ChunkId, ChunkRef
from minibox.errors import ChunkDamaged, ContentDamaged, Failure
from minibox.manifest import Span
from minibox.node_api import GET, MAX_CHUNKS_PER_CALL, Get, GetAnswer
from minibox.quorum import AllRefused, first_in_turn
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
            fetching = _fetch(world, nodes, span.chunk, source, path, report)
            waiting.append((span, Deferred.fromCoroutine(fetching)))
            ahead += span.chunk.length
            while ahead >= AHEAD_BYTES:
                first, fetched = waiting.popleft()
                ahead -= first.chunk.length
                yield _cut_out(await fetched, first)
        while waiting:
            first, fetched = waiting.popleft()
            yield _cut_out(await fetched, first)
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


async def _fetch(
    world: World, nodes: Nodes, chunk: ChunkRef, source: Source, path: str, report: Report
) -> Body:
    """A verified copy, asked of one holder after the other; ContentDamaged naming ``path``."""

    async def ask(node: str) -> Body:
        found = await _get_one(nodes, node, chunk, source)
        if not isinstance(found, str):
            if await _is_good(world, chunk, found.parts):
                return found
            found = "damaged"
        report(chunk.id, node, found)
        raise ChunkDamaged(chunk.id.hex())

    attempts = [partial(ask, node) for node in source.nodes]
    try:
        return await first_in_turn(world.clock, attempts, HEDGE_SECONDS, (Failure,))
    except AllRefused as refused:
        raise ContentDamaged(path) from refused


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


def _cut_out(body: Body, span: Span) -> list[Part]:
    """The parts of a chunk's bytes from ``span.start`` to ``span.stop``."""
    if span.stop - span.start == span.chunk.length:
        return list(body.parts)
    lengths = [span.start, span.stop - span.start, span.chunk.length - span.stop]
    return body.split(lengths)[1]
