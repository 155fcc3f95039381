"""Idempotency keys: the same request again gets the first answer, for 24 hours.

The row is written in the operation's own nested transaction, successes only.
"""

import hashlib
from collections.abc import Callable, Iterator

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
    kept = _ANSWERED.get(writer, key)
    if kept is not None and now - kept.at < KEPT_SECONDS:
        if kept.request != request:
            raise IdempotencyMismatch
        return kept.answer
    answer = operation()
    _ANSWERED.put(writer, Answered(request, answer, now), key)
    return answer


def expired(reader: Reader, now: float) -> Iterator[bytes]:
    """Keys whose time is up."""
    for key, kept in _ANSWERED.scan(reader):
        if now - kept.at >= KEPT_SECONDS:
            yield key


def forget(writer: Writer, key: bytes) -> None:
    """Remove one row."""
    _ANSWERED.delete(writer, key)
