"""The direct path: chunks go between client and nodes, the coordinator keeps the names.

Chunk ids are hex; capabilities and receipts are the records of minibox.capability, in URL-safe
base 64. A client stages chunks on nodes under a lease and then commits one file or many.
"""

from datetime import datetime
from typing import Any

import msgspec

from minibox import errors
from minibox.http_api.accounts import Message
from minibox.http_api.files import OnConflict, Uploaded
from minibox.http_api.route import Route

TAGS = ("uploads",)

MAX_CHUNKS_PER_CALL = 1000
MAX_FILES_PER_CALL = 500


class ChunkFacts(msgspec.Struct):
    """A chunk: SHA-256 in hex, length in bytes."""

    id: str
    length: int


class Begin(msgspec.Struct):
    """For one file ``path`` or ``file_id`` and perhaps ``base``; for many files neither.

    ``chunks`` are the first of the content, in order, at most 1,000; more come by ``extend``.
    ``size`` reserves quota at once.
    """

    path: str | None = None
    file_id: str | None = None
    base: str | None = None
    size: int | None = None
    chunks: tuple[ChunkFacts, ...] = ()


class Extend(msgspec.Struct):
    """The next chunks of the content, in order.

    ``receipts`` for chunks that were listed before are noted at once: the commit of a content with
    thousands of chunks would be too long with all of them.
    """

    chunks: tuple[ChunkFacts, ...]
    receipts: tuple[str, ...] = ()


class Plan(msgspec.Struct):
    """What to send where: ``missing`` are the chunks to send.

    For each of them ``placements`` names nodes in order of preference and ``capabilities`` has the
    signed right to put it. ``nodes`` has the endpoint string of each node. ``copies`` are wanted,
    ``ack`` must be durable.
    """

    upload_id: str
    missing: tuple[str, ...]
    placements: dict[str, tuple[str, ...]]
    capabilities: dict[str, str]
    nodes: dict[str, str]
    copies: int
    ack: int
    expires: datetime


class UploadState(msgspec.Struct):
    """What the nodes hold durably of an upload: fresh receipts, and the chunks still to send."""

    upload_id: str
    chunks: tuple[ChunkFacts, ...]
    receipts: tuple[str, ...]
    missing: tuple[str, ...]
    expires: datetime


class ChunkStored(msgspec.Struct):
    """A chunk that went through this door: its receipts."""

    receipts: tuple[str, ...]


class Commit(msgspec.Struct):
    """Name the staged chunks. ``sha256`` of the whole content in hex."""

    receipts: tuple[str, ...] = ()
    sha256: str | None = None
    mtime: float | None = None
    on_conflict: OnConflict = "replace"
    content_type: str | None = None


class CommitFile(msgspec.Struct):
    """One file of a batch: where, and its chunks in order, all staged under the batch's upload."""

    path: str
    sha256: str
    chunks: tuple[ChunkFacts, ...]
    mtime: float | None = None
    base: str | None = None
    on_conflict: OnConflict = "replace"
    content_type: str | None = None


class CommitMany(msgspec.Struct):
    """Name many small files that were staged under one upload. The lease ends with ``last``."""

    upload_id: str
    receipts: tuple[str, ...]
    files: tuple[CommitFile, ...]
    last: bool = True


class FileResult(msgspec.Struct):
    """What became of one file of a batch: its facts, or a problem document."""

    path: str
    status: int
    file: Uploaded | None = None
    problem: dict[str, Any] | None = None


class CommittedMany(msgspec.Struct):
    """In the order of the files."""

    results: list[FileResult]


class ManifestQuery(msgspec.Struct):
    """Which version (the head by default) and which chunks of it, from ``first``, at most 1,000."""

    version: int | None = None
    first: int = 0


class ManifestFacts(msgspec.Struct):
    """Chunks ``first`` and following of one content, who holds each, and the right to get it."""

    file_id: str
    version: int
    etag: str
    size: int
    sha256: str
    modified: datetime
    first: int
    total: int
    chunks: tuple[ChunkFacts, ...]
    holders: dict[str, tuple[str, ...]]
    capabilities: dict[str, str]
    nodes: dict[str, str]


