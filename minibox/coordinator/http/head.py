"""The head of an HTTP/1.1 request: bytes to a value, or a refusal. No I/O.

Stricter than RFC 9112 wherever leniency has let one request be read as two: exactly one Host, one
framing of the body, no folded lines, no bare CR or LF, no control characters.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from minibox.errors import HeadersTooLarge, ValidationFailed

MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
_MAX_LENGTH_DIGITS = 18

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LABEL = rb"[0-9A-Za-z_-]{1,63}"
_HOST = re.compile(
    rb"(?:%b(?:\.%b)*\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?" % (_LABEL, _LABEL)
)
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Head:
    """A request's line and headers. ``headers`` are (name as sent, value), in order.

    ``length`` is the declared length of the body, 0 when there is none, None when it is chunked.
    """

    method: bytes
    target: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    length: int | None
    persistent: bool
    expects_continue: bool


def parse_head(raw: bytes) -> Head:
    """The head in ``raw``, the bytes before the empty line. Raises ValidationFailed and its like.

    After a refusal the connection can't be trusted to be in step: close it.
    """
    lines = raw.split(b"\r\n")
    breaks = len(lines) - 1
    if raw.count(b"\r") != breaks or raw.count(b"\n") != breaks or _CONTROL.search(raw):
        raise _malformed("a control character in the head")
    method, target, version = _request_line(lines[0])
    if breaks > MAX_HEADERS:
        raise HeadersTooLarge(limit=MAX_HEAD_BYTES)
    headers: list[tuple[bytes, bytes]] = []
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    tokens: list[bytes] = []
    expects = False
    for index in range(1, breaks + 1):
        name, colon, value = lines[index].partition(b":")
        if not colon or not _TOKEN.fullmatch(name):
            raise _malformed("a header line without a proper name")
        value = value.strip(b" \t")
        headers.append((name, value))
        name = name.lower()
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"connection":
            tokens.extend(token.strip() for token in value.lower().split(b","))
        elif name == b"expect":
            expects = value.lower() == b"100-continue"
    modern = version == b"HTTP/1.1"
    _check_host(hosts, needed=modern)
    return Head(
        method=method,
        target=target,
        version=version,
        headers=headers,
        length=_framing(lengths, codings, modern=modern),
        persistent=modern and b"close" not in tokens,
        expects_continue=expects and modern,
    )


def path_of(raw_path: bytes) -> str:
    """The path's text, percent-decoded once. Bad UTF-8 and NUL raise ValidationFailed."""
    plain = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    if b"\x00" in plain:
        raise ValidationFailed(field="path", reason="it holds a NUL")
    try:
        return plain.decode("utf-8")
    except UnicodeDecodeError:
        raise ValidationFailed(field="path", reason="it is not UTF-8") from None


def _request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    words = line.split(b" ")
    if len(words) != 3:  # noqa: PLR2004  method, target, version
        raise _malformed("the request line has not three words")
    method, target, version = words
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise _malformed("the request line is not well-formed")
    if version not in {b"HTTP/1.1", b"HTTP/1.0"}:
        raise _malformed("only HTTP/1.1 and HTTP/1.0 are spoken here")
    if not target.startswith(b"/"):
        authority = _ABSOLUTE.match(target)
        if authority is None:
            raise _malformed("the target is not a path")
        target = target[authority.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    return method, target, version


def _check_host(hosts: list[bytes], *, needed: bool) -> None:
    if len(hosts) > 1 or (needed and not hosts):
        raise ValidationFailed(field="Host", reason="exactly one Host header has to be sent")
    if hosts and hosts[0] and not _HOST.fullmatch(hosts[0]):
        raise ValidationFailed(field="Host", reason="it is not a host name")


def _framing(lengths: list[bytes], codings: list[bytes], *, modern: bool) -> int | None:
    if codings:
        if lengths or len(codings) > 1 or not modern or codings[0].lower() != b"chunked":
            raise ValidationFailed(
                field="Transfer-Encoding", reason="a body is framed by 'chunked' or by its length"
            )
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > _MAX_LENGTH_DIGITS:
        raise ValidationFailed(field="Content-Length", reason="one number of bytes has to be sent")
    return int(lengths[0])


def _malformed(reason: str) -> ValidationFailed:
    return ValidationFailed(field="request", reason=reason)
