"""What this node offers: to clients with capabilities, to peers, and to the coordinator.

A receipt is made in one place, after the chunk is durable here and while the node may still write.
"""

from collections.abc import Sequence
from typing import Literal

from twisted.internet.defer import Deferred, FirstError, gatherResults

from minibox.chunk import ChunkRef
from minibox.credentials import Capabilities
from minibox.credentials import Receipts as ReceiptMaker
from minibox.errors import (
    BadCapability,
    BadRecord,
    ChunkDamaged,
    ChunkNotHeld,
    Failure,
    TooLarge,
    ValidationFailed,
)
from minibox.node.arrivals import Arrivals
from minibox.node.batch import Incoming
from minibox.node.intake import check_crcs, check_ids
from minibox.node.obedience import Obedience
from minibox.node.peers import Peers
from minibox.node.replication import Replication
from minibox.node.shelf import Shelf
from minibox.node_api import (
    DELETE,
    FETCH,
    GET,
    HOLDS,
    MAX_BODY_BYTES,
    MAX_CHUNKS_PER_CALL,
    PULL,
    PUT,
    REPLICATE,
    VERIFY,
    Capability,
    Delete,
    DeleteAnswer,
    Fetch,
    Get,
    GetAnswer,
    Holds,
    Pull,
    Put,
    PutAnswer,
    Receipt,
    Receipts,
    Replicate,
    Verify,
    VerifyAnswer,
)
from minibox.rpc import Body, Caller, Method, Part, Reply, Role
from minibox.world import Threads

CHUNK_ID_BYTES = 32
NO_UPLOAD = 0
"""What the receipt of a pulled copy names: it belongs to no upload."""

_ANYONE: tuple[Role, ...] = ("guest", "coordinator", "node")
_INSIDERS: tuple[Role, ...] = ("coordinator", "node")
_NODES: tuple[Role, ...] = ("node",)
_COORDINATOR: tuple[Role, ...] = ("coordinator",)