class ManyManifests(msgspec.Struct):
    """Heads of small files (at most 1,000 chunks altogether), by id or ``path:/a/b``."""

    files: tuple[str, ...]


class Manifests(msgspec.Struct):
    """In the order of the files; those that don't exist or don't fit any more are null."""

    items: list[ManifestFacts | None]


_COMMITS = (
    errors.ValidationFailed,
    errors.NotFound,
    errors.NameConflict,
    errors.VersionConflict,
    errors.UploadExpired,
    errors.ChunkMissing,
    errors.BadReceipt,
    errors.ChecksumMismatch,
    errors.QuotaExceeded,
    errors.NotEnoughNodes,
    errors.Starting,
)

BEGIN = Route(
    name="begin_upload",
    method="POST",
    path="/api/uploads",
    tags=TAGS,
    summary="Begin to stage chunks",
    body=Begin,
    answer=Plan,
    status=201,
    failures=(
        errors.ValidationFailed,
        errors.NotFound,
        errors.QuotaExceeded,
        errors.NotEnoughNodes,
        errors.Starting,
    ),
)
EXTEND = Route(
    name="extend_upload",
    method="POST",
    path="/api/uploads/{upload_id}/extend",
    tags=TAGS,
    summary="Add chunks to an upload",
    body=Extend,
    answer=Plan,
    failures=(
        errors.ValidationFailed,
        errors.NotFound,
        errors.UploadExpired,
        errors.BadReceipt,
        errors.QuotaExceeded,
        errors.NotEnoughNodes,
    ),
)
RENEW = Route(
    name="renew_upload",
    method="POST",
    path="/api/uploads/{upload_id}/renew",
    tags=TAGS,
    summary="Prolong an upload's lease and capabilities",
    answer=Plan,
    failures=(errors.NotFound, errors.UploadExpired, errors.NotEnoughNodes),
)
PUT_CHUNK = Route(
    name="put_chunk",
    method="PUT",
    path="/api/uploads/{upload_id}/chunks/{sha256}",
    tags=TAGS,
    summary="Store a chunk through this door, where nodes can't be reached",
    raw=True,
    answer=ChunkStored,
    failures=(
        errors.ValidationFailed,
        errors.UploadExpired,
        errors.ChecksumMismatch,
        errors.TooLarge,
        errors.NotEnoughNodes,
        errors.ClusterFull,
        errors.NotFound,
    ),
)
STATE = Route(
    name="upload_state",
    method="GET",
    path="/api/uploads/{upload_id}",
    tags=TAGS,
    summary="What is already stored of an upload",
    answer=UploadState,
    failures=(errors.NotFound, errors.UploadExpired),
)
ABORT = Route(
    name="abort_upload",
    method="DELETE",
    path="/api/uploads/{upload_id}",
    tags=TAGS,
    summary="Give an upload up",
    answer=Message,
    failures=(errors.NotFound, errors.UploadExpired),
)
COMMIT = Route(
    name="commit_upload",
    method="POST",
    path="/api/uploads/{upload_id}/commit",
    tags=TAGS,
    summary="Make the staged chunks a file's content",
    body=Commit,
    answer=Uploaded,
    status=201,
    failures=_COMMITS,
)
COMMIT_MANY = Route(
    name="commit_many",
    method="POST",
    path="/api/uploads/commit",
    tags=TAGS,
    summary="Make staged chunks the contents of many files",
    body=CommitMany,
    answer=CommittedMany,
    failures=_COMMITS,
)
MANIFEST = Route(
    name="manifest",
    method="POST",
    path="/api/files/{file_id}/manifest",
    tags=TAGS,
    summary="The chunks of a file, their holders and read capabilities",
    query=ManifestQuery,
    answer=ManifestFacts,
    failures=(errors.NotFound,),
)
MANIFESTS = Route(
    name="manifests",
    method="POST",
    path="/api/manifests",
    tags=TAGS,
    summary="The manifests of many small files",
    body=ManyManifests,
    answer=Manifests,
    failures=(errors.ValidationFailed,),
)
