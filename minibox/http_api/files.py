"""Files and folders: content, metadata, lists, versions, trash."""

from datetime import datetime
from typing import Literal

import msgspec

from minibox import errors
from minibox.http_api.accounts import Message
from minibox.http_api.route import Route

FILES = ("files",)
FOLDERS = ("folders",)
VERSIONS = ("versions",)
TRASH = ("trash",)

MAX_PER_PAGE = 5000
OnConflict = Literal["rename", "replace", "fail"]
EntryType = Literal["file", "folder"]

_WRITES = (
    errors.ValidationFailed,
    errors.NotFound,
    errors.NameConflict,
    errors.VersionConflict,
    errors.PreconditionFailed,
    errors.TooLarge,
    errors.ChecksumMismatch,
    errors.QuotaExceeded,
    errors.ClusterFull,
    errors.NotEnoughNodes,
    errors.Starting,
    errors.ReadOnly,
    errors.RequestTimeout,
)
_READS = (
    errors.NotFound,
    errors.BadRange,
    errors.PreconditionFailed,
    errors.ContentDamaged,
    errors.NotEnoughNodes,
)


class CopiesFacts(msgspec.Struct):
    """Durable copies of the chunk that has the fewest, and how many are wanted."""

    have: int
    want: int


class EntryFacts(msgspec.Struct):
    """A file or folder as a list shows it. Of a folder, what only files have is null.

    ``path`` is its own full path; ``sha256`` is of the whole content, in hex.
    """

    id: str
    type: EntryType
    name: str
    path: str
    parent_id: str
    created: datetime
    modified: datetime
    tags: tuple[str, ...] = ()
    size: int | None = None
    version: int | None = None
    etag: str | None = None
    sha256: str | None = None
    content_type: str | None = None


class Metadata(EntryFacts):
    """All facts of one file or folder."""

    owner: str = ""
    shared: bool = False
    sha256_verified: bool | None = None
    copies: CopiesFacts | None = None


class Uploaded(Metadata):
    """A file whose content was just committed: readable from now on."""

    file_id: str = ""
    filename: str = ""
    upload_date: datetime | None = None
    message: str = ""


class ListQuery(msgspec.Struct):
    """Which folder (root by default) and which part of it."""

    folder_id: str | None = None
    path: str | None = None
    page: int | None = None
    per_page: int | None = None
    cursor: str | None = None
    limit: int | None = None
    search: str | None = None
    sort: Literal["name", "-name", "size", "-size", "modified", "-modified"] = "name"
    type: EntryType | None = None
    recursive: bool = False


class EntryPage(msgspec.Struct):
    """One page of entries; ``next_cursor`` leads to the next where there is one."""

    items: list[EntryFacts]
    page: int
    per_page: int
    total: int | None = None
    next_cursor: str | None = None


class PathQuery(msgspec.Struct):
    """A path, from the root of the caller's home."""

    path: str


class WriteQuery(msgspec.Struct):
    """How to write raw content; ``base`` is the ETag that must be the head.

    ``mtime`` is Unix seconds or an RFC 3339 time; ``sha256`` (hex) is checked.
    """

    on_conflict: OnConflict = "replace"
    base: str | None = None
    sha256: str | None = None
    mtime: str | None = None


class DownloadQuery(msgspec.Struct):
    """Which version; the head by default."""

    version: int | None = None


class ChangeEntry(msgspec.Struct):
    """New name, new folder (``folder_id`` or ``path`` of the folder), new tags."""

    name: str | None = None
    folder_id: str | None = None
    path: str | None = None
    tags: tuple[str, ...] | None = None


class PlaceEntry(msgspec.Struct):
    """Where to: a folder by id or path (as it is by default), a name (the same by default)."""

    folder_id: str | None = None
    path: str | None = None
    name: str | None = None
    on_conflict: Literal["rename", "fail"] = "fail"


class DeleteQuery(msgspec.Struct):
    """``permanent`` leaves the trash out."""

    permanent: bool = False


class Deleted(msgspec.Struct):
    """``trash_id`` brings it back; null after a permanent delete."""

    message: str
    trash_id: str | None = None


class ChunkHealth(msgspec.Struct):
    """One chunk and the nodes that hold it."""

    id: str
    length: int
    holders: tuple[str, ...]


