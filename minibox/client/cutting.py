"""A local file cut into chunks, in threads, a few megabytes at a time."""

import hashlib
from typing import BinaryIO

import msgspec

from minibox.chunk import ChunkRef, Cutter, chunk_id
from minibox.client.wire import facts_of
from minibox.http_api.uploads import ChunkFacts

READ_BYTES = 8 * 1024 * 1024


class Piece(msgspec.Struct, frozen=True):
    """A chunk with its bytes."""

    chunk: ChunkRef
    content: bytes

    @property
    def facts(self) -> ChunkFacts:
        """The chunk as it stands in JSON."""
        return facts_of(self.chunk)


class CutFile:
    """Turns of :meth:`cut` give all chunks of ``file`` in order. It blocks: run it in threads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._cutter = Cutter()
        self._whole = hashlib.sha256()
        self.size = 0
        self.is_done = False

    @property
    def sha256(self) -> str:
        """Of all that was cut so far, in hex."""
        return self._whole.hexdigest()

    def cut(self) -> list[Piece]:
        """The next chunks; none exactly when all have been given."""
        pieces: list[bytes] = []
        while not pieces and not self.is_done:
            read = self._file.read(READ_BYTES)
            self._whole.update(read)
            self.size += len(read)
            if read:
                pieces = self._cutter.feed(read)
            else:
                self.is_done = True
                pieces = self._cutter.finish()
        return [Piece(ChunkRef(chunk_id(each), len(each)), each) for each in pieces]
