"""Typed tables in the ordered store, with a checksum in every row.

A row's key is its table's tag and the parts of its own key. Tags are unique and none is the
beginning of another. A part is a number (8 bytes, big-endian, so that numbers sort) or bytes as
they are; bytes that aren't the last part have one length in the whole table.

A row begins with a CRC-32 over key and payload: LMDB has none, and a row that turns up under
another key is damage too. Damage raises RecordDamaged and is never taken for absence.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Generic, TypeVar

from isal import isal_zlib

from minibox.codec import Record, decode, encode
from minibox.errors import BadRecord, RecordDamaged
from minibox.store.interface import MAX_KEY_BYTES, Reader, Writer

R = TypeVar("R", bound=Record)

KeyPart = int | bytes

_CHECKSUM_BYTES = 4


class Table(Generic[R]):
    """Records of one type, by key."""

    def __init__(self, tag: bytes, record: type[R]) -> None:
        self._tag = _checked(tag)
        self._record = record

    def get(self, reader: Reader, *key: KeyPart) -> R | None:
        """The record; None if there is none. Raises RecordDamaged."""
        stored_key = _key(self._tag, key)
        stored = reader.get(stored_key)
        return None if stored is None else self._open(stored_key, stored)

    def put(self, writer: Writer, value: R, *key: KeyPart) -> None:
        """Set the record."""
        stored_key = _key(self._tag, key)
        payload = encode(value)
        writer.put(stored_key, _checksum(stored_key, payload) + payload)

    def delete(self, writer: Writer, *key: KeyPart) -> bool:
        """Remove the record, damaged or not; True if it was there."""
        return writer.delete(_key(self._tag, key))

    def scan(
        self,
        reader: Reader,
        *prefix: KeyPart,
        after: bytes | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, R]]:
        """Records below ``prefix`` with the rest of their keys, beyond ``after`` in that order.

        Raises RecordDamaged at the record that is.
        """
        for key, suffix, stored in _scan(reader, _key(self._tag, prefix), after, reverse=reverse):
            yield suffix, self._open(key, stored)

    def count(self, reader: Reader, *prefix: KeyPart, most: int) -> int:
        """How many records are below ``prefix``, counted up to ``most`` without opening them."""
        rows = _scan(reader, _key(self._tag, prefix), None, reverse=False)
        return sum(1 for _ in islice(rows, most))

    def _open(self, key: bytes, stored: bytes) -> R:
        payload = stored[_CHECKSUM_BYTES:]
        if stored[:_CHECKSUM_BYTES] != _checksum(key, payload):
            raise RecordDamaged(kind=self._record.kind)
        try:
            return decode(self._record, payload)
        except BadRecord as problem:
            raise RecordDamaged(kind=self._record.kind) from problem


class Rows:
    """Keys that say all by being there."""

    def __init__(self, tag: bytes) -> None:
        self._tag = _checked(tag)
        self._kind = tag.decode("ascii", "backslashreplace")

    def add(self, writer: Writer, *key: KeyPart) -> None:
        """Make sure that the key is there."""
        stored_key = _key(self._tag, key)
        writer.put(stored_key, _checksum(stored_key, b""))

    def has(self, reader: Reader, *key: KeyPart) -> bool:
        """Whether the key is there. Raises RecordDamaged."""
        stored_key = _key(self._tag, key)
        stored = reader.get(stored_key)
        if stored is None:
            return False
        self._check(stored_key, stored)
        return True

    def delete(self, writer: Writer, *key: KeyPart) -> bool:
        """Remove the key; True if it was there."""
        return writer.delete(_key(self._tag, key))

    def scan(self, reader: Reader, *prefix: KeyPart, after: bytes | None = None) -> Iterator[bytes]:
        """The rest of each key below ``prefix``, beyond ``after``. Raises RecordDamaged."""
        for key, suffix, stored in _scan(reader, _key(self._tag, prefix), after, reverse=False):
            self._check(key, stored)
            yield suffix

    def _check(self, key: bytes, stored: bytes) -> None:
        if stored != _checksum(key, b""):
            raise RecordDamaged(kind=self._kind)


def _checked(tag: bytes) -> bytes:
    # A last byte of 0xff would have no successor of the same length to end a scan at.
    if not tag or tag[0] == 0 or tag[-1] == 0xFF:  # noqa: PLR2004
        raise ValueError(f"{tag!r} can't be a table's tag")
    return tag


def _key(tag: bytes, parts: tuple[KeyPart, ...]) -> bytes:
    key = tag
    for part in parts:
        key += part if isinstance(part, bytes) else part.to_bytes(8, "big")
    if len(key) > MAX_KEY_BYTES:
        raise ValueError(f"a key of {len(key)} bytes in table {tag!r}")
    return key


def _checksum(key: bytes, payload: bytes) -> bytes:
    return isal_zlib.crc32(payload, isal_zlib.crc32(key)).to_bytes(_CHECKSUM_BYTES, "big")


def _scan(
    reader: Reader, prefix: bytes, after: bytes | None, *, reverse: bool
) -> Iterator[tuple[bytes, bytes, bytes]]:
    start, stop = prefix, _successor(prefix)
    if after is not None:
        if reverse:
            stop = prefix + after
        else:
            start = prefix + after + b"\0"
    length = len(prefix)
    for key, stored in reader.scan(start, stop, reverse=reverse):
        yield key, key[length:], stored


def _successor(prefix: bytes) -> bytes:
    """The least key above all that begin with ``prefix``."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes((head[-1] + 1,))
