"""What a name and a path may be: the one validator, and the one key for uniqueness.

Names are kept as people wrote them, in NFC. Two names that differ only by letter case or by the
way their accents are encoded are the same name: :func:`fold` gives both one key (Unicode 3.13,
D145: canonical caseless matching). What a foreign file system can't hold (trailing dots, reserved
device names) is that client's affair, not ours.
"""

import hashlib
import re
import unicodedata
from typing import NewType

from minibox.errors import ValidationFailed

Name = NewType("Name", str)
"""A valid name of one entry, in NFC."""

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4096
MAX_PATH_DEPTH = 128
MAX_USERNAME_LENGTH = 64
MAX_EMAIL_BYTES = 254
MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_BYTES = 1024

KEY_PREFIX_BYTES = 200
KEY_HASH_BYTES = 16
_KEY_SEPARATOR = b"\0"
"""Below all that a name may hold: "abc" sorts before "abcd" whatever their hashes are."""
MAX_CHILD_KEY_BYTES = KEY_PREFIX_BYTES + len(_KEY_SEPARATOR) + KEY_HASH_BYTES

_MAX_RAW_LENGTH = 4 * MAX_NAME_BYTES  # normalising an unbounded text would cost unbounded time
_NOT_IN_NAMES = re.compile(r"[/\x00-\x1f\x7f-\x9f]")
_NOT_IN_USERNAMES = re.compile(r"[@/:\s\x00-\x1f\x7f-\x9f]")  # a colon ends the user in HTTP Basic
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f-\x9f]{1,64}@[^@\s\x00-\x1f\x7f-\x9f.]+(\.[^@\s.]+)*")


def valid_name(text: str, field: str = "name") -> Name:
    """``text`` as the name of an entry, in NFC; ValidationFailed where it can't be one."""
    if not text:
        raise ValidationFailed(field, "a name has at least one character")
    if len(text) > _MAX_RAW_LENGTH:
        raise ValidationFailed(field, f"a name has at most {MAX_NAME_BYTES} bytes")
    if _NOT_IN_NAMES.search(text):
        raise ValidationFailed(field, "a name has no slash and no control character")
    if text in {".", ".."}:
        raise ValidationFailed(field, f"{text!r} is not a name")
    normal = _normal(text, field)
    if len(normal.encode()) > MAX_NAME_BYTES:
        raise ValidationFailed(field, f"a name has at most {MAX_NAME_BYTES} bytes")
    return Name(normal)


def fold(name: str) -> str:
    """The key under which ``name`` is unique in its folder: alike for case and NFD twins."""
    if name.isascii():
        return name.lower()
    unaccented = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", unaccented)


def child_key(name: str) -> bytes:
    """What a child is keyed by under its parent: sorts as the folded name, bounded in length."""
    folded = fold(name).encode()
    digest = hashlib.sha256(folded).digest()
    return folded[:KEY_PREFIX_BYTES] + _KEY_SEPARATOR + digest[:KEY_HASH_BYTES]


def parse_path(text: str, field: str = "path") -> tuple[Name, ...]:
    """The names in ``/docs/a.txt``. Root is ``()``; the first and last slash may be left out.

    Never resolves anything: ``.``, ``..`` and empty names are refused with ValidationFailed.
    """
    if len(text) > MAX_PATH_BYTES:
        raise ValidationFailed(field, f"a path has at most {MAX_PATH_BYTES} bytes")
    inside = text.removeprefix("/").removesuffix("/")
    if not inside:
        if len(text) > 1:
            raise ValidationFailed(field, "a name has at least one character")
        return ()
    parts = inside.split("/")
    if len(parts) > MAX_PATH_DEPTH:
        raise ValidationFailed(field, f"a path has at most {MAX_PATH_DEPTH} names")
    names = tuple(valid_name(part, field) for part in parts)
    if sum(len(name.encode()) + 1 for name in names) > MAX_PATH_BYTES:
        raise ValidationFailed(field, f"a path has at most {MAX_PATH_BYTES} bytes")
    return names


def join_path(names: tuple[Name, ...]) -> str:
    """The path that parses back into ``names``; root is ``/``."""
    return "/" + "/".join(names)


def check_username(text: str) -> str:
    """``text`` in NFC as a user's name; ValidationFailed otherwise. Unique by its fold."""
    if not 0 < len(text) <= MAX_USERNAME_LENGTH:
        raise ValidationFailed("username", f"a username has 1 to {MAX_USERNAME_LENGTH} characters")
    if _NOT_IN_USERNAMES.search(text):
        raise ValidationFailed(
            "username", "a username has no '@', '/', ':', space or control character"
        )
    return _normal(text, "username")


def check_email(text: str) -> str:
    """``text`` in NFC as an address; ValidationFailed otherwise. Only its shape is judged."""
    if len(text) > MAX_EMAIL_BYTES or not _EMAIL.fullmatch(text):
        raise ValidationFailed("email", "an address looks like name@example.org")
    normal = _normal(text, "email")
    if len(normal.encode()) > MAX_EMAIL_BYTES:
        raise ValidationFailed("email", f"an address has at most {MAX_EMAIL_BYTES} bytes")
    return normal


def check_password(text: str) -> str:
    """``text`` as a new password; ValidationFailed where it is too short or too long."""
    if len(text) < MIN_PASSWORD_LENGTH:
        raise ValidationFailed(
            "password", f"a password has at least {MIN_PASSWORD_LENGTH} characters"
        )
    too_long = ValidationFailed("password", f"a password has at most {MAX_PASSWORD_BYTES} bytes")
    if len(text) > MAX_PASSWORD_BYTES:
        raise too_long
    if len(_normal(text, "password").encode()) > MAX_PASSWORD_BYTES:
        raise too_long
    return text


def _normal(text: str, field: str) -> str:
    """``text`` in NFC, refused where it is no Unicode text (a lone surrogate)."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValidationFailed(field, "a lone surrogate is not text") from None
    return unicodedata.normalize("NFC", text)
