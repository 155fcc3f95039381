"""The Range header (RFC 9110, section 14): text to spans of bytes. Pure."""

import re
from dataclasses import dataclass

from minibox.errors import BadRange

MAX_RANGES = 16
"""More, or ranges that ask for more bytes than there are, get the whole content instead."""

_SPEC = re.compile(r"(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from ``start`` up to and without ``stop``."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes it covers."""
        return self.stop - self.start


def parse_range(header: str, size: int) -> list[Span] | None:
    """The spans of ``size`` bytes that are asked for; None when the header is to be ignored.

    Raises BadRange when it is well-formed and none of its ranges touches the content.
    """
    unit, equals, listed = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    specs = [spec.strip(" \t") for spec in listed.split(",")]
    specs = [spec for spec in specs if spec]
    if not specs or len(specs) > MAX_RANGES:
        return None
    spans: list[Span] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-":
            return None
        first, last = match["first"], match["last"]
        if first and last and int(first) > int(last):
            return None
        span = _span(first, last, size)
        if span.length > 0:
            spans.append(span)
    if not spans:
        raise BadRange(size=size)
    if sum(span.length for span in spans) > size:
        return None
    return spans


def _span(first: str, last: str, size: int) -> Span:
    if not first:
        return Span(max(0, size - int(last)), size)
    stop = min(int(last) + 1, size) if last else size
    return Span(min(int(first), stop), stop)
