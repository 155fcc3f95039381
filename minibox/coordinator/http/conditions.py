"""Conditional requests (RFC 9110, section 13): should the content be sent at all? Pure.

Entity tags are given quoted, as they stand in headers.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, auto

_TAG = re.compile(r'(?P<weak>W/)?(?P<opaque>"[\x21\x23-\x7e\x80-\xff]*")')


class Outcome(Enum):
    """What the conditions of a GET or HEAD come to."""

    SEND = auto()
    NOT_MODIFIED = auto()
    FAILED = auto()


def evaluate(headers: Mapping[str, str], etag: str, last_modified: int) -> Outcome:
    """The outcome for a representation. ``headers`` by lower-case name; times in Unix seconds."""
    if (listed := headers.get("if-match")) is not None:
        if not matches(listed, etag, weak=False):
            return Outcome.FAILED
    elif (since := _seconds(headers.get("if-unmodified-since"))) is not None:  # noqa: SIM102
        if last_modified > since:
            return Outcome.FAILED
    if (listed := headers.get("if-none-match")) is not None:
        return Outcome.NOT_MODIFIED if matches(listed, etag, weak=True) else Outcome.SEND
    since = _seconds(headers.get("if-modified-since"))
    return Outcome.NOT_MODIFIED if since is not None and last_modified <= since else Outcome.SEND


def range_holds(if_range: str | None, etag: str, last_modified: int) -> bool:
    """Whether a Range is to be obeyed: If-Range is absent or names this very representation."""
    if if_range is None:
        return True
    if '"' in if_range:
        match = _TAG.fullmatch(if_range.strip())
        return match is not None and not match["weak"] and match["opaque"] == etag
    return _seconds(if_range) == last_modified


def matches(listed: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags, or ``*``, names ``etag``. Weak tags count only if ``weak``."""
    if listed.strip() == "*":
        return True
    return any(
        match["opaque"] == etag and (weak or not match["weak"]) for match in _TAG.finditer(listed)
    )


def _seconds(date: str | None) -> int | None:
    if date is None:
        return None
    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
