"""Ids that people and programs see: opaque text with a prefix, eight bytes inside.

An id is 42 bits of Unix milliseconds and 22 random bits, so that neighbours in time are neighbours
in the store, and a coordinator restored from an older state never makes an old id again. The maker
checks in its own transaction that the id is free.
"""

import hashlib
from typing import Literal

ID_BYTES = 8
Prefix = Literal["f", "d", "s", "u", "j", "n", "usr", "ses", "dev", "tr"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_PAIR_SHIFTS = (50, 40, 30, 20, 10, 0)
_DIGITS = {letter: value for value, letter in enumerate(_ALPHABET)}
_TEXT_DIGITS = 13
_RANDOM_BITS = 22


def new_id(wall: float, random: bytes) -> int:
    """A fresh id made at Unix time ``wall`` from at least three random bytes; never 0."""
    milliseconds = int(wall * 1000) & ((1 << 42) - 1)
    noise = int.from_bytes(random[:3], "big") & ((1 << _RANDOM_BITS) - 1)
    return (milliseconds << _RANDOM_BITS | noise) or 1


class FreshIds:
    """Ids for one transaction: which ones is fixed when it is queued, by the time and a seed."""

    def __init__(self, wall: float, seed: bytes) -> None:
        self._wall = wall
        self._seed = seed
        self._made = 0

    def make(self) -> int:
        """The next id."""
        self._made += 1
        noise = hashlib.sha256(self._seed + self._made.to_bytes(4, "big")).digest()
        return new_id(self._wall, noise)


def to_text(prefix: Prefix, number: int) -> str:
    """``f_0c5x…``: the id as callers see it."""
    pairs = [_PAIRS[number >> shift & 1023] for shift in _PAIR_SHIFTS]
    return f"{prefix}_{_ALPHABET[number >> 60]}{''.join(pairs)}"


def from_text(prefix: Prefix, text: str) -> int | None:
    """The id in ``text``, or None where it is not one of this prefix."""
    head, _, digits = text.partition("_")
    if head != prefix or len(digits) != _TEXT_DIGITS:
        return None
    number = 0
    for letter in digits:
        value = _DIGITS.get(letter)
        if value is None:
            return None
        number = number << 5 | value
    return number if 0 < number < 1 << 64 else None
