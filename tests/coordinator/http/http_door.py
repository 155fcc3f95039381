"""One HTTP connection in memory, on a clock that tests turn by hand."""

import random
from dataclasses import dataclass

import msgspec
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure as Reason

from minibox.coordinator.http.call import Reply
from minibox.coordinator.http.openapi import bind_description
from minibox.coordinator.http.routing import Router
from minibox.coordinator.http.site import Site
from minibox.errors import NotFound, Unauthenticated, VersionConflict
from minibox.http_api.route import Route
from minibox.world import World


class TurnedClock(Clock):
    def wall(self):
        return 1_700_000_000.0 + self.seconds()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return msgspec.json.decode(self.body)


def answers_in(received, *, head=False):
    """All responses in the bytes; the bytes must end with the last one."""
    found = []
    while received:
        top, blank, received = received.partition(b"\r\n\r\n")
        assert blank, top
        lines = top.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines[1:])}
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while True:
                size, _, received = received.partition(b"\r\n")
                body += received[: int(size, 16)]
                received = received[int(size, 16) + 2 :]
                if size == b"0":
                    break
        elif not head and status >= 200 and status not in {204, 304}:
            length = int(headers["content-length"])
            assert len(received) >= length, "the response is cut"
            body, received = received[:length], received[length:]
        found.append(Answer(status, headers, body))
    return found


class Wire(StringTransport):
    """A transport that tells a channel to wait, as a full socket would."""

    aborted = False

    def abortConnection(self):  # noqa: N802
        self.aborted = True
        super().abortConnection()

    def fill_up(self):
        self.producer.pauseProducing()

    def flush(self):
        self.producer.resumeProducing()


class Connection:
    def __init__(self, site):
        self.channel = site.buildProtocol(None)
        self.wire = Wire()
        self.channel.makeConnection(self.wire)

    def send(self, *parts):
        for part in parts:
            self.channel.dataReceived(part)
        return self

    def answers(self, *, head=False):
        received = self.wire.value()
        self.wire.clear()
        return answers_in(received, head=head)

    def answer(self, *, head=False):
        (only,) = self.answers(head=head)
        return only

    def ask(self, method, path, body=b"", **headers):
        self.send(request(method, path, body, **headers))
        return self.answer(head=method == "HEAD")

    @property
    def is_closed(self):
        return self.wire.disconnecting or self.wire.aborted

    def leave(self):
        self.channel.connectionLost(Reason(ConnectionDone()))


def request(method, path, body=b"", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: box"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Person(msgspec.Struct, frozen=True):
    name: str
    is_admin: bool = False


class Pages(msgspec.Struct, frozen=True):
    page: int = 1
    since: str | None = msgspec.field(default=None, name="from")
    tag: list[str] = []


class Note(msgspec.Struct, frozen=True):
    title: str
    lines: list[int] = []


class Kept(msgspec.Struct, frozen=True):
    id: str
    title: str


class Upload(msgspec.Struct, frozen=True):
    size: int


GET_NOTE = Route(
    name="get_note",
    method="GET",
    path="/api/notes/{note_id}",
    summary="One note",
    query=Pages,
    answer=Kept,
    failures=(NotFound,),
    tags=("notes",),
)
POST_NOTE = Route(
    name="post_note",
    method="POST",
    path="/api/notes",
    summary="Keep a note",
    body=Note,
    answer=Kept,
    status=201,
    access="anyone",
    tags=("notes",),
)
DELETE_NOTES = Route(
    name="delete_notes", method="DELETE", path="/api/notes", summary="Forget all", access="admin"
)
PUT_CONTENT = Route(
    name="put_content",
    method="PUT",
    path="/api/content/{path:path}",
    summary="Store bytes",
    raw=True,
    answer=Upload,
    status=201,
    access="anyone",
)
REFUSE = Route(
    name="refuse",
    method="PUT",
    path="/api/refuse/{path:path}",
    summary="Refuse bytes",
    raw=True,
    access="anyone",
)
BREAK = Route(
    name="break", method="GET", path="/api/break", summary="A bug", access="anyone", answer=Kept
)
ROUTES = (GET_NOTE, POST_NOTE, DELETE_NOTES, PUT_CONTENT, REFUSE, BREAK)


async def authenticate(asked):
    token = asked.header(b"Authorization")
    if token is None:
        raise Unauthenticated
    return Person(token.removeprefix("Bearer "), is_admin=token.endswith("root"))


class Door:
    """A Site with a few routes; tests may put a Deferred into ``waiting`` to hold handlers up."""

    def __init__(self, clock, extra=()):
        self.clock = clock
        self.seen = []
        self.waiting = None
        self.router = Router(authenticate)
        self.router.bind(GET_NOTE, self.get_note)
        self.router.bind(POST_NOTE, self.post_note)
        self.router.bind(DELETE_NOTES, self.delete_notes)
        self.router.bind(PUT_CONTENT, self.put_content, hot=True)
        self.router.bind(REFUSE, self.refuse, hot=True)
        self.router.bind(BREAK, self.break_down)
        for route, handler in extra:
            self.router.bind(route, handler, hot=True)
        bind_description(self.router)
        generator = random.Random(7)
        world = World(clock, generator.randbytes, None, None)
        self.site = Site(world, self.router.resource(), self.router.shortcuts)

    def connect(self):
        return Connection(self.site)

    async def get_note(self, call):
        self.seen.append(("get", call.params["note_id"], call.query, call.caller.name))
        if self.waiting is not None:
            try:
                await self.waiting
            except BaseException as problem:
                self.seen.append(("stopped", type(problem).__name__))
                raise
        if call.params["note_id"] == "gone":
            raise NotFound(what="note")
        return Kept(id=call.params["note_id"], title="t")

    async def post_note(self, call):
        self.seen.append(("post", call.body))
        if self.waiting is not None:
            await self.waiting
            self.seen.append(("posted", call.body))
        return Reply(Kept(id="n1", title=call.body.title), headers={"ETag": '"n1.1"'})

    async def delete_notes(self, call):
        self.seen.append(("delete", call.caller.name))

    async def put_content(self, call):
        size = 0
        async for piece in call.stream:
            if self.waiting is not None:
                await self.waiting
            size += len(piece)
        self.seen.append(("put", call.params["path"], size))
        return Upload(size)

    async def refuse(self, call):
        self.seen.append(("refused", call.params["path"]))
        raise VersionConflict(head="f_1.2")

    async def break_down(self, _call):
        raise ZeroDivisionError("a bug in a handler")
