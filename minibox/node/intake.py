"""The one pass over bytes that come in: are they what their ids say, and what is their CRC-32."""

from collections.abc import Sequence
from hashlib import sha256

from isal.isal_zlib import crc32

from minibox.chunk import ChunkId
from minibox.errors import BadRecord, ChecksumMismatch
from minibox.rpc import Part
from minibox.world import Threads

INLINE_BYTES = 64 * 1024
"""Up to this a thread costs more than it saves."""

Pieces = Sequence[Sequence[Part]]
"""The parts of each chunk."""


async def check_ids(
    threads: Threads, chunks: Sequence[ChunkId], pieces: Pieces, length: int
) -> list[int]:
    """The CRC-32 of each chunk, once all are known to be what their ids say.

    ``length`` is that of all pieces. Raises ChecksumMismatch.
    """
    if length <= INLINE_BYTES:
        return _checked_ids(chunks, pieces)
    return await threads.run(_checked_ids, chunks, pieces)


async def check_crcs(threads: Threads, crcs: Sequence[int], pieces: Pieces, length: int) -> None:
    """Returns if the bytes are as their sender saw them. Raises BadRecord."""
    if length <= INLINE_BYTES:
        found = _crcs(pieces)
    else:
        found = await threads.run(_crcs, pieces)
    if found != list(crcs):
        raise BadRecord(kind="body", reason="the bytes don't have their CRC-32")


def _checked_ids(chunks: Sequence[ChunkId], pieces: Pieces) -> list[int]:
    crcs: list[int] = []
    for chunk, parts in zip(chunks, pieces, strict=True):
        digest, crc = sha256(), 0
        for part in parts:
            digest.update(part)
            crc = crc32(part, crc)
        if digest.digest() != chunk:
            raise ChecksumMismatch(expected=chunk.hex(), actual=digest.hexdigest())
        crcs.append(crc)
    return crcs


def _crcs(pieces: Pieces) -> list[int]:
    found: list[int] = []
    for parts in pieces:
        crc = 0
        for part in parts:
            crc = crc32(part, crc)
        found.append(crc)
    return found
