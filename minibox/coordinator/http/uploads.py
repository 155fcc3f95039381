"""The direct path: plans, receipts, commits, manifests."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from minibox.capability import Receipt
from minibox.chunk import MAX_CHUNK_BYTES, ChunkId, ChunkRef
from minibox.codec import Record, decode, encode
from minibox.coordinator.authentication import Caller
from minibox.coordinator.changes import Changes, Deed
from minibox.coordinator.cluster import Cluster
from minibox.coordinator.commit import Committed, Conditions, Destination
from minibox.coordinator.direct import Claimed, Direct, Manifest, Planned, PlannedCommit, Said
from minibox.coordinator.homes import Homes, Seen, folder_and_name
from minibox.coordinator.http.call import Call, Reply
from minibox.coordinator.http.deeds import answered, deed_of
from minibox.coordinator.http.entries import (
    checked_seconds,
    digest_of,
    moment,
    type_for,
    uploaded,
)
from minibox.coordinator.http.files import UPLOADED
from minibox.coordinator.http.routing import Router
from minibox.coordinator.uploads import Lease
from minibox.errors import BadReceipt, BadRecord, Failure, NotFound, UploadExpired, ValidationFailed
from minibox.http_api import uploads as api
from minibox.http_api.accounts import Message
from minibox.http_api.files import Uploaded
from minibox.http_api.problems import problem_of, status_of
from minibox.identity import FreshIds, from_text, to_text
from minibox.store import Writer
from minibox.world import Clock

MAX_SIZE = 1 << 62
"""Beyond all contents, within all records."""


class Uploads:
    """The handlers of /api/uploads and of manifests."""

    def __init__(
        self,
        clock: Clock,
        homes: Homes,
        changes: Changes,
        direct: Direct,
        cluster: Cluster,
    ) -> None:
        self._clock = clock
        self._homes = homes
        self._changes = changes
        self._direct = direct
        self._cluster = cluster

    def bind(self, router: Router[Caller]) -> None:
        """Offer the routes."""
        router.bind(api.COMMIT_MANY, self.commit_many, hot=True)
        router.bind(api.BEGIN, self.begin, hot=True)
        router.bind(api.EXTEND, self.extend)
        router.bind(api.RENEW, self.renew)
        router.bind(api.PUT_CHUNK, self.put_chunk)
        router.bind(api.STATE, self.state)
        router.bind(api.ABORT, self.abort)
        router.bind(api.COMMIT, self.commit)
        router.bind(api.MANIFEST, self.manifest)
        router.bind(api.MANIFESTS, self.manifests)

    async def begin(self, call: Call[Caller, None, api.Begin]) -> api.Plan:
        """POST /api/uploads."""
        asked, deed = call.body, deed_of(call, self._clock)
        chunks = _chunks(asked.chunks)
        file, path = 0, ""
        if asked.file_id is not None:
            file = self._homes.file(call.caller, asked.file_id).entry.id
        elif asked.path is not None:
            folder_and_name(asked.path)
            path = asked.path
        if asked.size is not None and not 0 <= asked.size <= MAX_SIZE:
            raise ValidationFailed("size", f"give 0 to {MAX_SIZE}")
        reserved = max(asked.size or 0, sum(chunk.length for chunk in chunks))
        lease = Lease(0, call.caller.user.id, deed.namespace, reserved, path, file, asked.base)
        return self._plan(await self._direct.begin(deed, lease, chunks))

    async def extend(self, call: Call[Caller, None, api.Extend]) -> api.Plan:
        """POST /api/uploads/{upload_id}/extend."""
        deed, chunks = deed_of(call, self._clock), _chunks(call.body.chunks)
        receipts = _receipts(call.body.receipts)
        return self._plan(await self._direct.extend(deed, _upload(call), chunks, receipts))

    async def renew(self, call: Call[Caller, None, None]) -> api.Plan:
        """POST /api/uploads/{upload_id}/renew."""
        return self._plan(await self._direct.renew(deed_of(call, self._clock), _upload(call)))

    async def put_chunk(self, call: Call[Caller, None, None]) -> api.ChunkStored:
        """PUT /api/uploads/{upload_id}/chunks/{sha256}."""
        expected = ChunkId(digest_of(call.params["sha256"]))
        content = await call.stream.read_whole(MAX_CHUNK_BYTES)
        deed = deed_of(call, self._clock)
        receipts = await self._direct.put_chunk(deed, _upload(call), expected, content)
        return api.ChunkStored(_texts(receipts))

    async def state(self, call: Call[Caller, None, None]) -> api.UploadState:
        """GET /api/uploads/{upload_id}."""
        deed, upload = deed_of(call, self._clock), _upload(call)
        receipts, chunks = await self._direct.state(deed, upload)
        stored = {receipt.chunk for receipt in receipts}
        return api.UploadState(
            upload_id=call.params["upload_id"],
            chunks=_chunk_facts(chunks),
            receipts=_texts(receipts),
            missing=tuple(dict.fromkeys(each.id.hex() for each in chunks if each.id not in stored)),
            expires=moment(deed.act.now + self._direct.seconds_left(upload)),
        )

    async def abort(self, call: Call[Caller, None, None]) -> Message:
        """DELETE /api/uploads/{upload_id}."""
        await self._direct.give_up(deed_of(call, self._clock), _upload(call))
        return Message("The upload is given up.")

    async def commit(self, call: Call[Caller, None, api.Commit]) -> Reply[Uploaded]:
        """POST /api/uploads/{upload_id}/commit."""
        asked, deed = call.body, deed_of(call, self._clock)
        kept = self._changes.done(deed)
        if kept is not None:
            return answered(kept, shows_copies=True)
        upload = _upload(call)
        lease, chunks = self._direct.lease(deed, upload)
        destination = Destination(call.caller.user.home, file=lease.file)
        if lease.file:
            name = self._homes.file(call.caller, to_text("f", lease.file)).entry.name
        else:
            folder, last = folder_and_name(lease.path)
            destination, name = Destination(call.caller.user.home, (*folder, last)), last
        planned = self._direct.plan_commit(
            deed,
            lease,
            destination,
            Conditions(asked.on_conflict, lease.base),
            Claimed(
                None if asked.sha256 is None else digest_of(asked.sha256),
                None if asked.mtime is None else checked_seconds(asked.mtime),
                type_for(name, asked.content_type),
            ),
            self._direct.checked(_receipts(asked.receipts), upload),
            chunks,
            ends_lease=True,
        )
        answer = await self._changes.run(deed, self._telling(planned))
        self._direct.forget(upload)
        return answered(answer, shows_copies=True)

    async def commit_many(self, call: Call[Caller, None, api.CommitMany]) -> api.CommittedMany:
        """POST /api/uploads/commit: each file succeeds or fails by itself, once for each key."""
        asked, deed = call.body, deed_of(call, self._clock)
        if len(asked.files) > api.MAX_FILES_PER_CALL:
            raise ValidationFailed("files", f"give at most {api.MAX_FILES_PER_CALL}")
        upload = from_text("u", asked.upload_id)
        if upload is None:
            raise NotFound("upload")
        deeds = [_part(deed, place, each) for place, each in enumerate(asked.files)]
        kept = self._changes.done_of(deeds)
        lease, pinned = None, frozenset[ChunkRef]()
        receipts: Said = {}
        try:
            lease, listed = self._direct.lease(deed, upload)
            pinned = frozenset(listed)
            receipts = self._direct.checked(_receipts(asked.receipts), upload)
        except UploadExpired:
            if not any(kept):
                raise
        running = [
            self._commit_one(each, lease, pinned, receipts, file, former)
            for each, file, former in zip(deeds, asked.files, kept, strict=True)
        ]
        results = await gatherResults([Deferred.fromCoroutine(each) for each in running])
        if asked.last:
            with suppress(UploadExpired):
                await self._direct.give_up(deed, upload)
        return api.CommittedMany(results)

    async def manifest(self, call: Call[Caller, api.ManifestQuery, None]) -> api.ManifestFacts:
        """POST /api/files/{file_id}/manifest."""
        asked = call.query
        if not 0 <= asked.first <= MAX_SIZE:
            raise ValidationFailed("first", f"give 0 to {MAX_SIZE}")
        entry = self._homes.file(call.caller, call.params["file_id"]).entry
        return self._manifest_facts(
            self._direct.manifest(entry, asked.version, asked.first, api.MAX_CHUNKS_PER_CALL)
        )

    async def manifests(self, call: Call[Caller, None, api.ManyManifests]) -> api.Manifests:
        """POST /api/manifests."""
        if len(call.body.files) > api.MAX_CHUNKS_PER_CALL:
            raise ValidationFailed("files", f"give at most {api.MAX_CHUNKS_PER_CALL}")
        left = api.MAX_CHUNKS_PER_CALL
        items: list[api.ManifestFacts | None] = []
        for file in call.body.files:
            found = self._manifest_of(call.caller, file, left)
            left -= len(found.chunks) if found is not None else 0
            items.append(found)
        return api.Manifests(items)

    def _manifest_of(self, caller: Caller, file: str, left: int) -> api.ManifestFacts | None:
        try:
            entry = self._homes.file(caller, file).entry
        except (NotFound, ValidationFailed):
            return None
        if entry.chunks > left:
            return None
        return self._manifest_facts(self._direct.manifest(entry, None, 0, left))

    async def _commit_one(
        self,
        deed: Deed,
        lease: Lease | None,
        pinned: frozenset[ChunkRef],
        receipts: Said,
        asked: api.CommitFile,
        kept: bytes | None,
    ) -> api.FileResult:
        if kept is not None:
            return api.FileResult(asked.path, 201, msgspec.json.decode(kept, type=Uploaded))
        try:
            if lease is None:
                raise UploadExpired
            folder, name = folder_and_name(asked.path)
            chunks = _chunks(asked.chunks)
            if not pinned.issuperset(chunks):
                raise ValidationFailed("chunks", "they are not all listed under the upload")
            planned = self._direct.plan_commit(
                deed,
                lease,
                Destination(deed.namespace, (*folder, name)),
                Conditions(asked.on_conflict, asked.base),
                Claimed(
                    digest_of(asked.sha256),
                    None if asked.mtime is None else checked_seconds(asked.mtime),
                    type_for(name, asked.content_type),
                ),
                receipts,
                chunks,
                ends_lease=False,
            )
            file = await self._changes.run(deed, self._telling(planned))
        except Failure as failure:
            status = status_of(failure)
            return api.FileResult(asked.path, status, problem=problem_of(failure, ""))
        if isinstance(file, bytes):
            file = msgspec.json.decode(file, type=Uploaded)
        return api.FileResult(asked.path, 201, file)

    def _telling(self, planned: PlannedCommit) -> "_Telling":
        return _Telling(planned, self._cluster.copies)

    def _plan(self, planned: Planned) -> api.Plan:
        placements: dict[str, tuple[str, ...]] = {}
        capabilities: dict[str, str] = {}
        nodes: set[str] = set()
        for chunk, placed in planned.missing.items():
            placements[chunk.hex()] = placed.nodes
            capabilities[chunk.hex()] = _text(placed.capability)
            nodes.update(placed.nodes)
        return api.Plan(
            upload_id=to_text("u", planned.lease.upload),
            missing=tuple(placements),
            placements=placements,
            capabilities=capabilities,
            nodes=dict(self._cluster.addresses(sorted(nodes))),
            copies=self._cluster.copies,
            ack=self._cluster.config.cluster.ack,
            expires=moment(self._clock.wall() + planned.expires_in),
        )

    def _manifest_facts(self, manifest: Manifest) -> api.ManifestFacts:
        entry, version = manifest.entry, manifest.version
        nodes = {node for source in manifest.sources.values() for node in source.nodes}
        return api.ManifestFacts(
            file_id=entry.public_id,
            version=version.number,
            etag=f"{entry.public_id}.{version.number}",
            size=version.content.size,
            sha256=version.content.sha256.hex(),
            modified=moment(version.content.modified),
            first=manifest.first,
            total=version.chunks,
            chunks=_chunk_facts(manifest.chunks),
            holders={chunk.hex(): each.nodes for chunk, each in manifest.sources.items()},
            capabilities={
                chunk.hex(): _text(each.capability) for chunk, each in manifest.sources.items()
            },
            nodes=dict(self._cluster.addresses(sorted(nodes))),
        )


class _Telling(msgspec.Struct, frozen=True):
    """A commit whose answer is what the API tells of the file."""

    planned: PlannedCommit
    want: int

    def __call__(self, writer: Writer, ids: FreshIds) -> Uploaded:
        done: Committed = self.planned(writer, ids)
        seen = Seen(done.entry, done.path)
        return uploaded(seen, self.planned.deed.owner, done.copies, self.want, UPLOADED)


def _upload(call: Call[Caller, Any, Any]) -> int:
    number = from_text("u", call.params["upload_id"])
    if number is None:
        raise NotFound("upload")
    return number


def _part(deed: Deed, place: int, asked: api.CommitFile) -> Deed:
    """The deed of one file of a batch, under a key of its own if the batch has one."""
    if not deed.key:
        return deed
    request = hashlib.sha256(msgspec.json.encode(asked)).digest()
    key = hashlib.sha256(b"%b%d" % (deed.key, place)).digest()
    return msgspec.structs.replace(deed, key=key, request=request)


def _chunks(facts: Sequence[api.ChunkFacts]) -> list[ChunkRef]:
    if len(facts) > api.MAX_CHUNKS_PER_CALL:
        raise ValidationFailed("chunks", f"give at most {api.MAX_CHUNKS_PER_CALL}")
    chunks = []
    for each in facts:
        if not 0 < each.length <= MAX_CHUNK_BYTES:
            raise ValidationFailed("chunks", f"a chunk has 1 to {MAX_CHUNK_BYTES} bytes")
        chunks.append(ChunkRef(ChunkId(digest_of(each.id)), each.length))
    return chunks


def _chunk_facts(chunks: Sequence[ChunkRef]) -> tuple[api.ChunkFacts, ...]:
    return tuple(api.ChunkFacts(chunk.id.hex(), chunk.length) for chunk in chunks)


def _text(record: Record) -> str:
    return base64.urlsafe_b64encode(encode(record)).decode()


def _texts(receipts: Sequence[Receipt]) -> tuple[str, ...]:
    return tuple(_text(receipt) for receipt in receipts)


def _receipts(texts: Sequence[str]) -> list[Receipt]:
    try:
        return [decode(Receipt, base64.urlsafe_b64decode(text.encode())) for text in texts]
    except (BadRecord, binascii.Error, UnicodeEncodeError) as problem:
        raise BadReceipt from problem
