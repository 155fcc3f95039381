"""References: which version of which file needs a chunk. Rows, never counters.

A chunk without a reference and without a pin is condemned: it may be removed after the grace.
"""

from collections.abc import Iterable, Iterator

from minibox.chunk import ChunkId
from minibox.codec import Record
from minibox.store import Reader, Rows, Table, Writer

_REFERENCES = Rows(b"r")


class Condemned(Record, frozen=True):
    """Since when (Unix seconds) a chunk has had no reference."""

    kind = "condemned"
    since: float


_CONDEMNED = Table(b"x", Condemned)


def add(writer: Writer, chunks: Iterable[ChunkId], file: int, version: int) -> None:
    """The version needs these chunks; none of them is condemned any more."""
    for chunk in chunks:
        _REFERENCES.add(writer, chunk, file, version)
        _CONDEMNED.delete(writer, chunk)


def drop(writer: Writer, chunks: Iterable[ChunkId], file: int, version: int, now: float) -> None:
    """The version is gone; chunks that nothing else needs are condemned."""
    for chunk in chunks:
        _REFERENCES.delete(writer, chunk, file, version)
        if not is_referenced(writer, chunk):
            _CONDEMNED.put(writer, Condemned(now), chunk)


def is_referenced(reader: Reader, chunk: ChunkId) -> bool:
    """Whether any version needs the chunk."""
    return next(_REFERENCES.scan(reader, chunk), None) is not None


def referrers(reader: Reader, chunk: ChunkId) -> Iterator[tuple[int, int]]:
    """(file id, version) of each reference to the chunk."""
    for suffix in _REFERENCES.scan(reader, chunk):
        yield int.from_bytes(suffix[:8], "big"), int.from_bytes(suffix[8:], "big")


def every(reader: Reader) -> Iterator[tuple[ChunkId, int, int]]:
    """All references, for checks that walk everything."""
    for key in _REFERENCES.scan(reader):
        chunk, file, version = key[:32], key[32:40], key[40:]
        yield ChunkId(chunk), int.from_bytes(file, "big"), int.from_bytes(version, "big")


def condemned(reader: Reader) -> Iterator[tuple[ChunkId, float]]:
    """Chunks without a reference, and since when."""
    for key, row in _CONDEMNED.scan(reader):
        yield ChunkId(key), row.since


def is_condemned(reader: Reader, chunk: ChunkId) -> bool:
    """Whether the chunk waits for removal."""
    return _CONDEMNED.get(reader, chunk) is not None
