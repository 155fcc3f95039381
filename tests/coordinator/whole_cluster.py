"""A whole cluster in one simulated world, and people who ask it over raw HTTP connections."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from minibox.config import parse_config
from minibox.coordinator.service import start_coordinator
from minibox.credentials import Secret
from minibox.node.service import Storage, start_node
from minibox.simulation import Simulation
from minibox.simulation.disk import SimulatedDisk
from minibox.store import MemoryDisk, MemoryStore

CLUSTER_KEY = Secret(b"k" * 32)
HTTP = "tcp:8000:interface=127.0.0.1"
ADMIN_PASSWORD = "the admin's password"
PASSWORD = "correct horse"
BOUNDARY = "xxBOUNDARYxx"


def config_of(nodes, replicas=3, ack=2, **coordinator):
    lines = [
        f"cluster: {{name: test, replicas: {replicas}, ack: {ack}}}",
        "coordinator:",
        f'  http: "{HTTP}"',
        '  cluster: "tcp:8001:interface=127.0.0.1"',
        "  bcrypt_cost: 4",
        *(f"  {name}: {value}" for name, value in coordinator.items()),
        "nodes:",
    ]
    lines += [
        f'  n{each}: {{listen: "tcp:{8100 + each}:interface=127.0.0.1", data: [n{each}], '
        f"reserve_bytes: 1MiB, zone: z{each}}}"
        for each in range(1, nodes + 1)
    ]
    return parse_config("\n".join(lines), Path("/simulated/cluster.yaml"), {})


@dataclass
class Answer:
    """``is_whole`` is False where the connection ended before the announced length."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool = True

    @property
    def json(self):
        return msgspec.json.decode(self.body)

    @property
    def code(self):
        assert self.headers["content-type"] == "application/problem+json", self.body
        problem = self.json
        assert problem["status"] == self.status
        assert problem["detail"]
        assert problem["request_id"]
        return problem["code"]


class Conversation(Protocol):
    """One connection: what came, and when it ended."""

    def __init__(self):
        self.received = b""
        self.ended = Deferred()
        self.has_ended = False

    def dataReceived(self, data):  # noqa: N802
        self.received += data

    def connectionLost(self, _reason):  # noqa: N802
        self.has_ended = True
        self.ended.callback(None)

    def answer(self, *, head=False):
        top, blank, body = self.received.partition(b"\r\n\r\n")
        if not blank:
            return None
        lines = top.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        if status == 100:
            self.received = body
            return self.answer(head=head)
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:])}
        length = 0 if head else int(headers.get("content-length", "0"))
        return Answer(status, headers, body[:length], len(body) >= length)


