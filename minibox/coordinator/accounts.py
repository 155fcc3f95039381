"""Accounts: who may log in, under which names, in which role, with which home."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from minibox.codec import Record
from minibox.coordinator import namespaces
from minibox.coordinator.journal import Act
from minibox.errors import AlreadyExists, NotFound, ValidationFailed
from minibox.identity import FreshIds, to_text
from minibox.names import (
    MAX_EMAIL_BYTES,
    MAX_USERNAME_LENGTH,
    check_email,
    check_username,
    fold,
)
from minibox.store import Reader, Table, Writer

Role = Literal["user", "admin"]


class User(Record, frozen=True):
    """One account. ``password`` is a bcrypt hash; ``home`` is the root of the user's namespace."""

    kind = "user"
    id: int
    username: str
    email: str
    password: bytes
    role: Role
    home: int
    created: float
    disabled: bool = False

    @property
    def public_id(self) -> str:
        """The id as callers see it."""
        return to_text("usr", self.id)

    @property
    def is_admin(self) -> bool:
        """Whether the user administers the cluster."""
        return self.role == "admin"


class Login(Record, frozen=True):
    """Which user a name or an address belongs to."""

    kind = "login"
    user: int


_USERS = Table(b"uu", User)
_USERNAMES = Table(b"un", Login)
_EMAILS = Table(b"ue", Login)
MAX_NUMBERED = 1000
_MAX_KEY_BYTES = 2 * MAX_EMAIL_BYTES
"""Folding makes a text at most twice as long."""


class Names(msgspec.Struct, frozen=True):
    """What a user can be called; at least one is given. Use :func:`checked_names` to make them.

    A username that ``is_derived`` from the address gets a number where it is taken.
    """

    username: str
    email: str
    is_derived: bool = False


def checked_names(username: str, email: str) -> Names:
    """Valid names; ValidationFailed. Without a username the address's first part serves."""
    if not username and not email:
        raise ValidationFailed("username", "give a username or an email")
    if email:
        email = check_email(email)
    derived = check_username(username or email.partition("@")[0])
    return Names(derived, email, is_derived=not username)


def create(
    writer: Writer,
    now: float,
    ids: FreshIds,
    names: Names,
    password: bytes,
    role: Role,
    quota: int,
) -> User:
    """A new account with an empty home of ``quota`` bytes (0: no limit); AlreadyExists."""
    if names.is_derived:
        names = msgspec.structs.replace(names, username=_free_username(writer, names.username))
    _refuse_taken(writer, names, but_not=0)
    user_id, home, trash = ids.make(), ids.make(), ids.make()
    act = Act(actor=user_id, now=now)
    namespaces.found(writer, act, root=home, trash=trash, limit=quota)
    user = User(user_id, names.username, names.email, password, role, home, now)
    _write(writer, user)
    return user


def get(reader: Reader, user_id: int) -> User | None:
    """The account of that id."""
    return _USERS.get(reader, user_id)


def by_login(reader: Reader, name: str) -> User | None:
    """The account of that username or address: either word takes either."""
    table = _EMAILS if "@" in name else _USERNAMES
    try:
        key = _key(name) if len(name) <= MAX_EMAIL_BYTES else b""
    except UnicodeEncodeError:
        return None
    login = table.get(reader, key) if 0 < len(key) <= _MAX_KEY_BYTES else None
    return get(reader, login.user) if login else None


def every(reader: Reader) -> Iterator[User]:
    """All accounts."""
    for _, user in _USERS.scan(reader):
        yield user


def rename(writer: Writer, user_id: int, names: Names) -> User:
    """Give the user other names; AlreadyExists, NotFound."""
    user = _known(writer, user_id)
    _refuse_taken(writer, names, but_not=user.id)
    _remove_names(writer, user)
    renamed = msgspec.structs.replace(user, username=names.username, email=names.email)
    _write(writer, renamed)
    return renamed


def remove(writer: Writer, user_id: int) -> None:
    """Remove an account whose home is empty; its names are free again. NotFound."""
    user = _known(writer, user_id)
    _remove_names(writer, user)
    _USERS.delete(writer, user.id)
    namespaces.remove(writer, user.home)


def rewrite(writer: Writer, user_id: int, **facts: object) -> User:
    """Change facts other than the names; NotFound."""
    user = _known(writer, user_id)
    changed: User = msgspec.structs.replace(user, **facts)
    _USERS.put(writer, changed, user_id)
    return changed


def _free_username(reader: Reader, wanted: str) -> str:
    """``wanted``, or the first of it with 2, 3 … behind it that nobody has."""
    tried = wanted
    for number in range(2, MAX_NUMBERED):
        if _USERNAMES.get(reader, _key(tried)) is None:
            break
        tail = str(number)
        tried = wanted[: MAX_USERNAME_LENGTH - len(tail)] + tail
    return tried


def _known(reader: Reader, user_id: int) -> User:
    user = get(reader, user_id)
    if user is None:
        raise NotFound("user")
    return user


def _refuse_taken(reader: Reader, names: Names, but_not: int) -> None:
    for table, name, what in (
        (_USERNAMES, names.username, "The username"),
        (_EMAILS, names.email, "The address"),
    ):
        login = table.get(reader, _key(name)) if name else None
        if login is not None and login.user != but_not:
            raise AlreadyExists(f"{what} {name!r}")


def _write(writer: Writer, user: User) -> None:
    _USERS.put(writer, user, user.id)
    _USERNAMES.put(writer, Login(user.id), _key(user.username))
    if user.email:
        _EMAILS.put(writer, Login(user.id), _key(user.email))


def _remove_names(writer: Writer, user: User) -> None:
    _USERNAMES.delete(writer, _key(user.username))
    if user.email:
        _EMAILS.delete(writer, _key(user.email))


def _key(name: str) -> bytes:
    return fold(name).encode()
