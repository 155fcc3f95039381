"""Frames: what stands on the wire, without any wire.

A frame is ``u32 header length, u32 body length`` (big-endian), a MessagePack header, a raw body.
The body is never inside the MessagePack and its parts are kept as they were received: hashed and
written as they are, joined only for who needs them contiguous. Every byte is looked at once,
however the stream was split.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from minibox.codec import unpack
from minibox.errors import BadFrame, BadRecord

MAX_HEADER_BYTES = 1024 * 1024
MAX_BODY_BYTES = 17 * 1024 * 1024
"""Room for a full batch of chunks (16 MiB) and what a caller may want to add to it."""

_PREFIX = struct.Struct(">II")
_PREFIX_BYTES = _PREFIX.size
_SMALL_PART_BYTES = 16 * 1024
_SMALL_PARTS = 64

Part = bytes | memoryview


class Body:
    """The raw bytes of a frame as the parts in which they came. Immutable; ``len`` is in bytes."""

    __slots__ = ("_length", "parts")

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts: Sequence[Part] = parts
        self._length = sum(map(len, parts))

    def __len__(self) -> int:
        return self._length

    def join(self) -> bytes:
        """All of it in one piece: copies, unless it came in one."""
        if len(self.parts) == 1 and isinstance(self.parts[0], bytes):
            return self.parts[0]
        return b"".join(self.parts)

    def split(self, lengths: Sequence[int]) -> list[list[Part]]:
        """The parts of each of the pieces that stand end to end, without copying.

        Raises BadRecord unless ``lengths`` add up to exactly this body.
        """
        if sum(lengths) != self._length or any(length < 0 for length in lengths):
            raise BadRecord(kind="body", reason="its length is not the sum of its pieces")
        parts = iter(self.parts)
        part: Part = b""
        pieces: list[list[Part]] = []
        for length in lengths:
            piece: list[Part] = []
            missing = length
            while missing:
                if not part:
                    part = next(parts)
                elif len(part) <= missing:
                    piece.append(part)
                    missing -= len(part)
                    part = b""
                else:
                    view = memoryview(part)
                    piece.append(view[:missing])
                    part = view[missing:]
                    missing = 0
            pieces.append(piece)
        return pieces


EMPTY = Body(())


class FrameType:
    """The first element of each header; the second is the call's id, or 0."""

    CALL = 1
    ANSWER = 2
    FAILURE = 3
    CANCEL = 4
    ALIVE = 5
    HELLO = 16
    PROOF = 17
    REFUSED = 18


Frame = tuple[list[Any], Body]
"""A header, an array that nobody has looked into yet, and the body."""


def pack_header(header: Sequence[object]) -> bytes:
    """The header's MessagePack."""
    packed: bytes = msgpack.packb(header, use_bin_type=True)
    return packed


def pack_prefix(header: bytes, body_length: int) -> bytes:
    """What goes before a body of ``body_length`` bytes: both lengths and the packed header."""
    return _PREFIX.pack(len(header), body_length) + header


class FrameReader:
    """Bytes in, frames out. After BadFrame it must not be fed again.

    The limits may be changed between two frames, also while :meth:`feed` is being iterated.
    """

    def __init__(self, max_header_bytes: int, max_body_bytes: int) -> None:
        self.max_header_bytes = max_header_bytes
        self.max_body_bytes = max_body_bytes
        self._head = bytearray()  # a prefix and header that is not complete
        self._header: list[Any] | None = None  # of the frame whose body is being gathered
        self._parts = _Parts()
        self._missing = 0

    def feed(self, received: bytes) -> Iterator[Frame]:
        """Each frame that ``received`` completes; iterate it to the end, or never feed again."""
        offset = 0
        if self._header is None and self._head:
            offset = self._lengthen_head(received)
        if self._header is not None:
            offset = self._gather(received, offset)
            if self._missing:
                return
            yield self._complete()
        end = len(received)
        while end - offset >= _PREFIX_BYTES:
            header_length, body_length = _PREFIX.unpack_from(received, offset)
            self._check_lengths(header_length, body_length)
            start = offset + _PREFIX_BYTES + header_length
            if start > end:
                break
            header = _read_header(received[offset + _PREFIX_BYTES : start])
            if not body_length:
                offset = start
                yield header, EMPTY
                continue
            self._header, self._missing = header, body_length
            offset = self._gather(received, start)
            if self._missing:
                return
            yield self._complete()
        self._head += memoryview(received)[offset:]

    def _lengthen_head(self, received: bytes) -> int:
        """Take what the head that waits lacks; how much of ``received`` that was."""
        had = len(self._head)
        if had < _PREFIX_BYTES:
            self._head += received[: _PREFIX_BYTES - had]
            if len(self._head) < _PREFIX_BYTES:
                return len(received)
        header_length, body_length = _PREFIX.unpack_from(self._head)
        self._check_lengths(header_length, body_length)
        taken = len(self._head) - had
        missing = _PREFIX_BYTES + header_length - len(self._head)
        self._head += memoryview(received)[taken : taken + missing]
        if len(self._head) < _PREFIX_BYTES + header_length:
            return len(received)
        self._header = _read_header(bytes(self._head[_PREFIX_BYTES:]))
        self._missing = body_length
        self._head = bytearray()
        return int(taken + missing)

    def _check_lengths(self, header_length: int, body_length: int) -> None:
        if header_length > self.max_header_bytes:
            raise BadFrame(reason=f"a header of {header_length} bytes")
        if body_length > self.max_body_bytes:
            raise BadFrame(reason=f"a body of {body_length} bytes")

    def _gather(self, received: bytes, start: int) -> int:
        """Take what the body lacks from ``start`` on; where that ends."""
        stop = min(start + self._missing, len(received))
        if stop > start:
            self._missing -= stop - start
            self._parts.add(received, start, stop)
        return stop

    def _complete(self) -> Frame:
        header, self._header = self._header or [], None
        return header, Body(self._parts.take())


class _Parts:
    """Gathers a body.

    Tiny parts are joined by and by, so that a body sent byte by byte costs about its own size in
    memory; a small part doesn't keep the large buffer it came in alive.
    """

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._small: list[bytes] = []

    def add(self, received: bytes, start: int, stop: int) -> None:
        length = stop - start
        if length >= _SMALL_PART_BYTES:
            self._join_small()
            whole = length == len(received)
            self._parts.append(received if whole else memoryview(received)[start:stop])
            return
        self._small.append(received[start:stop])
        if len(self._small) == _SMALL_PARTS:
            self._join_small()

    def take(self) -> list[Part]:
        self._join_small()
        parts, self._parts = self._parts, []
        return parts

    def _join_small(self) -> None:
        if self._small:
            self._parts.append(b"".join(self._small))
            self._small = []


def _read_header(packed: bytes) -> list[Any]:
    try:
        header = unpack(packed)
    except BadRecord as problem:
        raise BadFrame(reason=problem.reason) from problem
    if not isinstance(header, list):
        raise BadFrame(reason="a header that is no array")
    return header
