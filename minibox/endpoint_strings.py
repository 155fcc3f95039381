"""Twisted endpoint strings: read here for what Twisted itself doesn't do with them.

A process is told where others *listen* ("tcp:8101:interface=127.0.0.1", as cluster.yaml has it) and
has to connect there.
"""

import re
from typing import NamedTuple

_ANYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - recognised, not bound
_FIELD = re.compile(r"(?:[^:\\]|\\.)*")


class EndpointString(NamedTuple):
    """The parts of an endpoint string, unescaped."""

    kind: str
    positional: tuple[str, ...]
    named: dict[str, str]


def parse(description: str) -> EndpointString:
    """Split a description as Twisted does: colons, ``name=value``, backslash to escape."""
    positional, named = [], {}
    at = 0
    while at <= len(description):
        found = _FIELD.match(description, at)
        field = found.group() if found else ""
        name, separator, value = _split_name(field)
        if separator:
            named[name] = value
        else:
            positional.append(name)
        at += len(field) + 1
    return EndpointString(positional[0] if positional else "", tuple(positional[1:]), named)


def to_connect(listen: str, host: str = "127.0.0.1") -> str:
    """The client description for the server description ``listen``.

    ``host`` is used where the server listens on every interface. A description that is a client's
    already comes back as it is. Raises ValueError where nothing can be connected to.
    """
    kind, positional, named = parse(listen)
    if kind == "unix":
        path = named.get("address", positional[0] if positional else named.get("path", ""))
        return f"unix:path={escape(path)}"
    if kind not in ("tcp", "tcp6", "tls", "ssl"):
        raise ValueError(f"{listen!r} names no address to connect to")
    if len(positional) > 1 or "host" in named:
        return listen
    port = named.get("port", positional[0] if positional else "")
    interface = named.get("interface", "")
    target = host if interface in _ANYWHERE else interface
    client = "tls" if kind in ("tls", "ssl") else "tcp"
    return f"{client}:{escape(target)}:{port}"


def escape(value: str) -> str:
    """``value`` as one field of a description."""
    return re.sub(r"([\\:=])", r"\\\1", value)


def _split_name(field: str) -> tuple[str, str, str]:
    found = re.search(r"(?<!\\)=", field)
    if found is None:
        return _unescape(field), "", ""
    return field[: found.start()], "=", _unescape(field[found.end() :])


def _unescape(field: str) -> str:
    return re.sub(r"\\(.)", r"\1", field)
