"""The chunked transfer coding (RFC 9112, section 7.1), decoded as it arrives. No I/O."""

import re
from enum import Enum, auto

from minibox.errors import ValidationFailed

_MAX_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 16 * 1024
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")


class _Part(Enum):
    SIZE = auto()
    PAYLOAD = auto()
    BREAK = auto()
    TRAILER = auto()
    OVER = auto()


class ChunkedDecoder:
    """Takes the coded bytes in any pieces and gives the payload; large pieces aren't joined."""

    def __init__(self) -> None:
        self._part = _Part.SIZE
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0
        self.rest = b""
        """What came after the end: the next request."""

    @property
    def over(self) -> bool:
        """Whether the last chunk and its trailer have been read."""
        return self._part is _Part.OVER

    def feed(self, received: bytes) -> list[bytes]:
        """The payload in the next bytes of the body. A broken coding raises ValidationFailed."""
        pending = self._line + received if self._line else received
        self._line = b""
        payload: list[bytes] = []
        at = 0
        while at < len(pending) and self._part is not _Part.OVER:
            if self._part is _Part.PAYLOAD:
                until = min(at + self._left, len(pending))
                payload.append(pending[at:until])
                self._left -= until - at
                at = until
                if not self._left:
                    self._part = _Part.BREAK
                continue
            end = pending.find(b"\r\n", at, at + _MAX_LINE_BYTES)
            if end < 0:
                if len(pending) - at >= _MAX_LINE_BYTES:
                    raise _broken("a line is too long")
                if self._part is _Part.BREAK and pending[at : at + 2] != b"\r":
                    raise _broken("a chunk is longer than announced")
                self._line = pending[at:]
                break
            self._line_ended(pending, at, end)
            at = end + 2
        if self._part is _Part.OVER:
            self.rest = pending[at:]
        return payload

    def _line_ended(self, pending: bytes, at: int, end: int) -> None:
        if self._part is _Part.SIZE:
            size = _SIZE.fullmatch(pending, at, end)
            if size is None:
                raise _broken("a chunk's size is no hexadecimal number")
            self._left = int(size[1], 16)
            self._part = _Part.PAYLOAD if self._left else _Part.TRAILER
        elif self._part is _Part.BREAK:
            if end != at:
                raise _broken("a chunk is longer than announced")
            self._part = _Part.SIZE
        elif end == at:
            self._part = _Part.OVER
        else:
            self._trailer_bytes += end - at
            if self._trailer_bytes > _MAX_TRAILER_BYTES:
                raise _broken("the trailer is too long")


def _broken(reason: str) -> ValidationFailed:
    return ValidationFailed(field="Transfer-Encoding", reason=reason)
