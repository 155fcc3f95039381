"""The bytes of a volume: one header, then records end to end. ``docs/volumes.md`` is the table.

A record's header has its own checksum, over where it stands too: a record that was misplaced by the
disk, or that is inside the content of a chunk, is not taken for one. The salt is random for each
disk and leaves it never, so that nobody can store a chunk whose bytes would pass for records.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from isal.isal_zlib import crc32

from minibox.chunk import ChunkId

FORMAT = 1
CLUSTER_BYTES = 16
DISK_BYTES = 8
SALT_BYTES = 8

VOLUME_MAGIC = b"MINIBOXV"
RECORD_MAGIC = b"\xd7MBR"

_VOLUME = struct.Struct("<8sII16s8s8s12x")
_RECORD = struct.Struct("<4sB3x32sIIQIQ")
_SEED = struct.Struct("<8sIQ")
_CHECKSUM = struct.Struct("<I")

VOLUME_HEADER_BYTES = _VOLUME.size + _CHECKSUM.size
RECORD_HEADER_BYTES = _RECORD.size + _CHECKSUM.size


class Place(NamedTuple):
    """Where a record begins: the volume's number and the offset of the record's header."""

    volume: int
    offset: int


NOWHERE = Place(0, 0)
"""Volumes are numbered from 1."""


class Identity(NamedTuple):
    """Whose volumes these are."""

    cluster: bytes
    disk: bytes
    salt: bytes


class VolumeHeader(NamedTuple):
    """The head of a volume."""

    format: int
    number: int
    identity: Identity


class Kind(IntEnum):
    """What a record says about its chunk."""

    CHUNK = 1
    """Here is its content."""
    TOUCH = 2
    """It was put again under this sequence; the copy at ``about`` is good."""
    TOMBSTONE = 3
    """The copy at ``about`` was deleted by an order of this sequence."""
    QUARANTINE = 4
    """The copy at ``about`` is bad."""


class Record(NamedTuple):
    """A record's header. ``crc`` is the CRC-32 of the ``length`` bytes of content behind it."""

    kind: Kind
    chunk: ChunkId
    sequence: int
    length: int = 0
    crc: int = 0
    about: Place = NOWHERE


def pack_volume_header(number: int, identity: Identity) -> bytes:
    """The first bytes of volume ``number``."""
    head = _VOLUME.pack(VOLUME_MAGIC, FORMAT, number, *identity)
    return head + _CHECKSUM.pack(crc32(head))


def parse_volume_header(found: bytes) -> VolumeHeader | None:
    """The header in ``found``; None if it is damaged."""
    if len(found) != VOLUME_HEADER_BYTES:
        return None
    (checksum,) = _CHECKSUM.unpack_from(found, _VOLUME.size)
    magic, version, number, cluster, disk, salt = _VOLUME.unpack_from(found)
    if magic != VOLUME_MAGIC or checksum != crc32(found[: _VOLUME.size]):
        return None
    return VolumeHeader(version, number, Identity(cluster, disk, salt))


def pack_record(record: Record, place: Place, salt: bytes) -> bytes:
    """The header of ``record`` if it stands at ``place``."""
    kind, chunk, sequence, length, crc, about = record
    head = _RECORD.pack(RECORD_MAGIC, kind, chunk, length, crc, sequence, about[0], about[1])
    return head + _CHECKSUM.pack(crc32(head, crc32(_SEED.pack(salt, place[0], place[1]))))


def parse_record(found: bytes | memoryview, place: Place, salt: bytes) -> Record | None:
    """The record whose header is ``found`` and stands at ``place``; None if it is not one."""
    if len(found) < RECORD_HEADER_BYTES:
        return None
    (checksum,) = _CHECKSUM.unpack_from(found, _RECORD.size)
    if checksum != crc32(found[: _RECORD.size], crc32(_SEED.pack(salt, *place))):
        return None
    magic, kind, chunk, length, crc, sequence, volume, offset = _RECORD.unpack_from(found)
    if magic != RECORD_MAGIC or kind not in _KINDS:
        return None
    return Record(Kind(kind), ChunkId(chunk), sequence, length, crc, Place(volume, offset))


_KINDS = frozenset(Kind)
