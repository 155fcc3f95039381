"""Holders: which nodes have confirmed a durable copy of a chunk, and which chunks lack copies.

The layout says where a chunk should be; these rows say where it is. A chunk with fewer holders than
wanted has a debt row, which goes when enough have confirmed.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from minibox.chunk import ChunkId, ChunkRef
from minibox.codec import Record
from minibox.store import Reader, Table, Writer

Standing = Mapping[str, frozenset[bytes]]
"""The nodes that are up, with the ids of their disks: a snapshot of the membership."""


class Holder(Record, frozen=True):
    """A node and the disk on which it keeps the copy."""

    kind = "holder"
    node: str
    disk: bytes


class Copies(Record, frozen=True):
    """Where the copies of one chunk are."""

    kind = "copies"
    length: int
    holders: tuple[Holder, ...]


class Debt(Record, frozen=True):
    """A chunk with fewer confirmed copies than wanted, since when (Unix seconds)."""

    kind = "debt"
    since: float
    have: int
    want: int


_COPIES = Table(b"c", Copies)
_DEBTS = Table(b"d", Debt)


def of(reader: Reader, chunk: ChunkId) -> Copies | None:
    """Where the chunk is, as far as nodes have confirmed."""
    return _COPIES.get(reader, chunk)


def every(reader: Reader, after: ChunkId | None = None) -> Iterator[tuple[ChunkId, Copies]]:
    """All chunks with their copies, in the order of their ids."""
    for key, copies in _COPIES.scan(reader, after=after):
        yield ChunkId(key), copies


def count(reader: Reader) -> int:
    """How many chunks are known."""
    return _COPIES.count(reader, most=1 << 62)


def confirm(
    writer: Writer, chunk: ChunkRef, fresh: Iterable[Holder], want: int, now: float
) -> Copies:
    """Add holders to a chunk's row and bring its debt up to date. A known length stays."""
    former = _COPIES.get(writer, chunk.id)
    merged = _merged(former.holders if former else (), fresh)
    copies = Copies(former.length if former else chunk.length, merged)
    if copies != former:
        _COPIES.put(writer, copies, chunk.id)
    _settle(writer, chunk.id, len(merged), want, now)
    return copies


def withdraw(writer: Writer, chunk: ChunkId, node: str, want: int, now: float) -> None:
    """The node has no good copy of the chunk any more."""
    former = _COPIES.get(writer, chunk)
    if former is None:
        return
    left = tuple(each for each in former.holders if each.node != node)
    _COPIES.put(writer, msgspec.structs.replace(former, holders=left), chunk)
    _settle(writer, chunk, len(left), want, now)


def forget(writer: Writer, chunk: ChunkId) -> None:
    """Remove all that is known of a chunk that nothing needs."""
    _COPIES.delete(writer, chunk)
    _DEBTS.delete(writer, chunk)


def debts(reader: Reader, after: ChunkId | None = None) -> Iterator[tuple[ChunkId, Debt]]:
    """The chunks that lack copies."""
    for key, debt in _DEBTS.scan(reader, after=after):
        yield ChunkId(key), debt


def debt_of(reader: Reader, chunk: ChunkId) -> Debt | None:
    """What the chunk lacks, if anything."""
    return _DEBTS.get(reader, chunk)


def fewest(reader: Reader, chunks: Iterable[ChunkRef], want: int) -> int:
    """Confirmed copies of the chunk that has the fewest; from debts, never from a walk."""
    if next(debts(reader), None) is None:
        return want
    owed = (debt_of(reader, chunk.id) for chunk in chunks)
    return min((debt.have for debt in owed if debt is not None), default=want)


def counted(copies: Iterable[Holder], standing: Standing) -> int:
    """On how many distinct nodes that are up, on the disks that they have now, copies are."""
    return len({each.node for each in copies if each.disk in standing.get(each.node, frozenset())})


def _merged(former: tuple[Holder, ...], fresh: Iterable[Holder]) -> tuple[Holder, ...]:
    by_node = {each.node: each for each in former}
    for each in fresh:
        by_node[each.node] = each
    return tuple(by_node[node] for node in sorted(by_node))


def _settle(writer: Writer, chunk: ChunkId, have: int, want: int, now: float) -> None:
    owed = _DEBTS.get(writer, chunk)
    if have >= want:
        if owed is not None:
            _DEBTS.delete(writer, chunk)
        return
    since = owed.since if owed is not None else now
    _DEBTS.put(writer, Debt(since, have, want), chunk)
