"""The direct path: leases, where chunks go, receipts, commits, manifests for readers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice

import msgspec

from minibox.capability import Receipt
from minibox.chunk import ChunkId, ChunkRef, chunk_id
from minibox.coordinator import holders, idempotency, lineage, namespaces, uploads, versions
from minibox.coordinator.changes import Changes, Deed
from minibox.coordinator.cluster import Cluster
from minibox.coordinator.commit import (
    Committed,
    Conditions,
    Destination,
    Safety,
    Staged,
    commit,
)
from minibox.coordinator.holders import Holder
from minibox.coordinator.tree import Entry
from minibox.coordinator.uploads import Lease
from minibox.coordinator.versions import Content, Version
from minibox.errors import (
    BadReceipt,
    ChecksumMismatch,
    Failure,
    NotFound,
    UploadExpired,
    ValidationFailed,
)
from minibox.identity import ID_BYTES, FreshIds
from minibox.manifest import EMPTY_SHA256
from minibox.node_api import HOLDS, Holds, Receipts
from minibox.store import Reader, Store, Writer
from minibox.transfer import Placed, Source, send_chunks
from minibox.transfer.sending import Outgoing
from minibox.world import World

HOLDS_SECONDS = 10.0
HOLDS_AT_ONCE = 1000

Said = Mapping[ChunkRef, tuple[Holder, ...]]
"""Who holds which chunk, by receipts that have been checked."""


class Planned(msgspec.Struct, frozen=True):
    """What a client has to send, and where."""

    lease: Lease
    missing: Mapping[ChunkId, Placed]
    expires_in: float


class Claimed(msgspec.Struct, frozen=True):
    """What a committing client says of its content."""

    sha256: bytes | None
    modified: float | None
    content_type: str


class Manifest(msgspec.Struct, frozen=True):
    """Part of a content, from chunk ``first`` on, and where it is read from."""

    entry: Entry
    version: Version
    first: int
    chunks: tuple[ChunkRef, ...]
    sources: Mapping[ChunkId, Source]


class Direct:
    """Uploads that go straight to nodes. Deadlines of leases are here, in memory."""

    def __init__(self, world: World, store: Store, cluster: Cluster, changes: Changes) -> None:
        self._world = world
        self._store = store
        self._cluster = cluster
        self._changes = changes
        self._lease_seconds = cluster.config.coordinator.lease_minutes * 60
        deadline = world.clock.seconds() + self._lease_seconds
        self._deadlines = {
            lease.upload: deadline for lease in store.read(lambda r: list(uploads.every(r)))
        }

    async def begin(self, deed: Deed, lease: Lease, chunks: Sequence[ChunkRef]) -> Planned:
        """Open a lease and pin the first chunks; QuotaExceeded, NotEnoughNodes, Starting."""
        self._cluster.safety()
        ids = FreshIds(deed.act.now, self._world.random_bytes(16))
        lease = msgspec.structs.replace(lease, upload=ids.make())

        def open_lease(writer: Writer) -> bytes:
            uploads.begin(writer, deed.act, lease)
            uploads.pin(writer, deed.act, lease, chunks)
            return lease.upload.to_bytes(ID_BYTES, "big")

        def opened(writer: Writer) -> tuple[Lease, int]:
            upload = int.from_bytes(_once(writer, deed, open_lease), "big")
            lease = uploads.get(writer, upload, deed.act.actor)
            return lease, lineage.next_sequence(writer)

        pinned, sequence = await self._store.write(opened)
        until = self._world.clock.seconds() + self._lease_seconds
        self._deadlines.setdefault(pinned.upload, until)
        return self._planned(deed, pinned, chunks, sequence)

    async def extend(
        self,
        deed: Deed,
        upload: int,
        chunks: Sequence[ChunkRef],
        receipts: Sequence[Receipt] = (),
    ) -> Planned:
        """Pin the next chunks and note receipts; UploadExpired, QuotaExceeded, NotEnoughNodes.

        Receipts of chunks that are not listed yet say nothing.
        """
        self._lease(deed, upload)
        said = self._checked(receipts, upload)
        copies, now = self._cluster.copies, deed.act.now

        def pin(writer: Writer) -> bytes:
            lease = uploads.get(writer, upload, deed.act.actor)
            uploads.pin(writer, deed.act, lease, chunks)
            if said:
                listed = set(uploads.listed(writer, upload))
                for chunk, fresh in said.items():
                    if chunk in listed:
                        uploads.show(writer, upload, chunk.id)
                        holders.confirm(writer, chunk, fresh, copies, now)
            return b""

        def extended(writer: Writer) -> tuple[Lease, int]:
            _once(writer, deed, pin)
            lease = uploads.get(writer, upload, deed.act.actor)
            return lease, lineage.next_sequence(writer)

        lease, sequence = await self._store.write(extended)
        return self._planned(deed, lease, chunks, sequence)

    async def renew(self, deed: Deed, upload: int) -> Planned:
        """Start the lease's time anew, with fresh capabilities for what is still missing."""
        lease = self._lease(deed, upload)
        self._deadlines[upload] = self._world.clock.seconds() + self._lease_seconds
        receipts, _ = await self.state(deed, upload)
        stored = {receipt.chunk for receipt in receipts}
        chunks = self._store.read(lambda reader: list(uploads.listed(reader, upload)))
        left = [chunk for chunk in chunks if chunk.id not in stored]
        return self._planned(deed, lease, left, self._cluster.sequence)

    async def put_chunk(
        self, deed: Deed, upload: int, expected: ChunkId, content: bytes
    ) -> list[Receipt]:
        """Store one pinned chunk for a client that can't reach nodes."""
        if chunk_id(content) != expected:
            raise ChecksumMismatch(expected.hex(), chunk_id(content).hex())
        self._lease(deed, upload)
        if not self._store.read(lambda r: uploads.is_pinned_by(r, expected, upload)):
            raise NotFound("chunk in this upload")
        safety = self._cluster.safety()
        chunk = ChunkRef(expected, len(content))
        placed = self._cluster.placed(chunk, upload, self._cluster.sequence, safety.ack)
        return await send_chunks(
            self._cluster.nodes,
            [Outgoing(chunk, (content,), placed)],
            upload=upload,
            copies=safety.copies,
            ack=safety.ack,
        )

    async def state(self, deed: Deed, upload: int) -> tuple[list[Receipt], list[ChunkRef]]:
        """Fresh receipts from the nodes for what they hold of the upload, and all its chunks."""
        self._lease(deed, upload)
        chunks = self._store.read(lambda reader: list(uploads.listed(reader, upload)))
        by_node: dict[str, list[ChunkRef]] = {}
        for chunk in dict.fromkeys(chunks):
            targets = self._cluster.targets(chunk.id, 1)
            for node in (targets.first, *targets.others):
                by_node.setdefault(node, []).append(chunk)
        receipts: list[Receipt] = []
        for node, asked in by_node.items():
            receipts += await self._held_by(node, upload, asked)
        return receipts, chunks

    async def _held_by(self, node: str, upload: int, chunks: Sequence[ChunkRef]) -> list[Receipt]:
        """Its receipts, as far as it answers; a list of any length goes in bounded messages."""
        receipts: list[Receipt] = []
        for start in range(0, len(chunks), HOLDS_AT_ONCE):
            asked = Holds(upload, tuple(chunks[start : start + HOLDS_AT_ONCE]))
            try:
                answer = await self._cluster.nodes.call(
                    node, HOLDS, asked, Receipts, deadline=HOLDS_SECONDS
                )
            except Failure:
                break
            receipts += answer.message.receipts
        return receipts

    async def give_up(self, deed: Deed, upload: int) -> None:
        """End an upload without a commit; UploadExpired."""
        self._lease(deed, upload)
        await self._store.write(
            lambda writer: uploads.give_up(writer, deed.act, upload), frees=True
        )
        self.forget(upload)

    def forget(self, upload: int) -> None:
        """The lease has ended: nothing waits for its deadline any more."""
        self._deadlines.pop(upload, None)

    async def expire(self) -> None:
        """End the leases whose time is up. Call it regularly."""
        now = self._world.clock.seconds()
        wall = self._world.clock.wall()
        for upload in [each for each, deadline in self._deadlines.items() if deadline <= now]:
            del self._deadlines[upload]
            await self._store.write(partial(_expire, wall, upload), frees=True)

    # Commits

    def plan_commit(
        self,
        deed: Deed,
        lease: Lease,
        destination: Destination,
        conditions: Conditions,
        claimed: Claimed,
        receipts: Said,
        chunks: Sequence[ChunkRef],
        *,
        ends_lease: bool,
    ) -> "PlannedCommit":
        """Everything that the committing transaction needs, frozen."""
        size = sum(chunk.length for chunk in chunks)
        sole = chunks[0].id if len(chunks) == 1 else EMPTY_SHA256 if not chunks else None
        if sole is not None and claimed.sha256 not in (None, sole):
            raise ChecksumMismatch((claimed.sha256 or b"").hex(), sole.hex())
        sha256 = sole or claimed.sha256
        if sha256 is None:
            raise ValidationFailed("sha256", "give the SHA-256 of the whole content")
        modified = deed.act.now if claimed.modified is None else claimed.modified
        content = Content(size, sha256, sole is not None, claimed.content_type, modified)
        staged = Staged(
            tuple(chunks),
            {chunk.id: receipts[chunk] for chunk in chunks if chunk in receipts},
            content,
        )
        return PlannedCommit(
            deed,
            destination,
            conditions,
            staged,
            self._cluster.safety(),
            lease.upload,
            ends_lease,
        )

    def checked(self, receipts: Sequence[Receipt], upload: int) -> Said:
        """Who holds what by these receipts for this upload; BadReceipt."""
        return self._checked(receipts, upload)

    def _checked(self, receipts: Sequence[Receipt], upload: int) -> Said:
        if any(receipt.upload != upload for receipt in receipts):
            raise BadReceipt
        lengths = {receipt.chunk: receipt.length for receipt in receipts}
        return {
            ChunkRef(chunk, lengths[chunk]): fresh
            for chunk, fresh in self._cluster.checked(receipts).items()
        }

    def lease(self, deed: Deed, upload: int) -> tuple[Lease, list[ChunkRef]]:
        """The lease and the chunks listed under it; UploadExpired."""
        lease = self._lease(deed, upload)
        return lease, self._store.read(lambda reader: list(uploads.listed(reader, upload)))

    # Reading

    def manifest(self, entry: Entry, number: int | None, first: int, most: int) -> Manifest:
        """Up to ``most`` chunks of a version from ``first`` on; NotFound."""
        return self._store.read(
            lambda reader: self._manifest(reader, entry, number or entry.head, first, most)
        )

    def _manifest(
        self, reader: Reader, entry: Entry, number: int, first: int, most: int
    ) -> Manifest:
        version = versions.get(reader, entry.id, number)
        chunks = tuple(islice(versions.chunks_of(reader, entry.id, version), first, first + most))
        sources = {}
        for chunk in chunks:
            copies = holders.of(reader, chunk.id)
            if copies is not None:
                sources[chunk.id] = self._cluster.source(chunk, copies, entry.id)
        return Manifest(entry, version, first, chunks, sources)

    def seconds_left(self, upload: int) -> float:
        """Until the lease ends."""
        deadline = self._deadlines.get(upload, 0.0)
        return max(0.0, deadline - self._world.clock.seconds())

    def _planned(
        self, deed: Deed, lease: Lease, chunks: Sequence[ChunkRef], sequence: int
    ) -> Planned:
        needed = self._cluster.config.cluster.ack
        standing = self._cluster.standing()

        def is_there(reader: Reader, chunk: ChunkRef) -> bool:
            copies = holders.of(reader, chunk.id)
            return (
                copies is not None
                and holders.counted(copies.holders, standing) >= needed
                and copies.length == chunk.length
                and namespaces.has_chunk(reader, deed.namespace, chunk.id)
            )

        def missing(reader: Reader) -> list[ChunkRef]:
            return [each for each in dict.fromkeys(chunks) if not is_there(reader, each)]

        placed = {
            chunk.id: self._cluster.placed(chunk, lease.upload, sequence, needed)
            for chunk in self._store.read(missing)
        }
        return Planned(lease, placed, self.seconds_left(lease.upload))

    def _lease(self, deed: Deed, upload: int) -> Lease:
        if not self.seconds_left(upload):
            raise UploadExpired
        return self._store.read(lambda reader: uploads.get(reader, upload, deed.act.actor))


class PlannedCommit(msgspec.Struct, frozen=True):
    """One commit of the direct path, ready for the store, under the lease of ``upload``."""

    deed: Deed
    destination: Destination
    conditions: Conditions
    staged: Staged
    safety: Safety
    upload: int
    ends_lease: bool

    def __call__(self, writer: Writer, ids: FreshIds) -> Committed:
        """Carry it out."""
        return commit(
            writer,
            self.deed.act,
            ids,
            self.deed.namespace,
            self.destination,
            self.conditions,
            self.staged,
            self.safety,
            self.upload,
            ends_lease=self.ends_lease,
        )


def _once(writer: Writer, deed: Deed, operation: Callable[[Writer], bytes]) -> bytes:
    if not deed.key:
        return operation(writer)
    return idempotency.once(writer, deed.key, deed.request, deed.act.now, lambda: operation(writer))


def _expire(now: float, upload: int, writer: Writer) -> None:
    uploads.expire(writer, now, upload)
