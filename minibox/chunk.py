"""Chunks: immutable bytes named by their SHA-256, and the one way to cut content into them.

Cutting is FastCDC (Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach
for Data Deduplication", USENIX ATC 2016) with normalized chunking, as pyfastcdc does it. Every door
cuts here with the same parameters: the same bytes give the same chunks whichever way they came.
"""

import hashlib
from typing import NewType

import pyfastcdc

from minibox.codec import Record

ChunkId = NewType("ChunkId", bytes)
"""The 32 bytes of a chunk's SHA-256."""

MIN_CHUNK_BYTES = 256 * 1024
AVERAGE_CHUNK_BYTES = 1024 * 1024
MAX_CHUNK_BYTES = 4 * 1024 * 1024
WINDOW_BYTES = 2 * 1024 * 1024
"""So much is gathered before each try to cut: fewer joins and rescans than chunk by chunk."""

_FASTCDC = pyfastcdc.FastCDC(
    avg_size=AVERAGE_CHUNK_BYTES, min_size=MIN_CHUNK_BYTES, max_size=MAX_CHUNK_BYTES
)


class ChunkRef(Record, frozen=True):
    """One chunk of a manifest: its id and its length in bytes."""

    kind = "chunkref"
    id: ChunkId
    length: int


def chunk_id(content: bytes | memoryview) -> ChunkId:
    """The id of a chunk with this content."""
    return ChunkId(hashlib.sha256(content).digest())


class Cutter:
    """Cuts a stream into chunks: feed parts of any size, take what is complete, then finish.

    Where a cut falls depends only on the bytes from the previous cut up to it, never on how the
    stream was split into parts. Holds less than a maximal chunk and what is fed to it.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._waiting_bytes = 0
        self._enough_bytes = WINDOW_BYTES

    def feed(self, part: bytes) -> list[bytes]:
        """Add ``part``; the chunks that no later byte can change, in order."""
        self._parts.append(part)
        self._waiting_bytes += len(part)
        if self._waiting_bytes < self._enough_bytes:
            return []
        return self._cut(is_last=False)

    def finish(self) -> list[bytes]:
        """The chunks of what is left. An empty stream has none."""
        return self._cut(is_last=True) if self._waiting_bytes else []

    def _cut(self, *, is_last: bool) -> list[bytes]:
        """A cut before the end of what is here stands; one at its end if forced or last."""
        window = b"".join(self._parts)
        chunks, done = [], 0
        for each in _FASTCDC.cut_buf(window):
            end = done + each.length
            if end == len(window) and not is_last and each.length < MAX_CHUNK_BYTES:
                break
            chunks.append(window[done:end])
            done = end
        left = len(window) - done
        self._parts, self._waiting_bytes = [window[done:]], left
        self._enough_bytes = left + WINDOW_BYTES
        return chunks
