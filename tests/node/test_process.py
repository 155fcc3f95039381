"""The node as its owner runs it: one process, real sockets, a real disk, kill -9."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from node_cluster import UPLOAD, ref
from twisted.internet import reactor  # noqa: TID251 - real sockets need the real one
from twisted.internet.task import deferLater

from minibox.chunk import chunk_id
from minibox.credentials import Capabilities, Receipts, Secret, derived_key
from minibox.errors import NodeFenced, Unreachable
from minibox.node_api import (
    GET,
    HEARTBEAT,
    PUT,
    Get,
    GetAnswer,
    Heartbeat,
    HeartbeatAnswer,
    Order,
    Put,
    PutAnswer,
)
from minibox.reactor_world import ReactorEndpoints
from minibox.rpc import Dialer, Identity, Method, Reply, serve
from minibox.simulation.threads import SimulatedThreads
from minibox.world import World

ROOT = Path(__file__).parents[2]
KEY = Secret(bytes(range(32)))
CONTENT = os.urandom(300_000)
FAR = 1_000_000

pytestmark = pytest.mark.probe


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Machine:
    """A directory with a cluster.yaml, and the processes that were started with it."""

    def __init__(self, folder):
        self.folder = folder
        self.port, self.coordinator_port = free_port(), free_port()
        (folder / "cluster.key").touch(0o600)
        (folder / "cluster.key").write_text(KEY.reveal().hex())
        (folder / "cluster.yaml").write_text(
            f"cluster: {{name: probe, replicas: 1, ack: 1}}\n"
            f'coordinator: {{cluster: "tcp:{self.coordinator_port}:interface=127.0.0.1"}}\n'
            f'nodes: {{n1: {{listen: "tcp:{self.port}:interface=127.0.0.1", data: [disk]}}}}\n'
        )
        self._processes = []
        self._open = []

    def start(self, *arguments, node="n1", **more):
        """The process; it has said where it serves, or why not."""
        process = subprocess.Popen(
            [sys.executable, "-m", "minibox.node", node, "-c", "cluster.yaml", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )
        self._processes.append(process)
        return process, process.stdout.readline()

    async def coordinate(self):
        async def answer(_caller, _beat, _body):
            return Reply(HeartbeatAnswer(Order(1, b"probe", 5), 1000, 1, ()))

        listen = f"tcp:{self.coordinator_port}:interface=127.0.0.1"
        methods = [Method(HEARTBEAT, Heartbeat, answer, ("node",))]
        identity = Identity("coordinator", "coordinator")
        key = derived_key(KEY, "handshake")
        self._open.append(await serve(world(), listen, identity, key, methods))

    def client(self):
        listen = f"tcp:{self.port}:interface=127.0.0.1"
        return Dialer(world(), listen, Identity("guest", "laptop"), None, expected_name="n1")

    async def clean(self):
        for process in self._processes:
            process.kill()
            process.communicate()
        for listening in self._open:
            await listening.stop()


def world():
    return World(reactor, os.urandom, ReactorEndpoints(reactor), SimulatedThreads(reactor, None))


def allowed(verb):
    issuer = Capabilities(derived_key(KEY, "capability"))
    return (issuer.issue(verb, *ref_fields(), UPLOAD, 5, FAR),)


def ref_fields():
    return ref(CONTENT).id, ref(CONTENT).length


async def until_unfenced(call):
    """What the call gives once the node has connected and heard from its coordinator."""
    for _ in range(500):
        try:
            return await call()
        except (NodeFenced, Unreachable):
            await deferLater(reactor, 0.01, lambda: None)
    raise AssertionError("the node stays fenced")


@pytest_twisted.ensureDeferred
async def test_what_a_node_acknowledged_outlives_kill_9(tmp_path):
    machine = Machine(tmp_path)
    try:
        await machine.coordinate()
        process, line = machine.start()
        assert line == f"ready node n1 on tcp:127.0.0.1:{machine.port}\n"
        client = machine.client()
        put = Put(UPLOAD, allowed("put"), ((),), 1, 1)
        answer = await until_unfenced(
            lambda: client.call(PUT, put, PutAnswer, [CONTENT], deadline=10)
        )
        [receipt] = answer.message.receipts
        Receipts(derived_key(KEY, "receipt")).check(receipt)
        assert receipt.chunk == chunk_id(CONTENT)
        await client.close()
        process.send_signal(signal.SIGKILL)
        process.wait()

        process, line = machine.start()
        client = machine.client()
        answer = await until_unfenced(
            lambda: client.call(GET, Get(allowed("get")), GetAnswer, deadline=10)
        )
        assert answer.body.join() == CONTENT
        await client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        await machine.clean()


@pytest_twisted.ensureDeferred
async def test_a_node_ends_with_the_pipe_of_its_parent(tmp_path):
    machine = Machine(tmp_path)
    try:
        ours, theirs = os.pipe()[::-1]
        process, line = machine.start("--parent-pipe", str(theirs), pass_fds=[theirs])
        assert line.startswith("ready")
        os.close(theirs)
        os.close(ours)
        assert process.wait(10) == 0
    finally:
        await machine.clean()


@pytest_twisted.ensureDeferred
async def test_what_is_wrong_at_the_start_is_one_line_and_exit_1(tmp_path):
    machine = Machine(tmp_path)
    try:
        process, line = machine.start(node="n9")
        assert (line, process.wait(10)) == ("", 1)
        assert process.stderr.read().splitlines()[0].startswith("minibox: node 'n9': ")

        first, _ = machine.start()
        second, line = machine.start()
        assert (line, second.wait(10)) == ("", 1)
        [said] = [line for line in second.stderr if not line.startswith("{")]
        assert "another process uses it" in said
        first.send_signal(signal.SIGINT)
        assert first.wait(10) == 0
    finally:
        await machine.clean()
