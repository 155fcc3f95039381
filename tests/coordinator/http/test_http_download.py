import pytest
from http_door import Door, request
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from minibox.coordinator.http.conditions import Outcome, evaluate, matches, range_holds
from minibox.coordinator.http.disposition import disposition, media_type
from minibox.coordinator.http.download import Content, serve_content
from minibox.coordinator.http.ranges import Span, parse_range
from minibox.errors import BadRange, ContentDamaged
from minibox.http_api.route import Route

BYTES = bytes(range(256)) * 40
ETAG = '"f_1.3"'
MODIFIED = 1_690_000_000
DATE = "Sat, 22 Jul 2023 04:26:40 GMT"

DOWNLOAD = Route(
    name="download",
    method="GET",
    path="/api/files/{file_id}/download",
    summary="The bytes",
    access="anyone",
)


class Shelf:
    """A source whose parts can be held up, that can fail, and that notes when it is closed."""

    def __init__(self):
        self.gate = None
        self.fail_at = None
        self.short = False
        self.asked = []
        self.closed = 0
        self.filename = 'naïve "file".txt'
        self.content_type = "text/html"

    def source(self, start, stop):
        self.kept = self.parts(start, stop)  # else the collector would close it for us
        return self.kept

    async def parts(self, start, stop):
        self.asked.append((start, stop))
        try:
            for at in range(start, stop, 1000):
                if self.gate is not None:
                    await self.gate
                if self.fail_at is not None and at >= self.fail_at:
                    raise ContentDamaged(path="/a")
                if self.short and at > start:
                    return
                part = BYTES[at : min(at + 1000, stop)]
                yield part
        finally:
            self.closed += 1

    async def download(self, call):
        content = Content(
            size=len(BYTES),
            etag=ETAG,
            content_type=self.content_type,
            filename=self.filename,
            last_modified=MODIFIED,
            source=self.source,
        )
        await serve_content(call.request, content)


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def connection(clock, shelf):
    return Door(clock, [(DOWNLOAD, shelf.download)]).connect()


def get(connection, method="GET", **headers):
    return connection.ask(method, "/api/files/f_1/download", **headers)


def test_the_whole_content_comes_with_its_description(connection, shelf):
    answer = get(connection)
    assert (answer.status, answer.body) == (200, BYTES)
    assert answer.headers["etag"] == ETAG
    assert answer.headers["last-modified"] == DATE
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"na_ve _file_.txt\"; filename*=UTF-8''na%C3%AFve%20%22file%22.txt"
    )
    assert shelf.closed == 1


def test_head_reads_nothing(connection, shelf):
    answer = get(connection, "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(BYTES))
    assert shelf.asked == []


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=10000-", 10000, 10240),
        ("bytes=-1", 10239, 10240),
        ("bytes=-99999999", 0, 10240),
        ("bytes=10239-99999999999", 10239, 10240),
        ("bytes=20000-, 3-4", 3, 5),
    ],
)
def test_a_range_is_a_206(connection, shelf, asked, start, stop):
    answer = get(connection, Range=asked)
    assert (answer.status, answer.body) == (206, BYTES[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/10240"
    assert shelf.asked == [(start, stop)]


def test_several_ranges_are_one_multipart(connection):
    answer = get(connection, Range="bytes=0-4, 100-101,-3")
    assert answer.status == 206
    media, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert media == "multipart/byteranges"
    parts = answer.body.split(b"\r\n--" + boundary.encode())
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    assert [part.partition(b"\r\n\r\n")[2] for part in parts[1:-1]] == [
        BYTES[:5],
        BYTES[100:102],
        BYTES[-3:],
    ]
    assert b"Content-Range: bytes 100-101/10240" in parts[2]


def test_ranges_beyond_the_end_are_a_416(connection):
    answer = get(connection, Range="bytes=10240-")
    assert (answer.status, answer.json["code"]) == (416, "bad_range")
    assert answer.headers["content-range"] == "bytes */10240"
    assert "content-disposition" not in answer.headers


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=",
        "bytes=a-b",
        "bytes=5-3",
        "lines=1-2",
        "bytes 1-2",
        "bytes=" + "0-0," * 20,
        "bytes=-",
    ],
)
def test_ranges_that_make_no_sense_are_ignored(connection, asked):
    assert get(connection, Range=asked).status == 200


def test_overlapping_ranges_never_send_more_than_the_content(connection):
    assert get(connection, Range="bytes=0-,0-,0-").status == 200


def test_an_unchanged_file_is_a_304(connection, shelf):
    for headers in (
        {"If_None_Match": ETAG},
        {"If_None_Match": f'"x", W/{ETAG}'},
        {"If_None_Match": "*"},
        {"If_Modified_Since": DATE},
    ):
        answer = get(connection, **headers)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == ETAG
    assert shelf.asked == []
    assert get(connection, If_None_Match='"f_1.2"', If_Modified_Since=DATE).status == 200
    assert get(connection, If_Modified_Since="nonsense").status == 200


