"""Rereading copies. Calls block."""

from hashlib import sha256

from isal.isal_zlib import crc32

from minibox.chunk import ChunkId
from minibox.node.held import Held
from minibox.node.volume import RECORD_HEADER_BYTES, Kind, parse_record
from minibox.node.volumes import Volumes


def content_of(volumes: Volumes, held: Held) -> bytes | None:
    """The copy's bytes; None if they can't be read or are not what was written."""
    try:
        content = volumes.file(held.place.volume).read(
            held.place.offset + RECORD_HEADER_BYTES, held.length
        )
    except OSError:
        return None
    return content if is_intact(content, held) else None


def content_if_cached(volumes: Volumes, held: Held) -> bytes | None:
    """The same if it takes no wait for the disk; None also if it does."""
    try:
        content = volumes.file(held.place.volume).read_if_cached(
            held.place.offset + RECORD_HEADER_BYTES, held.length
        )
    except OSError:
        return None
    return content if content is not None and is_intact(content, held) else None


def is_intact(content: bytes, held: Held) -> bool:
    """Whether these are the bytes that were written, by their length and CRC-32."""
    return len(content) == held.length and crc32(content) == held.crc


def is_good(volumes: Volumes, salt: bytes, chunk: ChunkId, held: Held) -> bool:
    """Whether the whole record is what it should be, its content by SHA-256.

    A copy whose header is bad can be read for as long as the index lives, and not longer: it counts
    as bad.
    """
    if held.is_quarantined:
        return False
    try:
        found = volumes.file(held.place.volume).read(
            held.place.offset, RECORD_HEADER_BYTES + held.length
        )
    except OSError:
        return False
    record = parse_record(found[:RECORD_HEADER_BYTES], held.place, salt)
    if record is None or record.kind is not Kind.CHUNK or record.chunk != chunk:
        return False
    content = memoryview(found)[RECORD_HEADER_BYTES:]
    return len(content) == record.length == held.length and sha256(content).digest() == chunk
