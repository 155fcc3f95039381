"""Registering, logging in and out, passwords."""

from typing import NamedTuple

from minibox import credentials
from minibox.coordinator import accounts, sessions
from minibox.coordinator.accounts import Names, Role, User
from minibox.coordinator.passwords import Passwords
from minibox.coordinator.sessions import Session
from minibox.credentials import AccessTokens
from minibox.errors import (
    AccountDisabled,
    BadCredentials,
    TokenRevoked,
    Unauthenticated,
)
from minibox.identity import FreshIds, from_text, to_text
from minibox.names import check_password
from minibox.store import Reader, Store, Writer
from minibox.world import World

REFRESH_PREFIX = "mbr_"


class OpenSession(NamedTuple):
    """What a login or refresh gives out."""

    user: User
    access_token: str
    refresh_token: str


class Logins:
    """Accounts and sessions as their owners change them."""

    def __init__(
        self,
        world: World,
        store: Store,
        passwords: Passwords,
        tokens: AccessTokens,
        default_quota: int,
    ) -> None:
        self._world = world
        self._store = store
        self._passwords = passwords
        self._tokens = tokens
        self._default_quota = default_quota

    async def register(self, names: Names, password: str, role: Role = "user") -> User:
        """A new account; ValidationFailed, AlreadyExists, Busy."""
        hashed = await self._passwords.hashed(check_password(password))
        now = self._world.clock.wall()
        ids = FreshIds(now, self._world.random_bytes(16))
        quota = self._default_quota
        return await self._store.write(
            lambda writer: accounts.create(writer, now, ids, names, hashed, role, quota)
        )

    async def login(self, name: str, password: str, device: str = "") -> OpenSession:
        """A new session; BadCredentials for unknown names and wrong passwords alike."""
        user = self._store.read(lambda reader: accounts.by_login(reader, name))
        if not await self._passwords.matches(password, user.password if user else None):
            raise BadCredentials
        if user is None:
            raise BadCredentials
        if user.disabled:
            raise AccountDisabled
        now = self._world.clock.wall()
        session_id = FreshIds(now, self._world.random_bytes(16)).make()
        secret = credentials.new_opaque("", self._world.random_bytes)
        session = Session(session_id, user.id, credentials.opaque_digest(secret), now, now, device)

        def open_session(writer: Writer) -> None:
            current = accounts.get(writer, session.user)
            if current is None or current.password != user.password or current.disabled:
                raise BadCredentials  # it was changed while the password was being checked
            sessions.open_session(writer, session)

        await self._store.write(open_session)
        return self._opened(user, session_id, secret, now)

    async def refresh(self, token: str) -> OpenSession:
        """The next tokens of a session; Unauthenticated, TokenRevoked, TokenExpired."""
        session_text, _, shown = token.removeprefix(REFRESH_PREFIX).partition(".")
        session_id = from_text("ses", session_text)
        if not token.startswith(REFRESH_PREFIX) or session_id is None:
            raise Unauthenticated
        now = self._world.clock.wall()
        secret = credentials.new_opaque("", self._world.random_bytes)
        digest, replacement = credentials.opaque_digest(shown), credentials.opaque_digest(secret)

        def exchange(writer: Writer) -> User | None:
            session = sessions.refresh(writer, session_id, digest, replacement, now)
            return accounts.get(writer, session.user) if session is not None else None

        user = await self._store.write(exchange)
        if user is None:
            raise TokenRevoked
        if user.disabled:
            raise AccountDisabled
        return self._opened(user, session_id, secret, now)

    async def logout(self, session: Session, *, all_devices: bool) -> None:
        """End the session, or all of its user: refused from the next request on."""

        def end(writer: Writer) -> None:
            if all_devices:
                sessions.end_all(writer, session.user)
            else:
                sessions.end(writer, session)

        await self._store.write(end, frees=True)

    async def change_password(self, user: User, session: Session, current: str, new: str) -> None:
        """Set a new password and end every other session; BadCredentials, ValidationFailed."""
        check_password(new)
        await self.confirm(user, current)
        hashed = await self._passwords.hashed(new)

        def change(writer: Writer) -> None:
            accounts.rewrite(writer, user.id, password=hashed)
            sessions.end_all(writer, user.id, but_not=session.id)

        await self._store.write(change)

    async def rename(self, user: User, names: Names) -> User:
        """Other names for the account; AlreadyExists."""
        return await self._store.write(lambda writer: accounts.rename(writer, user.id, names))

    async def confirm(self, user: User, password: str) -> None:
        """BadCredentials unless it is the user's password."""
        if not await self._passwords.matches(password, user.password):
            raise BadCredentials

    def any_admin(self) -> bool:
        """Whether an administrator exists."""
        return self._store.read(_has_admin)

    def _opened(self, user: User, session_id: int, secret: str, now: float) -> OpenSession:
        session_text = to_text("ses", session_id)
        access = self._tokens.issue(user.public_id, session_text, now)
        return OpenSession(user, access, f"{REFRESH_PREFIX}{session_text}.{secret}")


def _has_admin(reader: Reader) -> bool:
    return any(user.is_admin for user in accounts.every(reader))
