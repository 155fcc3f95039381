"""What a handler is given, and what it may give back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from minibox.coordinator.http.body import Body
from minibox.coordinator.http.request import Request
from minibox.errors import ValidationFailed
from minibox.http_api import headers
from minibox.http_api.route import Route


class Caller(Protocol):
    """Who asks. The accounts' own type has more; routing needs only this."""

    @property
    def is_admin(self) -> bool:
        """Whether administration is open to the caller."""


C = TypeVar("C", bound=Caller)
Q = TypeVar("Q")
B = TypeVar("B")
A = TypeVar("A")

Ack = Literal[1, 2, "all"]


@dataclass(frozen=True)
class Reply(Generic[A]):
    """An answer with more than its value: another status, headers, or bytes of another type."""

    answer: A | bytes | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Call(Generic[C, Q, B]):
    """One call of a route, checked: who, the path's parameters, query and body as values.

    Streamed bodies are read from ``stream``. ``caller`` is None on routes that anyone may call.
    """

    request: Request
    route: Route[Any, Any, Any]
    caller: C
    params: Mapping[str, str]
    query: Q
    body: B

    @property
    def stream(self) -> Body:
        """The body of a ``raw`` or ``form`` route, to be pulled."""
        return self.request.body

    @property
    def content_type(self) -> str | None:
        """The body's declared media type, with its parameters."""
        return self.request.header(b"Content-Type")

    @property
    def if_match(self) -> str | None:
        """The versions that a write may replace, as the client listed them."""
        return self.request.header(b"If-Match")

    @property
    def if_none_match(self) -> str | None:
        """``*`` on a write means: create only."""
        return self.request.header(b"If-None-Match")

    @property
    def idempotency_key(self) -> str | None:
        """The client's name for this change, honoured for a day."""
        return self._short(headers.IDEMPOTENCY_KEY)

    @property
    def device_id(self) -> str | None:
        """The device that asks, if it says so."""
        return self._short(headers.DEVICE_ID)

    @property
    def share_password(self) -> str | None:
        """The password that came with a shared link."""
        return self._short(headers.SHARE_PASSWORD)

    @property
    def ack(self) -> Ack | None:
        """How many durable copies to wait for; None leaves it to the cluster."""
        match self.request.header(headers.ACK.encode()):
            case None:
                return None
            case "1":
                return 1
            case "2":
                return 2
            case "all":
                return "all"
            case _:
                raise ValidationFailed(field=headers.ACK, reason="write 1, 2 or all")

    def _short(self, name: str) -> str | None:
        values = self.request.requestHeaders.getRawHeaders(name.encode())
        if values is None:
            return None
        try:
            value = values[-1].decode("utf-8")
        except UnicodeDecodeError:
            raise ValidationFailed(field=name, reason="it is not UTF-8") from None
        if not value or len(value) > headers.MAX_SHORT_HEADER:
            raise ValidationFailed(
                field=name, reason=f"1 to {headers.MAX_SHORT_HEADER} characters are allowed"
            )
        return value