class Door:
    """The calls that this node answers, over its shelf."""

    def __init__(
        self,
        threads: Threads,
        node: str,
        shelf: Shelf,
        obedience: Obedience,
        peers: Peers,
        replication: Replication,
        capabilities: Capabilities,
        receipts: ReceiptMaker,
    ) -> None:
        self._threads = threads
        self._node = node
        self._shelf = shelf
        self._obedience = obedience
        self._peers = peers
        self._replication = replication
        self._capabilities = capabilities
        self._receipts = receipts
        self._arrivals = Arrivals()

    def methods(self) -> tuple[Method, ...]:
        """Who may call what."""
        return (
            Method(PUT, Put, self._put, _ANYONE),
            Method(GET, Get, self._get, _ANYONE, lambda get: _length_of(get.capabilities)),
            Method(REPLICATE, Replicate, self._replicate, _NODES),
            Method(FETCH, Fetch, self._fetch, _INSIDERS, lambda fetch: _length_of(fetch.chunks)),
            Method(HOLDS, Holds, self._holds, _COORDINATOR),
            Method(VERIFY, Verify, self._verify, _COORDINATOR),
            Method(PULL, Pull, self._pull, _COORDINATOR),
            Method(DELETE, Delete, self._delete, _COORDINATOR),
        )

    # Bytes in

    async def _put(self, _caller: Caller, put: Put, body: Body) -> Reply:
        self._obedience.check_fresh()
        _check_shape(put)
        self._check_capabilities(put)
        chunks = [ChunkRef(each.chunk, each.length) for each in put.capabilities]
        sequences = [each.sequence for each in put.capabilities]
        pieces = _pieces(chunks, body)
        ids = [chunk.id for chunk in chunks]
        crcs = await check_ids(self._threads, ids, pieces, len(body))
        items = [Incoming(*each) for each in zip(chunks, crcs, sequences, pieces, strict=True)]
        receipts = await self._replication.spread(
            put.upload, items, put.spread, put.copies, put.ack, self._keep(put.upload, items)
        )
        return Reply(PutAnswer(receipts))

    async def _replicate(self, _caller: Caller, replicate: Replicate, body: Body) -> Reply:
        self._obedience.check_fresh()
        chunks = replicate.chunks
        _check_same_count("crcs", chunks, replicate.crcs)
        _check_same_count("sequences", chunks, replicate.sequences)
        pieces = _pieces(chunks, body)
        await check_crcs(self._threads, replicate.crcs, pieces, len(body))
        items = [
            Incoming(*each)
            for each in zip(chunks, replicate.crcs, replicate.sequences, pieces, strict=True)
        ]
        return Reply(Receipts(tuple(await self._keep(replicate.upload, items))))

    async def _pull(self, _caller: Caller, pull: Pull, _body: Body) -> Reply:
        self._obedience.check_order(pull.order)
        item = await self._fetched(pull)
        return Reply(Receipts(tuple(await self._keep(NO_UPLOAD, [item]))))

    async def _fetched(self, pull: Pull) -> Incoming:
        """The chunk from the first source that has it good. Raises what the last one raised."""
        failure: Failure = ChunkNotHeld(chunk=pull.chunk.id.hex())
        for source in self._peers.in_order(pull.sources):
            try:
                body = await self._peers.fetch(source, pull.chunk)
                pieces = _pieces([pull.chunk], body)
                crcs = await check_ids(self._threads, [pull.chunk.id], pieces, len(body))
            except Failure as problem:
                failure = problem
            else:
                return Incoming(pull.chunk, crcs[0], pull.order.sequence, pieces[0])
        raise failure

    async def _keep(self, upload: int, items: Sequence[Incoming]) -> list[Receipt]:
        """Make these durable here; then, and only if the node may still write, the receipts."""
        disks = await self._shelf.put(items)
        self._obedience.check_fresh()
        if upload != NO_UPLOAD:
            for item in items:
                self._arrivals.note(upload, item.chunk.id)
        return [
            self._receipts.make(item.chunk.id, item.chunk.length, self._node, disk, upload)
            for item, disk in zip(items, disks, strict=True)
        ]

    # Bytes out

    async def _get(self, _caller: Caller, get: Get, _body: Body) -> Reply:
        now = self._obedience.coordinator_seconds()
        for capability in get.capabilities:
            self._capabilities.check(capability, "get", now)
        return await self._give([ChunkRef(each.chunk, each.length) for each in get.capabilities])

    async def _fetch(self, _caller: Caller, fetch: Fetch, _body: Body) -> Reply:
        return await self._give(fetch.chunks)

    async def _give(self, chunks: Sequence[ChunkRef]) -> Reply:
        _check_count("chunks", chunks)
        _check_ids(chunks)
        if sum(chunk.length for chunk in chunks) > MAX_BODY_BYTES:
            raise TooLarge(limit=MAX_BODY_BYTES)
        contents = await self._shelf.get_many(chunks)
        found = tuple(_FOUND[type(content)] for content in contents)
        return Reply(GetAnswer(found), [each for each in contents if isinstance(each, bytes)])

    # What is here, and what has to go

    async def _holds(self, _caller: Caller, holds: Holds, _body: Body) -> Reply:
        self._obedience.check_fresh()
        receipts: list[Receipt] = []
        for chunk in holds.chunks:
            held = self._shelf.holds(chunk.id)
            if (
                held is not None
                and held.chunk == chunk
                and self._arrivals.came_under(holds.upload, chunk.id)
            ):
                receipts.append(
                    self._receipts.make(chunk.id, chunk.length, self._node, held.disk, holds.upload)
                )
        return Reply(Receipts(tuple(receipts)))

    async def _verify(self, _caller: Caller, verify: Verify, _body: Body) -> Reply:
        return Reply(VerifyAnswer(tuple(await self._shelf.verify(verify.chunks))))

    async def _delete(self, _caller: Caller, delete: Delete, _body: Body) -> Reply:
        await self._obedience.obey(delete.order)
        sequence = delete.order.sequence
        deleting = [
            Deferred.fromCoroutine(self._shelf.delete(chunk, sequence))
            for chunk in dict.fromkeys(delete.chunks)
        ]
        try:
            gone = await gatherResults(deleting, consumeErrors=True)
        except FirstError as first:
            first.subFailure.raiseException()
        by_chunk = dict(zip(dict.fromkeys(delete.chunks), gone, strict=True))
        return Reply(DeleteAnswer(tuple(by_chunk[chunk] for chunk in delete.chunks)))

    def _check_capabilities(self, put: Put) -> None:
        now = self._obedience.coordinator_seconds()
        for capability in put.capabilities:
            self._capabilities.check(capability, "put", now)
            if capability.scope != put.upload:
                raise BadCapability("it is for another upload")


_FOUND: dict[type, Literal["here", "not_held", "damaged"]] = {
    bytes: "here",
    ChunkNotHeld: "not_held",
    ChunkDamaged: "damaged",
}


def _check_shape(put: Put) -> None:
    _check_same_count("spread", put.capabilities, put.spread)
    if not 1 <= put.ack <= put.copies:
        raise ValidationFailed("ack", "it has to be between 1 and copies")


def _check_count(field: str, things: Sequence[object]) -> None:
    if not 1 <= len(things) <= MAX_CHUNKS_PER_CALL:
        raise ValidationFailed(field, f"between 1 and {MAX_CHUNKS_PER_CALL} chunks go in one call")


def _check_same_count(field: str, chunks: Sequence[object], others: Sequence[object]) -> None:
    _check_count("chunks", chunks)
    if len(chunks) != len(others):
        raise ValidationFailed(field, "there has to be one for each chunk")


def _check_ids(chunks: Sequence[ChunkRef]) -> None:
    if any(len(chunk.id) != CHUNK_ID_BYTES for chunk in chunks):
        raise BadRecord(kind="chunkref", reason="a chunk id has 32 bytes")


def _pieces(chunks: Sequence[ChunkRef], body: Body) -> list[list[Part]]:
    """The body's parts by chunk. Raises TooLarge, BadRecord."""
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(limit=MAX_BODY_BYTES)
    _check_ids(chunks)
    return body.split([chunk.length for chunk in chunks])


def _length_of(chunks: Sequence[ChunkRef] | Sequence[Capability]) -> int:
    """What the answer may take; one that asks for more is refused before it is read."""
    length = sum(max(0, chunk.length) for chunk in chunks)
    return length if length <= MAX_BODY_BYTES else 0
