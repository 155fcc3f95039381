"""A cluster as its owner runs it: real processes, real sockets, real disks, in a folder."""

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COORDINATOR = "coordinator"
PASSWORD = "a long enough password"
START_SECONDS = 30.0
PATIENCE_SECONDS = 20.0
TURN_SECONDS = 0.02
REFUSED = 1


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)


class RealCluster:
    """Processes by name: ``coordinator``, ``n1``, … Whatever runs at the end is killed."""

    def __init__(self, folder: Path, nodes: int = 3, **coordinator: object) -> None:
        self.folder = folder
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        ports = free_ports(nodes + 2)
        self.http_port, self.cluster_port = ports[:2]
        self.node_ports = dict(zip(self.nodes, ports[2:], strict=True))
        self.file = folder / "cluster.yaml"
        self.file.write_text(self._yaml({"bcrypt_cost": 4, **coordinator}))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._token = ""
        # Children end when this closes, however the tests end.
        self._parent, self._held = os.pipe()

    def _yaml(self, settings):
        replicas = min(3, len(self.nodes))
        lines = [
            f"cluster: {{name: probe, replicas: {replicas}, ack: {min(2, replicas)}}}",
            "coordinator:",
            f'  http: "tcp:{self.http_port}:interface=127.0.0.1"',
            f'  cluster: "tcp:{self.cluster_port}:interface=127.0.0.1"',
            "  data: coordinator",
            *(f"  {name}: {value}" for name, value in settings.items()),
            "nodes:",
        ]
        for name in self.nodes:
            listen = f"tcp:{self.node_ports[name]}:interface=127.0.0.1"
            lines.append(f'  {name}: {{listen: "{listen}", data: [{name}], zone: {name}}}')
        return "\n".join(lines) + "\n"

    # Processes

    def start(self, *names: str, prefix: tuple[str, ...] = ()) -> None:
        """Start these, all at once; returns when each says that it serves."""
        for name in names:
            self._running[name] = self.spawn(name, prefix)
        for name in names:
            await_line(self._running[name], f"ready {'' if name == COORDINATOR else 'node '}{name}")

    def start_all(self) -> None:
        """Start what does not run; returns when the cluster is ready and knows all its nodes."""
        self.start(*(name for name in (COORDINATOR, *self.nodes) if name not in self._running))
        self.await_nodes(len(self.nodes))

    def spawn(self, name: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """A process that nobody waits for."""
        what = ["minibox.coordinator"] if name == COORDINATOR else ["minibox.node", name]
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [
                    *prefix,
                    *(sys.executable, "-m", *what),
                    *("-c", str(self.file), "--parent-pipe", str(self._parent)),
                ],
                cwd=self.folder,
                env=environment(),
                pass_fds=[self._parent],
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def refusal(self, name: str) -> str:
        """Start one that won't: all that it says on stderr."""
        log = self.folder / f"{name}.log"
        before = log.stat().st_size if log.exists() else 0
        process = self.spawn(name)
        try:
            assert process.wait(START_SECONDS) == REFUSED, log.read_text()
        finally:
            _reap(process)
        return log.read_bytes()[before:].decode()

    def signal(self, name: str, number: signal.Signals) -> None:
        self._running[name].send_signal(number)

    def kill(self, *names: str) -> None:
        """kill -9, all at once."""
        gone = [self._running.pop(name) for name in names]
        for process in gone:
            process.kill()
        for process in gone:
            _reap(process)

    def stop(self, name: str) -> int:
        """SIGTERM; the exit code."""
        process = self._running.pop(name)
        process.terminate()
        try:
            return process.wait(START_SECONDS)
        finally:
            _reap(process)

    def close(self) -> None:
        for name in self._running:
            self.signal(name, signal.SIGCONT)
        self.kill(*self._running)
        os.close(self._held)
        os.close(self._parent)

    # What its people see

    def ask(self, method, path, body=None, *, timeout=PATIENCE_SECONDS, **headers) -> Answer:
        """One request of the administrator."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._token:
            given["Authorization"] = f"Bearer {self._token}"
        if body is not None and not isinstance(body, bytes):
            body, given["Content-Type"] = json.dumps(body).encode(), "application/json"
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        ) as connection:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def log_in(self) -> None:
        self._token = ""
        answer = self.ask("POST", "/api/auth/login", {"username": "admin", "password": PASSWORD})
        assert answer.status == http.client.OK, answer.body
        self._token = answer.json()["access_token"]

    def put(self, path: str, content: bytes) -> Answer:
        return self.ask("PUT", f"/api/files/content/{path}", content)

    def get(self, path: str) -> bytes:
        answer = self.ask("GET", f"/api/files/content/{path}")
        assert answer.status == http.client.OK, (path, answer.status, answer.body)
        return answer.body

    # What is waited for

    def await_nodes(self, number: int) -> None:
        """Until the cluster is ready, with this many nodes up."""

        def is_ready():
            answer = self.ask("GET", "/health/ready")
            return answer.status == http.client.OK and answer.json()["nodes_up"] == number

        eventually(is_ready)

    def await_copies(self, copies: int) -> None:
        """Until every chunk has this many and none is in debt."""

        def is_safe():
            found = self.ask("GET", "/api/admin/cluster").json()
            return found["debt"] == 0 and list(found["copies"]) == [str(copies)]

        eventually(is_safe)

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


def environment() -> dict[str, str]:
    """Of a process of the cluster: none of this one's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MINIBOX_")}
    return {**kept, "PYTHONPATH": str(ROOT), "MINIBOX_ADMIN_PASSWORD": PASSWORD}


def free_ports(number: int) -> list[int]:
    """Ports that nobody uses: all are held until all are found."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def await_line(process: subprocess.Popen[bytes], beginning: str) -> str:
    """The line of stdout that begins so; fails when the process ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    descriptor, found = process.stdout.fileno(), b""
    while time.monotonic() < deadline:
        if select.select([descriptor], [], [], deadline - time.monotonic())[0]:
            piece = os.read(descriptor, 4096)
            assert piece, f"it ended with {process.wait()} before {beginning!r}: {found!r}"
            found += piece
            for line in found.decode().splitlines():
                if line.startswith(beginning):
                    return line
    raise AssertionError(f"no {beginning!r} in {START_SECONDS} s: {found!r}")


def eventually(holds, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Ask again and again until it holds."""
    deadline = time.monotonic() + patience_seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {patience_seconds} s"
        select.select([], [], [], TURN_SECONDS)


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    process.stdout.close()
