import contextlib

import pytest
from http_door import Door
from hypothesis import given
from hypothesis import strategies as st

from minibox.coordinator.http.call import Reply
from minibox.coordinator.http.forms import Form
from minibox.errors import Failure
from minibox.http_api.route import Route

UPLOAD = Route(
    name="upload", method="POST", path="/api/upload", summary="A form", form=True, access="anyone"
)
TYPE = "multipart/form-data; boundary=XX"


def field(name, value):
    return b'--XX\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name, value)


def part(name, filename, value):
    return (
        b'--XX\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n'
        b"Content-Type: text/plain\r\n\r\n%b\r\n" % (name, filename, value)
    )


END = b"--XX--\r\n"
CONTENT = b"line\r\n--XY\r\n-" * 5000


class Receiver:
    def __init__(self):
        self.got = []
        self.before = None

    async def upload(self, call):
        form = Form(call.stream, call.content_type)
        file = await form.file()
        self.before = dict(form.fields)
        self.got.append((file.filename, file.content_type, b"".join([x async for x in file])))
        await form.finish()
        return Reply(repr(form.fields).encode())


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def connection(clock, receiver):
    return Door(clock, [(UPLOAD, receiver.upload)]).connect()


def send(connection, body, content_type=TYPE, step=None):
    head = b"POST /api/upload HTTP/1.1\r\nHost: h\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    connection.send(head % (content_type.encode(), len(body)))
    step = step or len(body) or 1
    for at in range(0, len(body), step):
        connection.send(body[at : at + step])
    return connection.answer()


@pytest.mark.parametrize("step", [1000, 4099, None])
def test_fields_may_stand_before_and_after_the_file(connection, receiver, step):
    body = field(b"path", b"/a") + part(b"file", b"n.txt", CONTENT) + field(b"mtime", b"5") + END
    answer = send(connection, body, step=step)
    assert answer.status == 200
    assert answer.body == b"{'path': '/a', 'mtime': '5'}"
    assert receiver.before == {"path": "/a"}
    assert receiver.got == [("n.txt", "text/plain", CONTENT)]
    assert not connection.is_closed


def test_a_form_may_come_a_byte_at_a_time(connection, receiver):
    body = field(b"a", b"b") + part(b"file", b"n", b"\r\n-") + END
    assert send(connection, body, step=1).status == 200
    assert receiver.got == [("n", "text/plain", b"\r\n-")]


def test_an_empty_file_is_a_file(connection, receiver):
    assert send(connection, part(b"file", b"e", b"") + END).status == 200
    assert receiver.got == [("e", "text/plain", b"")]


def test_what_follows_a_form_is_ignored(connection):
    assert send(connection, part(b"file", b"n", b"x") + END + b"z" * 9999, step=100).status == 200
    assert not connection.is_closed


def test_a_form_without_its_file_says_so(connection):
    answer = send(connection, field(b"a", b"b") + part(b"other", b"n", b"x") + END)
    assert (answer.status, answer.json["code"]) == (400, "missing_file")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        part(b"file", b"n", b"cut"),
        part(b"file", b"n", b"cut")[:-9],
        field(b"a", b"\xff") + part(b"file", b"n", b"x") + END,
        b"--XX\r\nno-colon\r\n\r\nx\r\n" + END,
    ],
)
def test_a_broken_form_is_a_400(connection, body):
    assert send(connection, body, step=100).status == 400


def test_large_fields_are_refused(connection):
    assert send(connection, field(b"a", bytes(99_999)) + END).status == 413
    assert send(connection, field(b"a", b"b") * 100 + END).status == 413


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=" + "x" * 99, 400),
        ("multipart/mixed; boundary=XX", 415),
    ],
)
def test_only_forms_are_taken(connection, content_type, status):
    assert send(connection, END, content_type).status == status


class Bytes:
    """A body that is already here."""

    def __init__(self, pieces):
        self.pieces = list(pieces)

    async def read(self, most=0):  # noqa: ARG002
        while self.pieces:
            if piece := self.pieces.pop(0):
                return piece
        return b""

    def __aiter__(self):
        raise NotImplementedError


def run(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=50), st.sampled_from([field(b"a", b"b"), END, b"--XX\r\n", b"\r\n"])
        )
    )
)
def test_any_bytes_are_a_form_or_a_failure(pieces):
    async def read():
        form = Form(Bytes(pieces), TYPE)
        file = await form.file()
        while await file.read(7):
            pass
        await form.finish()

    with contextlib.suppress(Failure):
        run(read())
