"""Logs: one JSON object a line, the event's own fields, no secret."""

import io
import json

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from minibox.credentials import Secret
from minibox.logging_events import MAX_TEXT_CHARACTERS, JsonLines


def lines_of(write):
    stream = io.StringIO()
    write(Logger("minibox.test", observer=JsonLines(stream)))
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_its_own_fields():
    [line] = lines_of(lambda log: log.error("{node} is down\nnow", node="n1", seconds=3.5))
    assert line["event"] == "n1 is down\nnow"
    assert (line["level"], line["source"]) == ("error", "minibox.test")
    assert (line["node"], line["seconds"]) == ("n1", 3.5)
    assert isinstance(line["time"], float)


def test_secrets_are_redacted_by_type_and_by_name():
    stream = io.StringIO()
    log = Logger("minibox.test", observer=JsonLines(stream))
    log.info("{password} {it}", password="hunter2", it=Secret(b"hunter2"), access_token="hunter2")
    assert "hunter2" not in stream.getvalue()


def test_bytes_are_hexadecimal_and_long_texts_are_cut():
    [line] = lines_of(
        lambda log: log.info("got", chunk=b"\x00\xff", problem=ValueError("x" * 9999))
    )
    assert line["chunk"] == "00ff"
    assert len(line["problem"]) == MAX_TEXT_CHARACTERS


def test_a_failure_brings_its_traceback():
    [line] = lines_of(lambda log: log.failure("it broke", Failure(ValueError("why"))))
    assert "ValueError: why" in line["traceback"]
    assert line["level"] == LogLevel.critical.name
