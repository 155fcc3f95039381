"""A remote file opened for reading: seek anywhere, read as much as is wanted."""

import os
from types import TracebackType
from typing import Self

from minibox.client.content import RemoteContent
from minibox.rpc import Part

READ_AHEAD_BYTES = 256 * 1024
"""A short read asks for so much; what comes after it is likely wanted next."""


class RemoteFile:
    """One version of a file, as it was when it was opened. Use it in ``async with``."""

    def __init__(self, content: RemoteContent) -> None:
        self._content = content
        self._position = 0
        self._ahead = b""
        self._ahead_at = 0

    @property
    def size(self) -> int:
        """Bytes altogether."""
        return self._content.which.size

    @property
    def path(self) -> str:
        """Where it was when it was opened."""
        return self._content.which.path

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere; past the end nothing is read. ValueError before the start."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} is before the start")
        self._position = base + offset
        return self._position

    async def read(self, size: int = -1) -> bytes:
        """The next ``size`` bytes, fewer only at the end; all that is left by default.

        ContentDamaged, Unreachable.
        """
        start = self._position
        stop = self.size if size < 0 else min(start + size, self.size)
        if start >= stop:
            return b""
        if not self._has(start, stop):
            wanted = min(max(stop, start + READ_AHEAD_BYTES), self.size)
            gathered: list[Part] = []
            async for parts in self._content.parts(start, wanted):
                gathered += parts
            self._ahead, self._ahead_at = b"".join(gathered), start
        self._position = stop
        found = self._ahead[start - self._ahead_at : stop - self._ahead_at]
        if stop - self._ahead_at == len(self._ahead):
            self._ahead = b""
        return found

    async def close(self) -> None:
        """Drop what was read ahead."""
        self._ahead = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _has(self, start: int, stop: int) -> bool:
        return self._ahead_at <= start and stop <= self._ahead_at + len(self._ahead)
