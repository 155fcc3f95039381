"""Who asks: from a bearer token to the account, its session looked up at every request."""

from typing import NamedTuple, Protocol

from minibox.coordinator import accounts, sessions
from minibox.coordinator.accounts import User
from minibox.coordinator.sessions import Session
from minibox.credentials import AccessTokens
from minibox.errors import AccountDisabled, TokenRevoked, Unauthenticated
from minibox.identity import from_text
from minibox.store import Reader, Store
from minibox.world import Clock


class Asking(Protocol):
    """What came with its headers."""

    def header(self, name: bytes) -> str | None:
        """The value of the header, its last if it stands twice."""


class Caller(NamedTuple):
    """An account and the session that it asks through."""

    user: User
    session: Session

    @property
    def is_admin(self) -> bool:
        """Whether administration is open to the caller."""
        return self.user.is_admin


class Authentication:
    """Reads the Authorization header.

    Raises Unauthenticated, TokenExpired, TokenRevoked, AccountDisabled.
    """

    def __init__(self, clock: Clock, store: Store, tokens: AccessTokens) -> None:
        self._clock = clock
        self._store = store
        self._tokens = tokens

    async def __call__(self, request: Asking) -> Caller:
        """The caller of ``request``."""
        scheme, _, token = (request.header(b"Authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated
        claims = self._tokens.read(token.strip(), self._clock.wall())
        session_id = from_text("ses", claims.sid)
        if session_id is None:
            raise Unauthenticated
        return self._store.read(lambda reader: _caller(reader, session_id))


def _caller(reader: Reader, session_id: int) -> Caller:
    session = sessions.get(reader, session_id)
    user = accounts.get(reader, session.user) if session is not None else None
    if session is None or user is None:
        raise TokenRevoked
    if user.disabled:
        raise AccountDisabled
    return Caller(user, session)