def test_if_match_guards_a_read(connection):
    assert get(connection, If_Match='"f_1.2"').json["code"] == "precondition_failed"
    assert get(connection, If_Match=ETAG).status == 200
    assert get(connection, If_Unmodified_Since="Fri, 21 Jul 2023 00:00:00 GMT").status == 412


def test_if_range_of_another_version_gets_everything(connection):
    assert get(connection, Range="bytes=0-1", If_Range='"f_1.2"').status == 200
    assert get(connection, Range="bytes=0-1", If_Range=ETAG).status == 206
    assert get(connection, Range="bytes=0-1", If_Range=f"W/{ETAG}").status == 200
    assert get(connection, Range="bytes=0-1", If_Range=DATE).status == 206


def test_a_media_type_that_is_none_becomes_octets(connection, shelf):
    shelf.content_type = "text/html\r\nX-Evil: 1"
    assert get(connection).headers["content-type"] == "application/octet-stream"


def test_a_source_that_fails_at_once_is_a_problem(connection, shelf):
    shelf.fail_at = 0
    answer = get(connection)
    assert (answer.status, answer.json["code"]) == (503, "content_damaged")
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"etag", "last-modified", "content-disposition"}.isdisjoint(answer.headers)


def test_a_source_that_fails_midway_cuts_the_connection(connection, shelf):
    shelf.fail_at = 3000
    connection.send(request("GET", "/api/files/f_1/download"))
    assert connection.wire.aborted
    assert connection.wire.value().endswith(BYTES[2000:3000])


def test_a_source_that_ends_early_cuts_the_connection(connection, shelf, caught_bugs):
    shelf.short = True
    connection.send(request("GET", "/api/files/f_1/download"))
    assert connection.wire.aborted
    assert [kind.__name__ for kind in caught_bugs()] == ["ContentCut"]


def test_a_full_client_is_waited_for(connection, shelf):
    shelf.gate = Deferred()
    connection.send(request("GET", "/api/files/f_1/download"))
    connection.wire.fill_up()
    gate, shelf.gate = shelf.gate, None
    gate.callback(None)
    assert len(connection.wire.value()) < 2000
    connection.wire.flush()
    assert connection.answer().body == BYTES


def test_a_client_that_takes_nothing_is_cut(connection, shelf, clock):
    shelf.gate = Deferred()
    connection.send(request("GET", "/api/files/f_1/download"))
    connection.wire.fill_up()
    gate, shelf.gate = shelf.gate, None
    gate.callback(None)
    clock.advance(119)
    assert not connection.wire.aborted
    clock.advance(2)
    assert connection.wire.aborted


@pytest.mark.parametrize("waits_for", ["source", "client"])
def test_a_client_that_leaves_closes_the_source(connection, shelf, waits_for):
    shelf.gate = Deferred()
    connection.send(request("GET", "/api/files/f_1/download"))
    if waits_for == "client":
        connection.wire.fill_up()
        gate, shelf.gate = shelf.gate, None
        gate.callback(None)
    assert shelf.closed == 0
    connection.leave()
    assert shelf.closed == 1


@given(st.text(max_size=40), st.integers(0, 2**40))
def test_any_range_header_is_spans_nothing_or_bad_range(text, size):
    for header in (text, "bytes=" + text):
        try:
            spans = parse_range(header, size)
        except BadRange:
            continue
        assert spans is None or all(0 <= span.start < span.stop <= size for span in spans)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 80))
def test_a_range_is_clipped_to_the_content(first, length, size):
    wanted = list(range(size))[first : first + length + 1]
    try:
        spans = parse_range(f"bytes={first}-{first + length}", size)
    except BadRange:
        spans = []
    assert [list(range(span.start, span.stop)) for span in spans] == ([wanted] if wanted else [])


@given(st.text(max_size=30), st.sampled_from(["if-match", "if-none-match", "if-modified-since"]))
def test_any_condition_has_an_outcome(text, name):
    assert evaluate({name: text}, ETAG, MODIFIED) in Outcome
    assert range_holds(text, ETAG, MODIFIED) in {True, False}


def test_tags_are_compared_whole():
    assert matches('"f_1.3"', ETAG, weak=False)
    assert not matches('"f_1.33", "xf_1.3"', ETAG, weak=False)
    assert not matches("f_1.3", ETAG, weak=False)
    assert not matches(f"W/{ETAG}", ETAG, weak=False)
    assert matches(f"W/{ETAG}", ETAG, weak=True)


@given(st.text(max_size=60))
def test_a_disposition_is_one_ascii_line(filename):
    made = disposition(filename)
    assert made.isascii()
    assert not {10, 13, 0} & set(made)
    assert made.count(b'"') == 2


@given(st.text(max_size=30))
def test_a_media_type_is_one_ascii_line(declared):
    assert media_type(declared).isascii()
    assert media_type(declared).isprintable()


def test_spans_know_their_length():
    assert Span(3, 10).length == 7
