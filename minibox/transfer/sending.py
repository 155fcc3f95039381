"""Chunks to nodes: many in one call, to the first node of their placement that takes them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred, FirstError, gatherResults

from minibox.capability import Capability, Receipt
from minibox.chunk import ChunkId, ChunkRef
from minibox.errors import (
    CallTimeout,
    ClusterFull,
    DiskFull,
    NodeFenced,
    NotEnoughNodes,
    StoreStopped,
    Unreachable,
)
from minibox.node_api import MAX_CHUNKS_PER_CALL, PUT, Put, PutAnswer
from minibox.quorum import AllRefused, first_in_turn
from minibox.rpc import Part
from minibox.transfer.nodes import Nodes

GROUP_BYTES = 2 * 1024 * 1024
"""A call is sent with so many bytes at most, unless one chunk is larger."""
CALL_SECONDS = 10.0
PATIENCE_SECONDS = 3.0
"""A node that is silent for so long is joined by the next one; what both store is one chunk."""

_TRY_ANOTHER = (Unreachable, CallTimeout, NodeFenced, DiskFull, StoreStopped, NotEnoughNodes)


class Placed(msgspec.Struct, frozen=True):
    """Where one chunk may go, best first, and the right to put it there."""

    capability: Capability
    nodes: tuple[str, ...]


class Placer(Protocol):
    """Whoever pins chunks and says where they go: the coordinator, or the caller of its API."""

    async def place(self, chunks: Sequence[ChunkRef]) -> Mapping[ChunkId, Placed]:
        """For each chunk that has to be sent where it goes; absent ones are stored already."""


class Outgoing(msgspec.Struct, frozen=True):
    """A chunk on its way: what it is, its bytes, where it goes."""

    chunk: ChunkRef
    parts: Sequence[Part]
    placed: Placed


async def send_chunks(
    nodes: Nodes, batch: Iterable[Outgoing], *, upload: int, copies: int, ack: int
) -> list[Receipt]:
    """Store chunks with at least ``ack`` durable copies each; all receipts that came in time.

    NotEnoughNodes, ClusterFull; BadCapability and ChecksumMismatch as the nodes say.
    """
    sending = [
        Deferred.fromCoroutine(_send_group(nodes, group, upload=upload, copies=copies, ack=ack))
        for group in _groups(batch)
    ]
    if len(sending) == 1:
        return await sending[0]
    try:
        answered = await gatherResults(sending, consumeErrors=True)
    except FirstError as first:
        first.subFailure.raiseException()
    return [receipt for receipts in answered for receipt in receipts]


def _groups(batch: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """The batch cut into calls: one placement, at most GROUP_BYTES and MAX_CHUNKS_PER_CALL."""
    open_groups: dict[tuple[str, ...], tuple[list[Outgoing], int]] = {}
    for each in batch:
        group, size = open_groups.pop(each.placed.nodes, ([], 0))
        full = len(group) >= MAX_CHUNKS_PER_CALL or size + each.chunk.length > GROUP_BYTES
        if group and full:
            yield group
            group, size = [], 0
        group.append(each)
        open_groups[each.placed.nodes] = group, size + each.chunk.length
    for group, _ in open_groups.values():
        yield group


async def _send_group(
    nodes: Nodes, group: Sequence[Outgoing], *, upload: int, copies: int, ack: int
) -> list[Receipt]:
    candidates = group[0].placed.nodes
    capabilities = tuple(each.placed.capability for each in group)
    body = [part for each in group for part in each.parts]

    async def offer(first: str) -> list[Receipt]:
        others = tuple(node for node in candidates if node != first)
        message = Put(upload, capabilities, (others,) * len(group), copies, ack)
        answer = await nodes.call(first, PUT, message, PutAnswer, body, deadline=CALL_SECONDS)
        return list(answer.message.receipts)

    try:
        return await first_in_turn(
            nodes.clock,
            [partial(offer, node) for node in candidates],
            PATIENCE_SECONDS,
            _TRY_ANOTHER,
        )
    except AllRefused as refused:
        if refused.failures and all(isinstance(each, DiskFull) for each in refused.failures):
            raise ClusterFull from refused
        raise NotEnoughNodes(ack, 0) from refused