class FileHealth(msgspec.Struct):
    """How safe a file is."""

    file_id: str
    version: int
    copies: CopiesFacts
    chunks: list[ChunkHealth]


class MakeFolder(msgspec.Struct):
    """A whole ``path`` (missing folders are made), or a name in a folder by id or path."""

    path: str | None = None
    name: str | None = None
    parent_id: str | None = None
    parent_path: str | None = None


class VersionFacts(msgspec.Struct):
    """One version of a file."""

    version: int
    size: int
    sha256: str
    content_type: str
    created: datetime
    modified: datetime
    author: str
    is_head: bool
    device_id: str | None = None


class VersionPage(msgspec.Struct):
    """The versions, newest first."""

    items: list[VersionFacts]
    total: int


class TrashFacts(msgspec.Struct):
    """Something deleted: what it was, where, when it went, and all its bytes."""

    trash_id: str
    id: str
    type: EntryType
    name: str
    path: str
    deleted: datetime
    size: int


class TrashPage(msgspec.Struct):
    """What is in the trash."""

    items: list[TrashFacts]
    total: int


UPLOAD = Route(
    name="upload",
    method="POST",
    path="/api/files/upload",
    tags=FILES,
    summary="Upload a file by a form with the part 'file'",
    form=True,
    answer=Uploaded,
    status=201,
    failures=(errors.MissingFile, errors.TypeNotAllowed, *_WRITES),
)
PUT_CONTENT = Route(
    name="put_content",
    method="PUT",
    path="/api/files/content/{path:path}",
    tags=FILES,
    summary="Write a file's bytes; missing folders are made",
    raw=True,
    query=WriteQuery,
    answer=Uploaded,
    status=201,
    statuses=(200,),
    failures=_WRITES,
)
GET_CONTENT = Route(
    name="get_content",
    method="GET",
    path="/api/files/content/{path:path}",
    tags=FILES,
    summary="A file's bytes, by path",
    query=DownloadQuery,
    media_type="application/octet-stream",
    statuses=(206, 304),
    failures=_READS,
)
DELETE_CONTENT = Route(
    name="delete_content",
    method="DELETE",
    path="/api/files/content/{path:path}",
    tags=FILES,
    summary="Delete a file or folder by path",
    query=DeleteQuery,
    answer=Deleted,
    failures=(errors.NotFound, errors.ValidationFailed),
)
BY_PATH = Route(
    name="by_path",
    method="GET",
    path="/api/files/by-path",
    tags=FILES,
    summary="Metadata of the file or folder at a path",
    query=PathQuery,
    answer=Metadata,
    failures=(errors.NotFound, errors.ValidationFailed),
)
LIST = Route(
    name="list",
    method="GET",
    path="/api/files/list",
    tags=FILES,
    summary="The entries of a folder",
    query=ListQuery,
    answer=EntryPage,
    failures=(errors.NotFound, errors.ValidationFailed, errors.BadCursor),
)
METADATA = Route(
    name="metadata",
    method="GET",
    path="/api/files/{file_id}",
    tags=FILES,
    summary="Metadata of a file",
    answer=Metadata,
    failures=(errors.NotFound,),
)
CHANGE_FILE = Route(
    name="change_file",
    method="PUT",
    path="/api/files/{file_id}",
    tags=FILES,
    summary="JSON: change metadata; multipart or any other type: new content",
    raw=True,
    form=True,
    query=WriteQuery,
    answer=Uploaded,
    failures=(errors.NothingToUpdate, errors.MissingFile, *_WRITES),
)
DELETE_FILE = Route(
    name="delete_file",
    method="DELETE",
    path="/api/files/{file_id}",
    tags=FILES,
    summary="Delete a file",
    query=DeleteQuery,
    answer=Deleted,
    failures=(errors.NotFound,),
)
DOWNLOAD = Route(
    name="download",
    method="GET",
    path="/api/files/{file_id}/download",
    tags=FILES,
    summary="A file's bytes, by id",
    query=DownloadQuery,
    media_type="application/octet-stream",
    statuses=(206, 304),
    failures=_READS,
)
COPY = Route(
    name="copy",
    method="POST",
    path="/api/files/{file_id}/copy",
    tags=FILES,
    summary="Copy a file or folder without moving bytes",
    body=PlaceEntry,
    answer=Metadata,
    status=201,
    failures=(errors.NotFound, errors.NameConflict, errors.ValidationFailed, errors.QuotaExceeded),
)
MOVE = Route(
    name="move",
    method="POST",
    path="/api/files/{file_id}/move",
    tags=FILES,
    summary="Move or rename a file or folder",
    body=PlaceEntry,
    answer=Metadata,
    failures=(errors.NotFound, errors.NameConflict, errors.ValidationFailed),
)
HEALTH = Route(
    name="file_health",
    method="GET",
    path="/api/files/{file_id}/health",
    tags=FILES,
    summary="How many copies each chunk of a file has, and where",
    answer=FileHealth,
    failures=(errors.NotFound,),
)
MAKE_FOLDER = Route(
    name="make_folder",
    method="POST",
    path="/api/folders",
    tags=FOLDERS,
    summary="Make a folder",
    body=MakeFolder,
    answer=Metadata,
    status=201,
    failures=(errors.ValidationFailed, errors.NotFound, errors.NameConflict),
)
FOLDER = Route(
    name="folder",
    method="GET",
    path="/api/folders/{folder_id}",
    tags=FOLDERS,
    summary="Metadata of a folder",
    answer=Metadata,
    failures=(errors.NotFound,),
)
CHANGE_FOLDER = Route(
    name="change_folder",
    method="PATCH",
    path="/api/folders/{folder_id}",
    tags=FOLDERS,
    summary="Rename, move or tag a folder",
    body=ChangeEntry,
    answer=Metadata,
    failures=(
        errors.NotFound,
        errors.NameConflict,
        errors.ValidationFailed,
        errors.NothingToUpdate,
    ),
)
DELETE_FOLDER = Route(
    name="delete_folder",
    method="DELETE",
    path="/api/folders/{folder_id}",
    tags=FOLDERS,
    summary="Delete a folder with all in it",
    query=DeleteQuery,
    answer=Deleted,
    failures=(errors.NotFound,),
)
CHILDREN = Route(
    name="children",
    method="GET",
    path="/api/folders/{folder_id}/children",
    tags=FOLDERS,
    summary="The entries of a folder",
    query=ListQuery,
    answer=EntryPage,
    failures=(errors.NotFound, errors.ValidationFailed, errors.BadCursor),
)
VERSION_LIST = Route(
    name="versions",
    method="GET",
    path="/api/files/{file_id}/versions",
    tags=VERSIONS,
    summary="The versions of a file",
    answer=VersionPage,
    failures=(errors.NotFound,),
)
VERSION = Route(
    name="version",
    method="GET",
    path="/api/files/{file_id}/versions/{version}",
    tags=VERSIONS,
    summary="One version of a file",
    answer=VersionFacts,
    failures=(errors.NotFound,),
)
VERSION_DOWNLOAD = Route(
    name="version_download",
    method="GET",
    path="/api/files/{file_id}/versions/{version}/download",
    tags=VERSIONS,
    summary="The bytes of one version",
    media_type="application/octet-stream",
    statuses=(206, 304),
    failures=_READS,
)
VERSION_RESTORE = Route(
    name="version_restore",
    method="POST",
    path="/api/files/{file_id}/versions/{version}/restore",
    tags=VERSIONS,
    summary="Make a version's content the new head",
    answer=Metadata,
    failures=(errors.NotFound, errors.QuotaExceeded),
)
TRASH_LIST = Route(
    name="trash",
    method="GET",
    path="/api/trash",
    tags=TRASH,
    summary="What is in the trash",
    answer=TrashPage,
)
TRASH_RESTORE = Route(
    name="trash_restore",
    method="POST",
    path="/api/trash/{trash_id}/restore",
    tags=TRASH,
    summary="Bring something back to where it was",
    answer=Metadata,
    failures=(errors.NotFound, errors.NameConflict, errors.ValidationFailed),
)
TRASH_PURGE = Route(
    name="trash_purge",
    method="DELETE",
    path="/api/trash/{trash_id}",
    tags=TRASH,
    summary="Remove something for ever",
    answer=Message,
    failures=(errors.NotFound,),
)
TRASH_EMPTY = Route(
    name="trash_empty",
    method="DELETE",
    path="/api/trash",
    tags=TRASH,
    summary="Remove all that is in the trash for ever",
    answer=Message,
)
