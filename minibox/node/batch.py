"""What is written for each wish about a chunk, and what is answered once it is durable. Pure."""

from collections.abc import Sequence
from typing import NamedTuple, assert_never

from minibox.chunk import ChunkId, ChunkRef
from minibox.disk import Part
from minibox.node.held import Held
from minibox.node.volume import Kind, Place, Record


class Incoming(NamedTuple):
    """A chunk to keep. ``parts`` are its bytes, end to end, and ``crc`` is their CRC-32.

    That the bytes have the id's SHA-256 was checked by whoever let them in.
    """

    chunk: ChunkRef
    crc: int
    sequence: int
    parts: Sequence[Part]


class Removal(NamedTuple):
    """An order of this sequence to delete a chunk."""

    chunk: ChunkId
    sequence: int


class Suspicion(NamedTuple):
    """The copy at this place was found bad."""

    chunk: ChunkId
    place: Place


Wish = Incoming | Removal | Suspicion


def chunk_of(wish: Wish) -> ChunkId:
    """The chunk that the wish is about."""
    return wish.chunk.id if isinstance(wish, Incoming) else wish.chunk


def records_for(wish: Wish, held: Held | None, *, is_good: bool) -> list[Record]:
    """What has to become durable so that ``wish`` is fulfilled, given what is held.

    ``is_good``: the copy was reread now and is what its id says. A copy that is not is no reason to
    leave out the new one: a duplicate never blesses rot.
    """
    match wish:
        case Incoming():
            return _records_to_keep(wish, held, is_good=is_good)
        case Removal(chunk=chunk, sequence=sequence):
            if held is None or is_refused(wish, held):
                return []
            return [Record(Kind.TOMBSTONE, chunk, sequence, about=held.place)]
        case Suspicion(chunk=chunk, place=place):
            if held is None or held.is_quarantined or held.place != place:
                return []
            return [Record(Kind.QUARANTINE, chunk, held.sequence, about=place)]
        case _:
            assert_never(wish)


def _records_to_keep(wish: Incoming, held: Held | None, *, is_good: bool) -> list[Record]:
    chunk, length, crc, sequence = wish.chunk.id, wish.chunk.length, wish.crc, wish.sequence
    if held is None:
        return [Record(Kind.CHUNK, chunk, sequence, length, crc)]
    if is_good:
        if sequence <= held.sequence:
            return []
        return [Record(Kind.TOUCH, chunk, sequence, about=held.place)]
    anew = Record(Kind.CHUNK, chunk, max(sequence, held.sequence), length, crc)
    if held.is_quarantined:
        return [anew]
    return [Record(Kind.QUARANTINE, chunk, held.sequence, about=held.place), anew]


def is_refused(wish: Wish, held: Held | None) -> bool:
    """Whether a removal is older than the last put of the copy."""
    return isinstance(wish, Removal) and held is not None and wish.sequence <= held.sequence
