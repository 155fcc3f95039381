"""What one side of a connection offers to the other: who may call what."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal

from minibox.codec import R, Record
from minibox.rpc.frames import Body, Part

Role = Literal["coordinator", "node", "guest"]
"""A guest has proved nothing; coordinators and nodes have proved the cluster key."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who stands at one end of a connection."""

    role: Role
    name: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call: the identity that the handshake settled, and the address it came from."""

    identity: Identity
    address: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers: a message, and raw bytes that go out as they are."""

    message: Record
    body: Sequence[Part] = ()


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """What a caller gets back."""

    message: R
    body: Body


def _no_bytes(_message: Any) -> int:  # noqa: ANN401
    return 0


@dataclass(frozen=True, slots=True)
class Method:
    """One call that is offered to callers of ``roles``.

    The handler is cancelled when its caller gives up or is gone: what must finish all the same, it
    shields. It must not wait for a call back over the connection that it serves, because that
    connection isn't read while too much of it is being handled. ``answer_bytes`` says from the
    message how large the reply's body may get: so much is reserved before the handler starts.
    """

    name: str
    takes: type[Record]
    handler: Callable[[Caller, Any, Body], Awaitable[Reply]]
    roles: Sequence[Role]
    answer_bytes: Callable[[Any], int] = _no_bytes
