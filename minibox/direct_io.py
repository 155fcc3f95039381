"""Large transfers between memory and disk that leave the system's page cache out (O_DIRECT).

Chunks are large, written once and read rarely. Through the page cache each byte is copied once
more, into a page that has to be found first; in a virtual machine, where the host hands out memory
by the page, that took ten times as long as the copy. Small records go through the cache as ever.
"""

import contextlib
import errno
import mmap
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

BLOCK_BYTES = 4096
"""Offsets, lengths and memory are multiples of this: enough for every disk in use."""
BULK_BYTES = 256 * 1024
"""Smaller transfers are not worth it."""

_STAGE_BYTES = 4 * 1024 * 1024 + 2 * BLOCK_BYTES

Part = bytes | bytearray | memoryview

_stages: deque[mmap.mmap] = deque()
"""Aligned memory that is not in use; as many as threads have ever transferred at once."""


class DirectFile:
    """A second descriptor of a file, for whole blocks."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def write(self, parts: Sequence[Part], offset: int) -> int:
        """Write the whole blocks at the head of ``parts`` from a block's ``offset``; the bytes.

        Raises OSError as the system does.
        """
        stage = _stages.pop() if _stages else mmap.mmap(-1, _STAGE_BYTES)
        view = memoryview(stage)
        capacity = _STAGE_BYTES // BLOCK_BYTES * BLOCK_BYTES
        written = filled = 0
        try:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    fits = min(len(rest), capacity - filled)
                    view[filled : filled + fits] = rest[:fits]
                    filled += fits
                    rest = rest[fits:]
                    if filled == capacity:
                        written += self._write_out(view, offset + written)
                        filled = 0
            blocks = filled // BLOCK_BYTES * BLOCK_BYTES
            return written + self._write_out(view[:blocks], offset + written)
        finally:
            view.release()
            _stages.append(stage)

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``, fewer at the end of the file. Raises OSError."""
        first = offset // BLOCK_BYTES * BLOCK_BYTES
        wanted = min(-(-(offset + length - first) // BLOCK_BYTES) * BLOCK_BYTES, _STAGE_BYTES)
        stage = _stages.pop() if _stages else mmap.mmap(-1, _STAGE_BYTES)
        try:
            with memoryview(stage) as view, view[:wanted] as target:
                found = os.preadv(self._descriptor, [target], first)
                return bytes(target[offset - first : min(found, offset - first + length)])
        finally:
            _stages.append(stage)

    def _write_out(self, blocks: memoryview, offset: int) -> int:
        done = 0
        while done < len(blocks):
            done += os.pwrite(self._descriptor, blocks[done:], offset + done)
            if done % BLOCK_BYTES:  # the disk is full in mid-block, and a rest can't be written
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return done


def open_direct(path: Path) -> DirectFile | None:
    """The file at ``path`` for direct transfers; None where the file system does not offer them."""
    try:
        return DirectFile(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_DIRECT))
    except OSError:
        return None
