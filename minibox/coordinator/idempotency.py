"""Idempotency keys: the same request again gets the first answer, for 24 hours.

The row is written in the operation's own nested transaction, successes only.
"""

import hashlib
from collections.abc import Callable
from itertools import islice

from minibox.codec import Record
from minibox.errors import IdempotencyMismatch
from minibox.store import Reader, Table, Writer

KEPT_SECONDS = 24 * 3600.0


class Answered(Record, frozen=True):
    """What was asked (a hash) and answered, and when."""

    kind = "answered"
    request: bytes
    answer: bytes
    at: float


_ANSWERED = Table(b"k", Answered)


def key_of(user: int, route: str, key: str) -> bytes:
    """The row's key: one user's key on one route."""
    return hashlib.sha256(f"{user}\n{route}\n{key}".encode()).digest()


def once(
    writer: Writer, key: bytes, request: bytes, now: float, operation: Callable[[], bytes]
) -> bytes:
    """The answer of ``operation``, or the kept one. IdempotencyMismatch for another request."""
    known = kept(writer, key, request, now)
    if known is not None:
        return known
    answer = operation()
    _ANSWERED.put(writer, Answered(request, answer, now), key)
    return answer


def kept(reader: Reader, key: bytes, request: bytes, now: float) -> bytes | None:
    """What was answered to this request before. IdempotencyMismatch for another request."""
    known = _ANSWERED.get(reader, key)
    if known is None or now - known.at >= KEPT_SECONDS:
        return None
    if known.request != request:
        raise IdempotencyMismatch
    return known.answer


def forget_old(writer: Writer, now: float, after: bytes | None, most: int) -> bytes | None:
    """Remove the rows whose time is up among the next ``most`` beyond the key ``after``.

    Where to go on; None at the end.
    """
    looked_at = list(islice(_ANSWERED.scan(writer, after=after), most))
    for key, row in looked_at:
        if now - row.at >= KEPT_SECONDS:
            _ANSWERED.delete(writer, key)
    return looked_at[-1][0] if len(looked_at) == most else None
