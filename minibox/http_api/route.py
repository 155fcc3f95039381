"""Routes as values: the server binds them, the client calls them, OpenAPI is printed from them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal
from urllib.parse import quote, urlencode

import msgspec
from typing_extensions import TypeVar

from minibox.errors import Failure

Q = TypeVar("Q", default=None)
B = TypeVar("B", default=None)
A = TypeVar("A", default=None)

Access = Literal["anyone", "user", "admin"]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

_PARAMETER = re.compile(r"\{([a-z][a-z0-9_]*)(:path)?\}")


@dataclass(frozen=True)
class Parameter:
    """One ``{name}`` in a route's path; a ``{name:path}`` may hold slashes and stands last."""

    name: str
    holds_slashes: bool


@dataclass(frozen=True, kw_only=True)
class Route(Generic[Q, B, A]):
    """One call of the HTTP API: where it is, what it takes, what it answers.

    ``query`` and ``body`` are msgspec Structs, decoded from the query string and from JSON. A
    ``raw`` body is any bytes and a ``form`` body is multipart/form-data: both are streamed.
    ``status`` is the usual success; ``statuses`` others that may be answered. ``media_type`` is
    what a call without a JSON ``answer`` sends (downloads, pages).
    """

    name: str
    method: Method
    path: str
    summary: str
    query: type[Q] | None = None
    body: type[B] | None = None
    raw: bool = False
    form: bool = False
    answer: type[A] | None = None
    media_type: str | None = None
    status: int = 200
    statuses: tuple[int, ...] = ()
    access: Access = "user"
    failures: tuple[type[Failure], ...] = ()
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no server or client could carry out."""
        if sum((self.body is not None, self.raw or self.form)) > 1:
            raise ValueError(f"{self.name}: a body is JSON or streamed, not both")
        if any(each.holds_slashes for each in self.parameters[:-1]):
            raise ValueError(f"{self.name}: a {{…:path}} parameter stands last")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The path's parameters, in order."""
        return tuple(Parameter(name, bool(path)) for name, path in _PARAMETER.findall(self.path))

    @property
    def streams(self) -> bool:
        """Whether the handler reads the body by itself."""
        return self.raw or self.form

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it: ``{path:path}`` becomes ``{path}``."""
        return _PARAMETER.sub(r"{\1}", self.path)

    def url(self, params: Mapping[str, str] | None = None, query: Q | None = None) -> str:
        """The path and query string to ask for, quoted. A missing parameter is a KeyError."""
        given = params or {}

        def filled(match: re.Match[str]) -> str:
            name, path = match.groups()
            return quote(given[name].lstrip("/") if path else given[name], safe="/" if path else "")

        path = _PARAMETER.sub(filled, self.path)
        asked = query_pairs(query)
        return f"{path}?{urlencode(asked)}" if asked else path


def query_pairs(query: object) -> list[tuple[str, str]]:
    """A query Struct as the pairs of a query string; None means absent, lists repeat the name."""
    if query is None:
        return []
    values: dict[str, Any] = msgspec.to_builtins(query)
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        several = value if isinstance(value, list) else [value]
        pairs.extend((name, _as_text(each)) for each in several if each is not None)
    return pairs


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
