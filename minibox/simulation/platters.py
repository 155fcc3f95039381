"""What the disks of the nodes have for sure: records read from the platters, past all caches.

It knows the format of volumes and nothing of the node that wrote them, so that no bug of a node can
hide in its own index.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256

import msgspec

from minibox.chunk import ChunkId
from minibox.coordinator import holders, versions
from minibox.coordinator.holders import Copies
from minibox.errors import NotFound
from minibox.node.marker import MARKER
from minibox.node.volume import (
    RECORD_HEADER_BYTES,
    RECORD_MAGIC,
    VOLUME_HEADER_BYTES,
    Kind,
    Place,
    Record,
    parse_record,
)
from minibox.simulation.cluster import SimulatedCluster
from minibox.simulation.disk import SimulatedDisk
from minibox.simulation.promises import Broken
from minibox.store import Reader

MEMBERSHIP_SECONDS = 10.0
"""So long after a disk is lost the coordinator may not have heard of it."""


class Found(msgspec.Struct, frozen=True):
    """One record on a platter: in which file, where its header begins and its content ends."""

    file: str
    start: int
    end: int
    record: Record
    is_good: bool


class Platter(msgspec.Struct, frozen=True):
    """A disk: its id, empty without a marker, and the chunks of which it has a good copy."""

    disk: bytes
    good: frozenset[ChunkId]
    records: tuple[Found, ...]


def platter_of(disk: SimulatedDisk) -> Platter:
    """All that is durable on a disk now."""
    files = disk.durable()
    marker = _marker(files.get(MARKER))
    if marker is None:
        return Platter(b"", frozenset(), ())
    identity, salt = marker
    records = [
        found
        for name, content in files.items()
        if name.endswith(".vol")
        for found in _records(name, bytes(content), salt)
    ]
    good: dict[ChunkId, None] = {}
    for found in records:
        match found.record.kind:
            case Kind.CHUNK if found.is_good:
                good[found.record.chunk] = None
            case Kind.TOMBSTONE:
                good.pop(found.record.chunk, None)
            case _:
                pass
    return Platter(identity, frozenset(good), tuple(records))


def check_holders(
    copies: Mapping[ChunkId, Copies],
    platters: Mapping[str, Platter],
    damaged: Mapping[tuple[str, ChunkId], None],
) -> None:
    """Every confirmed holder has the chunk durably on the disk that it named (D3).

    ``damaged`` are copies that the simulation itself has spoilt.
    """
    for chunk, row in copies.items():
        for holder in row.holders:
            platter = platters[holder.node]
            is_excused = platter.disk != holder.disk or (holder.node, chunk) in damaged
            if chunk not in platter.good and not is_excused:
                raise Broken(
                    "D3", f"{holder.node} gave a receipt for {chunk.hex()} it doesn't have"
                )


def check_acknowledged(cluster: SimulatedCluster, file: int, number: int) -> None:
    """A version that was acknowledged now has enough confirmed holders for each chunk (D4)."""
    lately = cluster.now - cluster.disk_lost_at < MEMBERSHIP_SECONDS
    disks = {name: disk_of(disk) for name, disk in cluster.disks.items()}
    for chunk, row in cluster.store().read(lambda reader: _held(reader, file, number)):
        holding = [each for each in row.holders if lately or disks[each.node] == each.disk]
        spoilt = any(spoilt_chunk == chunk for _, spoilt_chunk in cluster.damaged)
        if len(holding) < cluster.config.cluster.ack and not spoilt:
            raise Broken("D4", f"{chunk.hex()} was committed with {row.holders}")


def _held(reader: Reader, file: int, number: int) -> list[tuple[ChunkId, Copies]]:
    try:
        version = versions.get(reader, file, number)
    except NotFound:
        return []  # purged in the meantime
    chunks = versions.chunks_of(reader, file, version)
    found = [(chunk.id, holders.of(reader, chunk.id)) for chunk in chunks]
    return [(chunk, row or Copies(0, ())) for chunk, row in found]


def disk_of(disk: SimulatedDisk) -> bytes:
    """The id in a disk's marker; empty without one."""
    marker = _marker(disk.durable().get(MARKER))
    return marker[0] if marker is not None else b""


def holding(platters: Mapping[str, Platter], chunk: ChunkId) -> list[str]:
    """The nodes with a good durable copy."""
    return [node for node, platter in platters.items() if chunk in platter.good]


def _records(name: str, content: bytes, salt: bytes) -> Iterator[Found]:
    number = int(name.rpartition("/")[2].removesuffix(".vol"))
    offset = VOLUME_HEADER_BYTES
    while (offset := content.find(RECORD_MAGIC, offset)) >= 0:
        head = content[offset : offset + RECORD_HEADER_BYTES]
        record = parse_record(head, Place(number, offset), salt)
        if record is None:
            offset += 1
            continue
        end = offset + RECORD_HEADER_BYTES + record.length
        body = content[offset + RECORD_HEADER_BYTES : end]
        is_good = record.kind is Kind.CHUNK and sha256(body).digest() == record.chunk
        yield Found(name, offset, end, record, is_good)
        offset = end


def _marker(content: bytearray | None) -> tuple[bytes, bytes] | None:
    try:
        found = msgspec.json.decode(content or b"", type=dict[str, object])
        return bytes.fromhex(str(found["disk"])), bytes.fromhex(str(found["salt"]))
    except (msgspec.DecodeError, KeyError, ValueError):
        return None
