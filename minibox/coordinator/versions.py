"""Versions: each committed content of a file, and its chunks.

Numbers start at 1 and are never used again. A content of one chunk needs no manifest rows: its only
chunk is named by the content's own SHA-256.
"""

from collections.abc import Iterator, Sequence

from minibox.chunk import ChunkId, ChunkRef
from minibox.codec import Record
from minibox.coordinator import references
from minibox.errors import NotFound
from minibox.manifest import Segment, segments
from minibox.store import Reader, Table, Writer


class Content(Record, frozen=True):
    """What was stored: size, SHA-256 of the whole, and whether minibox has seen all the bytes.

    A content that is not ``verified`` has a hash that its uploader claimed.
    """

    kind = "content"
    size: int
    sha256: bytes
    verified: bool
    content_type: str
    modified: float


class Version(Record, frozen=True):
    """One version of a file: its content, when and by whom it was committed."""

    kind = "version"
    number: int
    content: Content
    chunks: int
    committed: float
    author: int
    device: str = ""


MAX_NUMBER = (1 << 63) - 1
"""What callers ask for beyond it can't exist, and can't be a key."""

_VERSIONS = Table(b"v", Version)
_SEGMENTS = Table(b"g", Segment)


def add(writer: Writer, file: int, version: Version, chunks: Sequence[ChunkRef]) -> None:
    """Write a version with its manifest and references."""
    _VERSIONS.put(writer, version, file, version.number)
    if len(chunks) > 1:
        for place, segment in enumerate(segments(chunks)):
            _SEGMENTS.put(writer, segment, file, version.number, place)
    references.add(writer, (each.id for each in chunks), file, version.number)


def get(reader: Reader, file: int, number: int) -> Version:
    """One version; NotFound."""
    version = _VERSIONS.get(reader, file, number) if 0 < number <= MAX_NUMBER else None
    if version is None:
        raise NotFound("version")
    return version


def every(reader: Reader, file: int) -> Iterator[Version]:
    """The versions of a file, newest first."""
    for _, version in _VERSIONS.scan(reader, file, reverse=True):
        yield version


def chunks_of(reader: Reader, file: int, version: Version) -> Iterator[ChunkRef]:
    """The chunks of a version's content, in order."""
    if version.chunks <= 1:
        yield from sole_chunk(version.content.sha256, version.content.size)
        return
    for _, segment in _SEGMENTS.scan(reader, file, version.number):
        yield from segment.chunks


def sole_chunk(sha256: bytes, size: int) -> tuple[ChunkRef, ...]:
    """The manifest of a content that is at most one chunk."""
    return (ChunkRef(ChunkId(sha256), size),) if size else ()


def remove(writer: Writer, file: int, version: Version, now: float) -> None:
    """Remove a version, its manifest and references; chunks nothing else needs are condemned."""
    chunks = [each.id for each in chunks_of(writer, file, version)]
    references.drop(writer, chunks, file, version.number, now)
    _VERSIONS.delete(writer, file, version.number)
    if version.chunks > 1:
        for place, _ in enumerate(segments(ChunkRef(each, 0) for each in chunks)):
            _SEGMENTS.delete(writer, file, version.number, place)
