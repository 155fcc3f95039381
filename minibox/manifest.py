"""What makes one content of a file: its chunks in order, its size and its SHA-256."""

from collections.abc import Iterable, Iterator
from itertools import islice

from minibox.chunk import ChunkRef
from minibox.codec import Record

SEGMENT_CHUNKS = 1000
"""A manifest is stored and sent in segments of at most this many chunks."""

EMPTY_SHA256 = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


class Segment(Record, frozen=True):
    """Up to SEGMENT_CHUNKS consecutive chunks of one content."""

    kind = "segment"
    chunks: tuple[ChunkRef, ...]


class Span(Record, frozen=True):
    """A run of bytes inside one chunk: what a reader takes of it."""

    kind = "span"
    chunk: ChunkRef
    start: int
    stop: int


def segments(chunks: Iterable[ChunkRef]) -> Iterator[Segment]:
    """The chunks cut into storable segments."""
    rest = iter(chunks)
    while part := tuple(islice(rest, SEGMENT_CHUNKS)):
        yield Segment(part)


def spans(chunks: Iterable[ChunkRef], start: int, stop: int) -> Iterator[Span]:
    """What of each chunk makes the bytes ``start`` to ``stop`` (exclusive) of the content."""
    offset = 0
    for each in chunks:
        if offset >= stop:
            return
        first, last = max(start - offset, 0), min(stop - offset, each.length)
        if first < last:
            yield Span(each, first, last)
        offset += each.length