class Cluster:
    """Coordinator and nodes as in production, over simulated disks."""

    def __init__(self, nodes=3, seed=1, *, start_nodes=True, settle=True, **config):
        self.simulation = Simulation(seed)
        self.config = config_of(nodes, **config)
        self.rows = MemoryDisk(Random(seed))
        self.disks = {name: SimulatedDisk(Random(seed)) for name in self.config.nodes}
        self.indexes = {name: MemoryDisk(Random(seed)) for name in self.config.nodes}
        self.nodes = {}
        self.coordinator = None
        self.people = self.simulation.world("people")
        self.start_coordinator()
        if start_nodes:
            for name in self.config.nodes:
                self.start_node(name)
        if settle:
            self.advance(2.5)

    def start_coordinator(self):
        world = self.simulation.world("coordinator")

        async def open_store():
            return MemoryStore(world, self.rows)

        async def first_password():
            return ADMIN_PASSWORD

        self.coordinator = self.run(
            start_coordinator(world, self.config, CLUSTER_KEY, open_store, first_password)
        )

    def restart_coordinator(self):
        self.simulation.crash("coordinator")
        self.rows.crash()
        self.start_coordinator()
        self.advance(3)

    def start_node(self, name):
        world = self.simulation.world(name)

        def open_index(_path):
            async def opened(*, anew):
                if anew:
                    self.indexes[name] = MemoryDisk(Random(1))
                return MemoryStore(world, self.indexes[name])

            return opened

        storage = Storage(lambda _path: self.disks[name].attach(), open_index)
        self.nodes[name] = self.run(start_node(world, self.config, name, CLUSTER_KEY, storage))

    def crash_node(self, name):
        self.simulation.crash(name)
        self.disks[name].crash()
        self.indexes[name].crash()

    def run(self, awaitable):
        return self.simulation.run(awaitable)

    def advance(self, seconds):
        self.simulation.clock.advance(seconds)

    def until(self, condition, limit_seconds=120, step_seconds=0.05):
        until = self.simulation.clock.seconds() + limit_seconds
        while not condition():
            assert self.simulation.clock.seconds() < until, "it never came about"
            self.advance(step_seconds)

    @property
    def store(self):
        return self.coordinator.store

    def read(self, function):
        return self.store.read(function)

    def write(self, function):
        return self.run(self.store.write(function))

    def rot(self, name, content):
        """Flip a bit of the copy of ``content`` on ``name``."""
        disk = self.disks[name]
        for file in disk.names():
            at = disk.content(file).find(content)
            if at >= 0 and file.endswith(".vol"):
                disk.flip(file, at + len(content) // 2, 1)
                return
        raise AssertionError("no copy to rot")

    def holding(self, content):
        return [
            name
            for name, disk in self.disks.items()
            if any(content in disk.content(file) for file in disk.names() if file.endswith(".vol"))
        ]

    # HTTP

    def connect(self):
        endpoint = self.people.endpoints.to_connect(HTTP)
        return self.run(endpoint.connect(Factory.forProtocol(Conversation)))

    def begin(self, method, target, body=b"", headers=None, *, send=True):
        """A request under way; ``send=False`` keeps the body back."""
        conversation = self.connect()
        given = {"Host": "box", "Connection": "close", **(headers or {})}
        if body and "Transfer-Encoding" not in given:
            given.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in given.items()]
        conversation.transport.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        if body and send:
            conversation.transport.write(body)
        return conversation

    def finish(self, conversation, *, head=False):
        self.run(conversation.ended)
        return conversation.answer(head=head)

    def ask(self, method, target, body=b"", headers=None):
        conversation = self.begin(method, target, body, headers)
        return self.finish(conversation, head=method == "HEAD")

    def user(self, name="alice", password=PASSWORD):
        """A new user, logged in."""
        body = msgspec.json.encode({"username": name, "password": password})
        answer = self.ask("POST", "/api/auth/register", body, {"Content-Type": "application/json"})
        assert answer.status == 201, answer.body
        return self.login(name, password)

    def login(self, name, password=PASSWORD):
        body = msgspec.json.encode({"username": name, "password": password})
        answer = self.ask("POST", "/api/auth/login", body, {"Content-Type": "application/json"})
        assert answer.status == 200, answer.body
        return Person(self, answer.json)


class Person:
    """Somebody who is logged in."""

    def __init__(self, cluster, tokens):
        self.cluster = cluster
        self.tokens = tokens

    @property
    def bearer(self):
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}

    @property
    def id(self):
        return self.tokens["user"]["id"]

    def begin(self, method, target, body=b"", headers=None, **kw):
        return self.cluster.begin(method, target, body, {**self.bearer, **(headers or {})}, **kw)

    def ask(self, method, target, body=b"", headers=None):
        return self.cluster.ask(method, target, body, {**self.bearer, **(headers or {})})

    def get(self, target, headers=None):
        return self.ask("GET", target, b"", headers)

    def json(self, method, target, value=None, headers=None):
        body = b"" if value is None else msgspec.json.encode(value)
        typed = {"Content-Type": "application/json"} if body else {}
        return self.ask(method, target, body, {**typed, **(headers or {})})

    def put(self, path, content, headers=None, query=""):
        return self.ask("PUT", f"/api/files/content{path}{query}", content, headers)

    def store(self, path, content):
        answer = self.put(path, content)
        assert answer.status in (200, 201), answer.body
        return answer.json

    def read(self, path):
        answer = self.get(f"/api/files/content{path}")
        assert answer.status == 200, answer.body
        return answer.body

    def upload(self, *parts, headers=None):
        body, typed = form(*parts)
        return self.ask("POST", "/api/files/upload", body, {**typed, **(headers or {})})

    def names(self, path="/"):
        answer = self.get(f"/api/files/list?path={path}")
        assert answer.status == 200, answer.body
        return [each["name"] for each in answer.json["items"]]

    def quota(self):
        return self.get("/api/auth/profile").json["quota"]


def form(*parts):
    """A multipart body. A part is (name, value) or (name, filename, content[, type])."""
    body = b""
    for name, *rest in parts:
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if len(rest) == 1:
            body += b"\r\n\r\n" + rest[0].encode()
        else:
            filename, content, *kind = rest
            body += f'; filename="{filename}"\r\n'.encode()
            body += f"Content-Type: {kind[0] if kind else 'text/plain'}\r\n\r\n".encode() + content
        body += b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
