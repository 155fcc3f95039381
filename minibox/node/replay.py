"""Reading a volume from end to end: every record that is whole, and where there is none.

Damage stops nothing. Behind a header that does not verify the next one that does is looked for, so
that one flipped bit costs one record.
"""

from collections.abc import Iterator
from typing import NamedTuple

from isal.isal_zlib import crc32

from minibox.disk import File
from minibox.node.volume import (
    RECORD_HEADER_BYTES,
    RECORD_MAGIC,
    VOLUME_HEADER_BYTES,
    Place,
    Record,
    parse_record,
)

WINDOW_BYTES = 256 * 1024


class Found(NamedTuple):
    """A record whose header is whole. ``is_whole``: so is its content, as far as was asked."""

    place: Place
    record: Record
    is_whole: bool


class Damaged(NamedTuple):
    """Bytes of a volume where no record begins."""

    volume: int
    start: int
    stop: int


def replay(
    file: File, number: int, salt: bytes, start: int, *, check_content: bool
) -> Iterator[Found | Damaged]:
    """What is in volume ``number`` from offset ``start`` on, in order.

    ``check_content`` reads each chunk and compares its CRC; without it only headers are read.
    """
    window = _Window(file)
    offset, end = max(start, VOLUME_HEADER_BYTES), file.size()
    while offset < end:
        place = Place(number, offset)
        record = parse_record(window.read(offset, RECORD_HEADER_BYTES), place, salt)
        if record is None:
            stop = _next_record(window, place, salt, end)
            yield Damaged(number, offset, stop)
            offset = stop
            continue
        offset += RECORD_HEADER_BYTES
        is_whole = offset + record.length <= end
        if is_whole and check_content and record.length:
            is_whole = crc32(window.read(offset, record.length)) == record.crc
        yield Found(place, record, is_whole)
        offset += record.length


def _next_record(window: "_Window", after: Place, salt: bytes, end: int) -> int:
    """Where the next verifiable header begins; ``end`` if there is none."""
    offset = after.offset + 1
    while offset < end:
        found = window.read(offset, WINDOW_BYTES)
        hit = found.find(RECORD_MAGIC)
        while hit >= 0:
            place = Place(after.volume, offset + hit)
            if parse_record(window.read(place.offset, RECORD_HEADER_BYTES), place, salt):
                return place.offset
            hit = found.find(RECORD_MAGIC, hit + 1)
        # a magic that begins in this window and ends in the next
        offset += max(1, len(found) - len(RECORD_MAGIC) + 1)
    return end


class _Window:
    """Reads small things through one large read; what can't be read is zeros."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._start = 0
        self._content = b""

    def read(self, offset: int, length: int) -> bytes:
        within = offset - self._start
        if within >= 0 and within + length <= len(self._content):
            return self._content[within : within + length]
        for wanted in (max(length, WINDOW_BYTES), length):
            try:
                self._content = self._file.read(offset, wanted)
            except OSError:  # a bad sector further on must not take this record with it
                continue
            self._start = offset
            return self._content[:length]
        return bytes(length)
