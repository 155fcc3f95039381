"""Who is there: both ends prove the cluster key, without any wire.

    dialer                                     acceptor
    HELLO(versions, cluster, role, name, nonce) →
                                               ← HELLO(…), PROOF unless the dialer is a guest
    PROOF unless a guest →

A proof is HMAC-SHA256 by the cluster key over the prover's side and both hellos as they were sent.
Both nonces are in it, so no proof serves twice; the side is in it, so none can be sent back; the
names, roles and versions are in it, so nobody between can alter them. It says who opened the
connection and no more: over networks where strangers can alter a running connection, use TLS
endpoints. The acceptor speaks second and a stranger learns nothing that he could compute with.
"""

import hashlib
import hmac
from collections.abc import Sequence
from enum import Enum
from typing import Any, Literal

from minibox.codec import Record, decode, encode
from minibox.errors import BadRecord, HandshakeFailed
from minibox.rpc.frames import FrameType, pack_header, pack_prefix
from minibox.rpc.methods import Identity

LOWEST_VERSION = 1
HIGHEST_VERSION = 1
NONCE_BYTES = 32
MIN_KEY_BYTES = 16
MAX_HELLO_BYTES = 4096
MAX_NAME_LETTERS = 255

Side = Literal["dialer", "acceptor"]


class Hello(Record, frozen=True):
    """The first word of each side. ``cluster`` is empty where it isn't known."""

    kind = "hello"
    lowest: int
    highest: int
    cluster: str
    role: Literal["coordinator", "node", "guest"]
    name: str
    nonce: bytes


class _Waits(Enum):
    FOR_HELLO = "hello"
    FOR_PROOF = "proof"
    FOR_NOTHING = "nothing"


class Handshake:
    """One side of one handshake: frames in, frames out, then ``peer`` and ``version``.

    HandshakeFailed names what is wrong; nothing of the other side is to be believed then.
    """

    def __init__(
        self,
        side: Side,
        identity: Identity,
        key: bytes | None,
        nonce: bytes,
        *,
        cluster: str = "",
        expected_name: str | None = None,
    ) -> None:
        if key is None and (side == "acceptor" or identity.role != "guest"):
            raise ValueError("only a guest who dials can be without the cluster key")
        if key is not None and len(key) < MIN_KEY_BYTES:
            raise ValueError("the cluster key is too short")
        self._side: Side = side
        self._identity = identity
        self._key = key
        self._cluster = cluster
        self._expected_name = expected_name
        self._mine = encode(
            Hello(LOWEST_VERSION, HIGHEST_VERSION, cluster, identity.role, identity.name, nonce)
        )
        self._theirs = b""
        self._waits_for = _Waits.FOR_HELLO
        self.version = 0
        self.peer = Identity("guest", "")

    @property
    def done(self) -> bool:
        """The peer is known and calls may flow."""
        return self._waits_for is _Waits.FOR_NOTHING

    def opening(self) -> bytes:
        """What this side sends as soon as there is a connection."""
        return _frame(FrameType.HELLO, self._mine) if self._side == "dialer" else b""

    def receive(self, header: Sequence[Any]) -> bytes:
        """Take one frame's header; what to send now. Raises HandshakeFailed."""
        match (self._waits_for, header):
            case (_, [FrameType.REFUSED, 0, str(reason)]):
                raise HandshakeFailed(reason=f"refused by the other side: {reason[:200]}")
            case (_Waits.FOR_HELLO, [FrameType.HELLO, 0, bytes(packed)]):
                return self._receive_hello(packed)
            case (_Waits.FOR_PROOF, [FrameType.PROOF, 0, bytes(proof)]):
                return self._receive_proof(proof)
            case _:
                raise HandshakeFailed(reason=f"something else than {self._waits_for.value} came")

    def _receive_hello(self, packed: bytes) -> bytes:
        try:
            hello = decode(Hello, packed)
        except BadRecord as problem:
            raise HandshakeFailed(reason=f"not a hello: {problem.reason}") from problem
        self._check(hello)
        self._theirs = packed
        self.version = min(hello.highest, HIGHEST_VERSION)
        self.peer = Identity(hello.role, hello.name)
        if self._side == "dialer":
            return self._dialer_heard()
        answer = _frame(FrameType.HELLO, self._mine)
        if hello.role == "guest":
            self._waits_for = _Waits.FOR_NOTHING
            return answer
        self._waits_for = _Waits.FOR_PROOF
        return answer + _frame(FrameType.PROOF, self._proof_of("acceptor"))

    def _dialer_heard(self) -> bytes:
        guest = self._identity.role == "guest"
        self._waits_for = _Waits.FOR_NOTHING if guest else _Waits.FOR_PROOF
        return b""

    def _receive_proof(self, proof: bytes) -> bytes:
        other: Side = "acceptor" if self._side == "dialer" else "dialer"
        if not hmac.compare_digest(proof, self._proof_of(other)):
            raise HandshakeFailed(reason="the other side does not hold the cluster key")
        self._waits_for = _Waits.FOR_NOTHING
        return _frame(FrameType.PROOF, self._proof_of("dialer")) if self._side == "dialer" else b""

    def _check(self, hello: Hello) -> None:
        if hello.lowest > HIGHEST_VERSION or hello.highest < LOWEST_VERSION:
            raise HandshakeFailed(
                reason=f"protocol versions {hello.lowest} to {hello.highest} are offered,"
                f" {LOWEST_VERSION} to {HIGHEST_VERSION} are spoken here"
            )
        if self._cluster and hello.cluster and hello.cluster != self._cluster:
            raise HandshakeFailed(reason="the other side belongs to another cluster")
        if len(hello.nonce) != NONCE_BYTES or len(hello.name) > MAX_NAME_LETTERS:
            raise HandshakeFailed(reason="a nonce or name of a strange length")
        if self._side == "dialer" and hello.role == "guest":
            raise HandshakeFailed(reason="the other side offers nothing")
        if self._expected_name is not None and hello.name != self._expected_name:
            raise HandshakeFailed(
                reason=f"{hello.name!r} answered where {self._expected_name!r} was expected"
            )

    def _proof_of(self, prover: Side) -> bytes:
        if self._key is None:
            raise HandshakeFailed(reason="a proof was asked of a guest")
        mine_first = self._side == "dialer"
        dialer, acceptor = (self._mine, self._theirs) if mine_first else (self._theirs, self._mine)
        transcript = hashlib.sha256(dialer).digest() + hashlib.sha256(acceptor).digest()
        words = b"minibox rpc handshake: " + prover.encode() + b": " + transcript
        return hmac.digest(self._key, words, "sha256")


def refusal(reason: str) -> bytes:
    """The frame that tells the other side why its handshake failed."""
    return _frame(FrameType.REFUSED, reason)


def _frame(kind: int, content: bytes | str) -> bytes:
    return pack_prefix(pack_header([kind, 0, content]), 0)
