"""Signing and reading tokens, capabilities and receipts, and secrets that do not print.

Everything is signed with keys derived from the cluster key, one for each purpose, so that no
credential is ever accepted as one of another sort.
"""

import base64
import hashlib
import hmac
import os
import stat
import struct
import unicodedata
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal, NoReturn

import bcrypt
import jwt
import msgspec

from minibox.capability import Capability, Receipt, Verb
from minibox.chunk import ChunkId
from minibox.errors import (
    BadCapability,
    BadReceipt,
    ConfigInvalid,
    RecordDamaged,
    TokenExpired,
    Unauthenticated,
)
from minibox.world import RandomBytes

KEY_BYTES = 32
CLUSTER_ID_BYTES = 16
MAC_BYTES = 16
MAX_TOKEN_CHARACTERS = 4096
MAX_TOKENS_REMEMBERED = 1024

Purpose = Literal["handshake", "capability", "receipt", "token"]

_KEY_FILE_BYTES = 4096
_CAPABILITY = struct.Struct(">B32sQQQQ")
_RECEIPT = struct.Struct(">32sQQB")
_VERB_NUMBER: dict[Verb, int] = {"put": 1, "get": 2}
_CHUNK_ID_BYTES = 32
_PASSWORD_LABEL = b"minibox password, version 1"
_BCRYPT_SALT_BYTES = 16
_TO_BCRYPT_BASE64 = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
)


class Secret:
    """Bytes that do not print, and compare in constant time."""

    __slots__ = ("_revealed",)

    def __init__(self, revealed: bytes) -> None:
        self._revealed = revealed

    def reveal(self) -> bytes:
        """The bytes, to be used and not kept."""
        return self._revealed

    def __repr__(self) -> str:
        return "•••"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._revealed, other._revealed)

    __hash__ = None  # type: ignore[assignment]  # a hash would tell secrets apart by time

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


# The cluster key


def load_or_create_cluster_key(path: Path, random_bytes: RandomBytes) -> Secret:
    """The key in ``path``; made first where there is none, whole and durable or not at all.

    Of several processes that start at once one makes it and all read the same. ConfigInvalid
    where the file can't be read or made, others could read it, or it holds no key. Blocks.
    """
    try:
        if not path.exists():
            _create_key(path, random_bytes)
        return _read_key(path)
    except OSError as problem:
        raise ConfigInvalid(str(path), f"the cluster key: {problem.strerror}") from problem


def derived_key(cluster_key: Secret, purpose: Purpose, generation: int = 0) -> bytes:
    """The signing key for one purpose; a new ``generation`` voids all that older ones signed."""
    label = b"minibox %s %d" % (purpose.encode(), generation)
    return hmac.digest(cluster_key.reveal(), label, "sha256")


def cluster_id(cluster_key: Secret) -> bytes:
    """What the data directories of one cluster have in common; tells nothing of the key."""
    label = b"minibox cluster: " + derived_key(cluster_key, "receipt")
    return hashlib.sha256(label).digest()[:CLUSTER_ID_BYTES]


