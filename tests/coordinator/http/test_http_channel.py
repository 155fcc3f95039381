import pytest
from http_door import Door, TurnedClock, request
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

GET = request("GET", "/api/notes/a", Authorization="Bearer ann")


def test_requests_of_one_connection_are_answered_in_order(connection):
    assert [connection.ask("GET", f"/api/notes/{n}", Authorization="x").status for n in "abc"] == [
        200,
        200,
        200,
    ]
    assert not connection.is_closed


def test_pipelined_requests_with_bodies_wait_for_the_one_before(door, connection):
    door.waiting = Deferred()
    put = request("PUT", "/api/content/a", b"x" * 50)
    connection.send(put + put + GET)
    assert connection.answers() == []
    assert door.seen == []
    held, door.waiting = door.waiting, None
    held.callback(None)
    first, second, third = connection.answers()
    assert [first.status, second.status, third.status] == [201, 201, 200]
    assert [entry[0] for entry in door.seen] == ["put", "put", "get"]


@pytest.mark.parametrize("step", [1, 2, 7, 64])
def test_how_the_bytes_are_cut_makes_no_difference(door, step):
    chunked = (
        b"PUT /api/content/c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: t\r\n\r\n"
    )
    sent = request("PUT", "/api/content/b", b"four") + chunked + GET
    connection = door.connect()
    connection.send(*(sent[i : i + step] for i in range(0, len(sent), step)))
    assert [answer.status for answer in connection.answers()] == [201, 201, 200]
    assert door.seen[:2] == [("put", "b", 4), ("put", "c", 6)]


