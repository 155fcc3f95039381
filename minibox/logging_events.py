"""Logs as events: one line of JSON each, with the event's own fields, and no secret in it."""

import json
from typing import IO, Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from zope.interface import implementer

MAX_TEXT_CHARACTERS = 2000
"""Longer fields are cut: what was sent from outside may be in them."""

_SECRET_WORDS = ("password", "secret", "token", "key", "credential", "authorization", "cookie")
_REDACTED = "•••"


def log_json_lines(stream: IO[str], level: str = "info") -> None:
    """Write all events of at least ``level`` to ``stream``, from now until the process ends."""
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    predicate.setLogLevelForNamespace("log_legacy", LogLevel.warn)  # ports tell that they open
    lines = FilteringLogObserver(JsonLines(stream), [predicate])
    globalLogBeginner.beginLoggingTo([lines], redirectStandardIO=False, discardBuffer=False)


@implementer(ILogObserver)
class JsonLines:
    """A log observer that writes one JSON object a line."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        """Write the event; what can't be said in JSON is said as text."""
        line = json.dumps(as_fields(event), default=_as_text, ensure_ascii=False)
        self._stream.write(line + "\n")
        self._stream.flush()


def as_fields(event: LogEvent) -> dict[str, Any]:
    """What is written of an event: time, level, source, the sentence, then its own fields."""
    fields: dict[str, Any] = {
        "time": round(event.get("log_time", 0.0), 3),
        "level": event["log_level"].name if "log_level" in event else "info",
        "source": event.get("log_namespace", ""),
        "event": formatEvent(_redacted(event))[:MAX_TEXT_CHARACTERS],
    }
    own = {name: value for name, value in event.items() if not _is_twisteds(name)}
    fields.update(_redacted(own))
    if "log_failure" in event:
        fields["traceback"] = event["log_failure"].getTraceback()
    return fields


def _redacted(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _REDACTED if any(word in name for word in _SECRET_WORDS) else value
        for name, value in fields.items()
    }


def _is_twisteds(name: str) -> bool:
    return name.startswith("log_") or name in ("time", "system", "format", "message", "isError")


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()[:MAX_TEXT_CHARACTERS]
    return str(value)[:MAX_TEXT_CHARACTERS]