def _create_key(path: Path, random_bytes: RandomBytes) -> None:
    """Write beside, sync, then link: the name never stands for half a key."""
    beside = path.with_name(f".{path.name}.{random_bytes(8).hex()}")
    descriptor = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(random_bytes(KEY_BYTES).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first: its key counts
            os.link(beside, path)
    finally:
        beside.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read_key(path: Path) -> Secret:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        text = file.read(_KEY_FILE_BYTES)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigInvalid(str(path), "the cluster key is not a file")
    if status.st_mode & 0o077:
        raise ConfigInvalid(str(path), f"others may read the cluster key; run: chmod 600 {path}")
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise ConfigInvalid(str(path), "the cluster key is not hexadecimal") from None
    if len(key) < KEY_BYTES:
        raise ConfigInvalid(str(path), f"the cluster key is shorter than {KEY_BYTES} bytes")
    return Secret(key)


# Capabilities and receipts


class Capabilities:
    """Makes and checks the signed right to put or get one chunk."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(
        self, verb: Verb, chunk: ChunkId, length: int, scope: int, sequence: int, expires: int
    ) -> Capability:
        """The capability; give it out only from the transaction that pins the chunk."""
        mac = self._mac(verb, chunk, length, scope, sequence, expires)
        return Capability(verb, chunk, length, scope, sequence, expires, mac)

    def check(self, capability: Capability, verb: Verb, now_seconds: float) -> None:
        """Raise BadCapability unless it is ours, for ``verb``, and not yet expired."""
        if capability.verb != verb:
            raise BadCapability(f"it is for {capability.verb}")
        try:
            mac = self._mac(
                capability.verb,
                capability.chunk,
                capability.length,
                capability.scope,
                capability.sequence,
                capability.expires,
            )
        except ValueError as problem:
            raise BadCapability("it was not signed here") from problem
        if not hmac.compare_digest(mac, capability.mac):
            raise BadCapability("it was not signed here")
        if now_seconds >= capability.expires:
            raise BadCapability("it has expired")

    def _mac(
        self, verb: Verb, chunk: ChunkId, length: int, scope: int, sequence: int, expires: int
    ) -> bytes:
        _check_chunk_id(chunk)
        try:
            packed = _CAPABILITY.pack(_VERB_NUMBER[verb], chunk, length, scope, sequence, expires)
        except struct.error as problem:
            raise ValueError(str(problem)) from problem
        return hashlib.blake2b(packed, key=self._key, digest_size=MAC_BYTES).digest()


class Receipts:
    """Makes and checks a node's signed word that it holds a chunk durably."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, chunk: ChunkId, length: int, node: str, disk: bytes, upload: int) -> Receipt:
        """The receipt; make it only after the chunk's bytes are durable on that disk."""
        return Receipt(
            chunk, length, node, disk, upload, self._mac(chunk, length, node, disk, upload)
        )

    def check(self, receipt: Receipt) -> None:
        """Raise BadReceipt unless a node of this cluster signed it."""
        try:
            mac = self._mac(
                receipt.chunk, receipt.length, receipt.node, receipt.disk, receipt.upload
            )
        except ValueError as problem:
            raise BadReceipt from problem
        if not hmac.compare_digest(mac, receipt.mac):
            raise BadReceipt

    def _mac(self, chunk: ChunkId, length: int, node: str, disk: bytes, upload: int) -> bytes:
        _check_chunk_id(chunk)
        try:
            packed = _RECEIPT.pack(chunk, length, upload, len(disk)) + disk + node.encode()
        except struct.error as problem:
            raise ValueError(str(problem)) from problem
        return hashlib.blake2b(packed, key=self._key, digest_size=MAC_BYTES).digest()


def _check_chunk_id(chunk: bytes) -> None:
    if len(chunk) != _CHUNK_ID_BYTES:  # struct would pad or cut it in silence
        raise ValueError("a chunk id has 32 bytes")


# Access tokens


class AccessClaims(msgspec.Struct, frozen=True):
    """What an access token says: user, session, and its times in Unix seconds."""

    sub: str
    sid: str
    iat: int
    exp: int
    typ: Literal["access"] = "access"


class AccessTokens:
    """Makes and reads the bearer tokens of people and clients (JWT, RFC 7519, HS256 alone)."""

    def __init__(self, key: bytes, lifetime_seconds: float) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError("the key of tokens is too short")
        self._key = key
        self._lifetime_seconds = lifetime_seconds
        self._verified = lru_cache(MAX_TOKENS_REMEMBERED)(self._claims)

    def issue(self, user: str, session: str, now: float) -> str:
        """A token for this session that expires after the lifetime, from Unix time ``now``."""
        claims = AccessClaims(user, session, int(now), int(now + self._lifetime_seconds))
        return jwt.encode(msgspec.to_builtins(claims), self._key, algorithm="HS256")

    def read(self, token: str, now: float) -> AccessClaims:
        """What the token says. TokenExpired for one that was good, else Unauthenticated."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated
        claims = self._verified(token)
        if now >= claims.exp:
            raise TokenExpired
        return claims

    def _claims(self, token: str) -> AccessClaims:
        """What a token with a good signature says; such a one is verified once and remembered."""
        try:
            values = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                options={
                    "require": ["sub", "sid", "iat", "exp", "typ"],
                    "verify_exp": False,  # against the wall clock of the process; done below
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            return msgspec.convert(values, AccessClaims)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as problem:
            raise Unauthenticated from problem


# Opaque secrets: refresh tokens, app tokens, share links


def new_opaque(prefix: str, random_bytes: RandomBytes) -> str:
    """``mbr_…``: an unguessable text to hand out once; keep only its digest."""
    return prefix + base64.urlsafe_b64encode(random_bytes(KEY_BYTES)).rstrip(b"=").decode()


def opaque_digest(text: str) -> bytes:
    """What is stored and looked up for an opaque secret."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


# Passwords


def hash_password(password: str, cost: int, salt: bytes) -> bytes:
    """What is stored for a password: bcrypt at 2 ** ``cost`` rounds. Slow; run it in a thread.

    ``salt`` is 16 random bytes. bcrypt takes 72 bytes at most, so it is given a digest.
    """
    if len(salt) != _BCRYPT_SALT_BYTES:
        raise ValueError("a salt has 16 bytes")
    encoded = base64.b64encode(salt).rstrip(b"=").translate(_TO_BCRYPT_BASE64)
    return bcrypt.hashpw(_digested(password), b"$2b$%02d$%s" % (cost, encoded))


def password_matches(password: str, hashed: bytes) -> bool:
    """Whether this is the password; RecordDamaged for a hash that is none. Slow, as above."""
    try:
        return bcrypt.checkpw(_digested(password), hashed)
    except ValueError as problem:
        raise RecordDamaged("password") from problem


def unmatched_hash(cost: int) -> bytes:
    """The hash to try for an unknown user: takes as long as a real one and never matches."""
    return b"$2b$%02d$%s" % (cost, b"." * 53)


def _digested(password: str) -> bytes:
    normal = unicodedata.normalize("NFC", password).encode(errors="surrogatepass")
    return base64.b64encode(hmac.digest(_PASSWORD_LABEL, normal, "sha384"))