def test_the_handler_runs_before_the_body_has_arrived(door, connection):
    connection.send(b"PUT /api/refuse/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
    assert connection.answer().status == 409
    assert door.seen == [("refused", "a")]


def test_a_slow_handler_makes_the_socket_wait(door, connection):
    door.waiting = Deferred()
    connection.send(b"PUT /api/content/a HTTP/1.1\r\nHost: h\r\nContent-Length: 67108864\r\n\r\n")
    sent = 0
    while connection.wire.producerState == "producing":
        connection.send(bytes(65536))
        sent += 65536
    assert sent <= 2 * 1024 * 1024
    held, door.waiting = door.waiting, None
    held.callback(None)
    assert connection.wire.producerState == "producing"
    while sent < 67108864:
        assert connection.wire.producerState == "producing"
        connection.send(bytes(65536))
        sent += 65536
    assert connection.answer().json == {"size": 67108864}


def test_little_is_taken_before_the_handler_asks(door, connection):
    head = b"POST /api/notes/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n"
    door.site.shortcuts = (lambda _request: True,)  # taken, and never read
    connection.send(head, bytes(65536))
    assert connection.wire.producerState == "paused"


def test_a_small_rest_of_a_refused_body_is_skipped(connection):
    head = b"PUT /api/refuse/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n"
    connection.send(head, b"GET / HTTP/1.1\r\n\r\n" * 10)
    assert connection.answer().status == 409
    connection.send(bytes(820) + GET)
    assert connection.answer().status == 200
    assert not connection.is_closed


@pytest.mark.parametrize("framing", [b"Content-Length: 100000000", b"Transfer-Encoding: chunked"])
def test_a_large_rest_of_a_refused_body_is_never_parsed_as_a_request(door, connection, framing):
    connection.send(b"PUT /api/refuse/a HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n")
    answer = connection.answer()
    assert answer.status == 409
    assert answer.headers["connection"] == "close"
    connection.send(GET * 10)
    assert not connection.is_closed
    for _ in range(70):
        connection.send(bytes(65536))
    assert connection.is_closed
    assert connection.answers() == []
    assert door.seen == [("refused", "a")]


def test_draining_ends_after_a_few_seconds(connection, clock):
    connection.send(b"PUT /api/refuse/a HTTP/1.1\r\nHost: h\r\nContent-Length: 999999\r\n\r\n")
    for _ in range(6):
        connection.send(b"x")
        clock.advance(1)
    assert connection.is_closed


def test_a_byte_a_second_is_cut_after_twenty(connection, clock):
    for _ in range(19):
        connection.send(b"G")
        clock.advance(1)
    assert not connection.is_closed
    connection.send(b"G")
    clock.advance(1)
    assert connection.answer().status == 408
    assert connection.is_closed


def test_an_idle_connection_is_closed_silently(connection, clock):
    connection.send(GET)
    connection.answer()
    clock.advance(60)
    assert not connection.is_closed
    clock.advance(6)
    assert connection.is_closed
    assert connection.wire.value() == b""


def test_a_busy_connection_is_not_idle(connection, clock):
    for _ in range(10):
        connection.send(GET)
        clock.advance(30)
    assert len(connection.answers()) == 10
    assert not connection.is_closed


def test_a_silent_body_is_given_up(connection, clock):
    connection.send(b"PUT /api/content/a HTTP/1.1\r\nHost: h\r\nContent-Length: 9999\r\n\r\nab")
    clock.advance(29)
    assert connection.wire.value() == b""
    clock.advance(2)
    answer = connection.answer()
    assert answer.json["code"] == "request_timeout"
    assert answer.headers["connection"] == "close"
    clock.advance(6)
    assert connection.is_closed


def test_a_json_body_has_a_deadline_as_a_whole(connection, clock):
    head = (
        b"POST /api/notes HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        b"Content-Length: 99999\r\n\r\n"
    )
    connection.send(head)
    for _ in range(61):
        connection.send(b" ")
        clock.advance(1)
    assert connection.answer().status == 408


def test_100_continue_is_said_when_the_handler_reads(connection):
    head = b"PUT /api/content/a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
    connection.send(head + b"Content-Length: 2\r\n\r\n")
    assert connection.wire.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.wire.clear()
    connection.send(b"ab")
    assert connection.answer().status == 201


def test_100_continue_is_not_said_to_a_refused_upload(connection):
    head = b"PUT /api/refuse/a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
    connection.send(head + b"Content-Length: 2\r\n\r\n")
    answer = connection.answer()
    assert answer.status == 409
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/notes/a HTTP/1.1\r\n",
        b"GET /api/notes/a HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
        b"GET /api/notes/a HTTP/1.1\r\nHost: a b\r\n",
        b"GET /api/notes/a HTTP/1.1\r\nHost: a..b\r\n",
        b"GET /api/notes/a HTTP/1.1\r\nHost: %b.com\r\n" % (b"x" * 64),
        b"GET /api/notes/a HTTP/2.0\r\nHost: a\r\n",
        b"GET  /api/notes/a HTTP/1.1\r\nHost: a\r\n",
        b"GET /api/notes/a\r\nHost: a\r\n",
        b"GET api HTTP/1.1\r\nHost: a\r\n",
        b"GET /\x80 HTTP/1.1\r\nHost: a\r\n",
        b"G@T / HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBroken\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nSpaced : x\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 30 + b"\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\n" + b"Transfer-Encoding: chunked\r\n" * 2,
        b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_an_ambiguous_head_is_refused_and_the_connection_closed(door, connection, head):
    connection.send(head + b"\r\n" + GET)
    answer = connection.answer()
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert connection.is_closed
    assert door.seen == []


def test_large_heads_are_refused(door):
    for filler in (b"X: " + b"a" * 40_000 + b"\r\n", b"X: y\r\n" * 200, b"a" * 40_000):
        connection = door.connect()
        connection.send(b"GET / HTTP/1.1\r\nHost: h\r\n" + filler + b"\r\n")
        assert connection.answer().status == 431
        assert connection.is_closed


def test_a_connection_that_is_to_close_closes(connection):
    answer = connection.ask("GET", "/api/notes/a", Authorization="x", Connection="close")
    assert answer.headers["connection"] == "close"
    assert connection.is_closed


def test_old_http_is_answered_and_closed(connection):
    connection.send(b"GET /api/openapi.json HTTP/1.0\r\n\r\n")
    assert connection.answer().status == 200
    assert connection.is_closed


def test_a_full_client_is_sent_no_more_answers(connection):
    connection.wire.fill_up()
    connection.send(GET * 3)
    assert connection.answers() == []
    assert connection.wire.producerState == "paused"
    connection.wire.flush()
    assert len(connection.answers()) == 3
    assert connection.wire.producerState == "producing"


def test_many_pipelined_requests_share_the_reactor(connection, clock):
    connection.send(GET * 100)
    first = len(connection.answers())
    assert first < 100
    clock.pump([0] * 10)
    assert first + len(connection.answers()) == 100


@pytest.mark.parametrize(
    "coded", [b"zz\r\n", b"5\r\nhello!\r\n", b"-5\r\n", b"5" * 2000, b"1 1\r\na\r\n", b"\r\n"]
)
def test_a_broken_chunked_body_is_a_400(door, coded):
    connection = door.connect()
    connection.send(
        b"PUT /api/content/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + coded
    )
    answer = connection.answer()
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert door.seen == []


def test_closing_the_site_lets_requests_finish(door, clock):
    idle, busy, stuck = door.connect(), door.connect(), door.connect()
    door.waiting = Deferred()
    busy.send(GET)
    stuck.send(GET)
    closed = Deferred.fromCoroutine(door.site.close(10))
    assert idle.is_closed
    assert not busy.is_closed
    held, door.waiting = door.waiting, None
    idle.leave()
    held.callback(None)
    assert busy.answer().headers["connection"] == "close"
    busy.leave()
    assert not closed.called
    clock.advance(11)
    stuck.leave()
    assert closed.called
    assert door.site.buildProtocol(None) is None


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [
                    b"GET / HTTP/1.1\r\n",
                    b"PUT /api/content/a%00%ff HTTP/1.1\r\n",
                    b"PUT /api/content/a HTTP/1.1\r\n",
                    b"POST /api/notes HTTP/1.1\r\n",
                    b"OPTIONS * HTTP/1.1\r\n",
                    b"GET http://x/api/notes/a?page=%ff HTTP/1.1\r\n",
                    b"Host: h\r\n",
                    b"Host: \xff\r\n",
                    b"Content-Type: application/json\r\n",
                    b"Transfer-Encoding: chunked\r\n",
                    b"Content-Length: 5\r\n",
                    b"\r\n",
                    b"\r\n\r\n",
                    b"5\r\nhello\r\n",
                    b"0\r\n\r\n",
                    b'{"title": "\\ud800"}',
                ]
            ),
        ),
        max_size=12,
    )
)
def test_no_bytes_cause_a_server_error(pieces):
    clock = TurnedClock()
    connection = Door(clock).connect()
    for piece in pieces:
        if not connection.is_closed:
            connection.send(piece)
    clock.pump([1] * 30)
    for answer in connection.answers():
        assert answer.status < 500
