"""Sessions: what a login made and a logout ends, looked up at each request.

A session has one refresh token at a time, stored as its SHA-256; using it gives the next one. Using
an old one ends the session: somebody has a copy.
"""

from collections.abc import Iterator

import msgspec

from minibox.codec import Record
from minibox.errors import TokenExpired, TokenRevoked
from minibox.store import Reader, Rows, Table, Writer

IDLE_SECONDS = 90 * 24 * 3600.0
"""A session that nobody refreshed for so long has ended."""


class Session(Record, frozen=True):
    """One login of a user, perhaps on a known device."""

    kind = "session"
    id: int
    user: int
    refresh: bytes
    created: float
    refreshed: float
    device: str = ""


_SESSIONS = Table(b"s", Session)
_OF_USER = Rows(b"is")


def open_session(writer: Writer, session: Session) -> None:
    """Make a session durable."""
    _SESSIONS.put(writer, session, session.id)
    _OF_USER.add(writer, session.user, session.id)


def get(reader: Reader, session_id: int) -> Session | None:
    """The session, if it has not ended."""
    return _SESSIONS.get(reader, session_id)


def refresh(
    writer: Writer, session_id: int, shown: bytes, replacement: bytes, now: float
) -> Session | None:
    """Exchange the refresh token (hashes); None where an old one was shown: the session has ended.

    TokenRevoked where there is no such session, TokenExpired where it was idle too long.
    """
    session = get(writer, session_id)
    if session is None:
        raise TokenRevoked
    if now - session.refreshed > IDLE_SECONDS:
        raise TokenExpired
    if shown != session.refresh:
        end(writer, session)
        return None
    renewed = msgspec.structs.replace(session, refresh=replacement, refreshed=now)
    _SESSIONS.put(writer, renewed, session_id)
    return renewed


def end(writer: Writer, session: Session) -> None:
    """End one session: its tokens are refused from the next request on."""
    _SESSIONS.delete(writer, session.id)
    _OF_USER.delete(writer, session.user, session.id)


def end_all(writer: Writer, user: int, but_not: int = 0) -> None:
    """End every session of a user, except perhaps one."""
    for session in list(of_user(writer, user)):
        if session.id != but_not:
            end(writer, session)


def of_user(reader: Reader, user: int) -> Iterator[Session]:
    """The open sessions of a user."""
    for key in _OF_USER.scan(reader, user):
        session = get(reader, int.from_bytes(key, "big"))
        if session is not None:
            yield session
