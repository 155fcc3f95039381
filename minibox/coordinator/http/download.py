# mypy: disallow-untyped-calls=False
"""Sending file content: ranges, conditions, back-pressure, and never a clean end that lies.

The head goes out with the first part: until then a source may still fail with a proper problem.
After it, a failure cuts the connection. Parts are written as they come, not sliced or joined: the
transport sends from them in place and asks to wait until they are out.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from twisted.web.http import datetimeToString

from minibox.coordinator.http.conditions import Outcome, evaluate, range_holds
from minibox.coordinator.http.disposition import disposition, media_type
from minibox.coordinator.http.ranges import Span, parse_range
from minibox.coordinator.http.request import Request
from minibox.errors import PreconditionFailed

Parts = AsyncGenerator[bytes, None]
Source = Callable[[int, int], Parts]
"""Verified bytes from ``start`` up to ``stop``, in parts of any size; closed on a disconnect."""

_CONDITIONS = (
    "if-match",
    "if-unmodified-since",
    "if-none-match",
    "if-modified-since",
)


class ContentCut(Exception):
    """A source gave fewer or more bytes than it promised: a bug, never sent as if it were whole."""


@dataclass(frozen=True)
class Content:
    """What is to be sent. ``etag`` is quoted, ``last_modified`` in Unix seconds."""

    size: int
    etag: str
    content_type: str | None
    filename: str
    last_modified: int
    source: Source
    shown: Literal["attachment", "inline"] = "attachment"


async def serve_content(request: Request, content: Content) -> None:
    """Answer a GET or HEAD with the content, or the parts of it that are asked for.

    Raises PreconditionFailed and BadRange before anything is sent, and whatever the source raises.
    """
    headers = {
        name: value
        for name in _CONDITIONS
        if (value := request.header(name.encode("ascii"))) is not None
    }
    outcome = evaluate(headers, content.etag, content.last_modified) if headers else Outcome.SEND
    if outcome is Outcome.FAILED:
        raise PreconditionFailed(head=content.etag.strip('"'))
    _describe(request, content)
    if outcome is Outcome.NOT_MODIFIED:
        request.respond(304, b"", None)
        return
    spans = _asked(request, content)
    _describe_bytes(request, content)
    if spans is None:
        await _send(request, 200, [(b"", Span(0, content.size))], content, b"")
    elif len(spans) == 1:
        request.setHeader(b"Content-Range", _content_range(spans[0], content.size))
        await _send(request, 206, [(b"", spans[0])], content, b"")
    else:
        boundary = b"minibox-" + request.request_id.encode()
        inner = media_type(content.content_type).encode()
        pieces = [
            (
                b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
                % (boundary, inner, _content_range(span, content.size)),
                span,
            )
            for span in spans
        ]
        request.setHeader(b"Content-Type", b"multipart/byteranges; boundary=" + boundary)
        await _send(request, 206, pieces, content, b"\r\n--%b--\r\n" % boundary)


def _asked(request: Request, content: Content) -> list[Span] | None:
    header = request.header(b"Range")
    if header is None or request.method != b"GET":
        return None
    if not range_holds(request.header(b"If-Range"), content.etag, content.last_modified):
        return None
    return parse_range(header, content.size)


def _describe(request: Request, content: Content) -> None:
    request.setHeader(b"ETag", content.etag.encode("latin-1", "replace"))
    request.setHeader(b"Last-Modified", datetimeToString(content.last_modified))
    if not request.responseHeaders.hasHeader(b"Cache-Control"):
        request.setHeader(b"Cache-Control", b"private, no-cache")


def _describe_bytes(request: Request, content: Content) -> None:
    request.setHeader(b"Accept-Ranges", b"bytes")
    request.setHeader(b"Content-Type", media_type(content.content_type).encode())
    request.setHeader(b"Content-Disposition", disposition(content.filename, content.shown))
    # Users' files never run in the application's origin.
    request.setHeader(b"Content-Security-Policy", b"sandbox")


def _content_range(span: Span, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (span.start, span.stop - 1, size)


async def _send(
    request: Request,
    status: int,
    pieces: list[tuple[bytes, Span]],
    content: Content,
    ending: bytes,
) -> None:
    length = sum(len(before) + span.length for before, span in pieces) + len(ending)
    if request.method == b"HEAD":
        request.setResponseCode(status)
        request.setHeader(b"Content-Length", b"%d" % length)
        request.write(b"")
        request.finish()
        return
    for before, span in pieces:
        await _send_span(request, status, length, before, span, content.source)
    if not request.startedWriting:
        _begin(request, status, length)
    if ending:
        request.write(ending)
    if not request.is_gone:
        request.finish()


def _begin(request: Request, status: int, length: int) -> None:
    request.setResponseCode(status)
    request.setHeader(b"Content-Length", b"%d" % length)


async def _send_span(
    request: Request, status: int, length: int, before: bytes, span: Span, source: Source
) -> None:
    if not span.length:
        return
    left = span.length
    async with aclosing(source(span.start, span.stop)) as parts:
        async for part in parts:
            left -= len(part)
            if left < 0:
                raise ContentCut
            if not request.startedWriting:
                _begin(request, status, length)
            if before:
                request.write(before)
                before = b""
            request.write(part)
            await request.writable()
    if left:
        raise ContentCut
