"""Seeded contents for simulated clients: each one is unique, and remembered by its SHA-256."""

import hashlib
from functools import cache
from random import Random

BLOCKS = ((18, 265_202), (126, 281_193), (164, 271_874))
"""Seeds of random bytes and the length at which the cutter ends their first chunk.

A cut depends only on the bytes since the former cut, so that blocks end to end are small chunks:
a content of some hundred KiB has several.
"""

TWIST_BYTES = 8
_ROLLS = (0.05, 0.72, 0.84)


class Contents:
    """Makes contents of all the shapes that matter and knows them again."""

    def __init__(self, generator: Random) -> None:
        self._generator = generator
        self._by_sha: dict[bytes, bytes] = {hashlib.sha256(b"").digest(): b""}
        self.chunks: dict[bytes, bytes] = {}
        """Chunks as they must be stored, by id; of contents that are one chunk the whole."""

    def make(self, *, small: bool = False) -> bytes:
        """A fresh content: empty, tiny, one chunk, or several."""
        roll = self._generator.random()
        if roll < _ROLLS[0] and not small:
            return b""
        if roll < _ROLLS[1] or small:
            return self._kept([self._fresh(self._generator.randrange(16, 4096))])
        if roll < _ROLLS[2]:
            return self._kept([self._fresh(self._generator.randrange(60_000, 200_000))])
        blocks = [self._block() for _ in range(self._generator.randrange(1, 4))]
        return self._kept([*blocks, self._fresh(self._generator.randrange(16, 5000))])

    def of(self, sha256: bytes) -> bytes | None:
        """The content with that hash, if it was made here."""
        return self._by_sha.get(sha256)

    def _kept(self, chunks: list[bytes]) -> bytes:
        content = b"".join(chunks)
        self._by_sha[hashlib.sha256(content).digest()] = content
        for chunk in chunks:
            self.chunks[hashlib.sha256(chunk).digest()] = chunk
        return content

    def _fresh(self, length: int) -> bytes:
        return self._generator.randbytes(length)

    def _block(self) -> bytes:
        """One that was there before, or a new one: the same but for its first bytes."""
        seed, length = self._generator.choice(BLOCKS)
        known = _block(seed, length)
        if self._generator.getrandbits(1):
            return known
        return self._fresh(TWIST_BYTES) + known[TWIST_BYTES:]


@cache
def _block(seed: int, length: int) -> bytes:
    return Random(seed).randbytes(length)
