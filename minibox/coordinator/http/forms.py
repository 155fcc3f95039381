"""multipart/form-data, streamed: fields are kept, the file is pulled, nothing is spooled.

Fields may stand before or after the file part; those after it are known once it has been read and
``finish`` has been awaited.
"""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from minibox.coordinator.http.body import HIGH_WATER, Reader
from minibox.errors import MissingFile, TooLarge, TypeNotAllowed, ValidationFailed
from minibox.http_api.headers import FORM, MAX_FIELD_BYTES, MAX_FIELDS

_MAX_BOUNDARY = 70
"""RFC 2046, section 5.1.1."""
_MAX_PART_HEADER = 4096
_END_OF_FORM = b""


@dataclass
class FilePart:
    """The file in a form, read like a body. The end of it is an empty read."""

    name: str
    filename: str
    content_type: str | None
    _form: "Form" = field(repr=False)

    async def read(self, most: int = HIGH_WATER) -> bytes:
        """The next bytes of the file, at least one and at most ``most``; empty at the end."""
        return await self._form.read_file(most)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces as they come."""
        while piece := await self.read():
            yield piece


class Form:
    """One form, read in order. Broken or oversized forms raise ValidationFailed and TooLarge."""

    def __init__(self, body: Reader, content_type: str | None) -> None:
        media_type, options = parse_options_header(content_type or "")
        boundary = options.get("boundary", "")
        if media_type != FORM:
            raise TypeNotAllowed(content_type=content_type or "", expected=FORM)
        if not 0 < len(boundary) <= _MAX_BOUNDARY:
            raise ValidationFailed(field="Content-Type", reason="it names no usable boundary")
        self.fields: dict[str, str] = {}
        """The fields met so far; of several of one name the last."""
        self._body = body
        try:
            self._parser = PushMultipartParser(
                boundary.encode("latin-1", "replace"),
                max_header_size=_MAX_PART_HEADER,
                max_segment_count=MAX_FIELDS,
            )
        except MultipartError as problem:
            raise _refused(problem) from None
        self._events: deque[MultipartSegment | bytes | None] = deque()
        self._in_file = False

    async def file(self, name: str = "file") -> FilePart:
        """The part called ``name``. Fields before it are known then. MissingFile if there is none.

        Parts with a filename and another name are skipped.
        """
        while (event := await self._next_event()) != _END_OF_FORM:
            if not isinstance(event, MultipartSegment):
                continue
            if event.name == name:
                self._in_file = True
                return FilePart(name, event.filename or "", event.content_type, self)
            if event.filename is None:
                await self._keep_field(event)
        raise MissingFile

    async def finish(self) -> None:
        """Read what stands after the file, to the body's end; afterwards all fields are known."""
        while await self.read_file(HIGH_WATER):
            pass
        while (event := await self._next_event()) != _END_OF_FORM:
            if isinstance(event, MultipartSegment) and event.filename is None:
                await self._keep_field(event)

    async def read_file(self, most: int) -> bytes:
        """The next bytes of the file part under way; empty at its end."""
        while self._in_file:
            event = await self._next_event()
            if isinstance(event, bytes) and event:
                if len(event) > most:
                    self._events.appendleft(event[most:])
                    event = event[:most]
                return event
            self._in_file = False
        return b""

    async def _keep_field(self, segment: MultipartSegment) -> None:
        content = bytearray()
        while (event := await self._next_event()) is not None:
            content += event
            if len(content) > MAX_FIELD_BYTES:
                raise TooLarge(limit=MAX_FIELD_BYTES)
        try:
            self.fields[segment.name] = content.decode("utf-8")
        except UnicodeDecodeError:
            raise ValidationFailed(field=segment.name, reason="it is not UTF-8") from None

    async def _next_event(self) -> MultipartSegment | bytes | None:
        """The head of a part, bytes of it, None at its end; _END_OF_FORM once, and ever after."""
        while not self._events:
            if self._parser.closed:
                return _END_OF_FORM
            piece = await self._body.read()
            try:
                self._events.extend(self._parser.parse(piece))
            except MultipartError as problem:
                raise _refused(problem) from None
        return self._events.popleft()


def _refused(problem: MultipartError) -> ValidationFailed | TooLarge:
    if isinstance(problem, ParserLimitReached):
        return TooLarge(limit=MAX_FIELD_BYTES)
    return ValidationFailed(field="body", reason="it is not a well-formed form")
