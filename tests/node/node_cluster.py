"""Nodes as they run in production, in one simulated world, with a coordinator that only answers."""

from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred, DeferredList

from minibox.chunk import ChunkRef, chunk_id
from minibox.config import parse_config
from minibox.credentials import Capabilities, Receipts, Secret, derived_key
from minibox.errors import Starting
from minibox.node.service import Storage, start_node
from minibox.node_api import (
    DAMAGE,
    FETCH,
    GET,
    HEARTBEAT,
    PUT,
    RECEIPTS,
    Damage,
    Fetch,
    Get,
    GetAnswer,
    Heartbeat,
    HeartbeatAnswer,
    Nothing,
    Order,
    PeerStatus,
    Put,
    PutAnswer,
)
from minibox.node_api import Receipts as ReceiptsMessage
from minibox.rpc import Dialer, Identity, Method, Reply, serve
from minibox.simulation import Simulation
from minibox.simulation.disk import SimulatedDisk
from minibox.store import MemoryDisk, MemoryStore

CLUSTER_KEY = Secret(b"k" * 32)
COORDINATOR = "tcp:8001:interface=127.0.0.1"
UPLOAD = 77


def listen_of(number):
    return f"tcp:{8100 + number}:interface=127.0.0.1"


def config_of(nodes):
    lines = [
        f"cluster: {{name: test, replicas: {min(3, nodes)}, ack: 1}}",
        f'coordinator: {{cluster: "{COORDINATOR}"}}',
        "nodes:",
    ]
    lines += [
        f'  n{number}: {{listen: "{listen_of(number)}", data: [n{number}], reserve_bytes: 1MiB}}'
        for number in range(1, nodes + 1)
    ]
    return parse_config("\n".join(lines), Path("/simulated/cluster.yaml"), {})


class Coordinator:
    """Answers heartbeats and remembers what it was told."""

    def __init__(self, simulation, nodes):
        self.term, self.id, self.sequence = 1, b"first", 100
        self.answers = True
        self.hears_reports = True
        self.states = {}
        self.beats = []
        self.late = []
        self.damage = []
        self._nodes = nodes
        self.world = simulation.world("coordinator")
        self._clock = self.world.clock
        methods = [
            Method(HEARTBEAT, Heartbeat, self._heartbeat, ("node",)),
            Method(RECEIPTS, ReceiptsMessage, self._receipts, ("node",)),
            Method(DAMAGE, Damage, self._damage, ("node",)),
        ]
        key = derived_key(CLUSTER_KEY, "handshake")
        identity = Identity("coordinator", "coordinator")
        simulation.run(serve(self.world, COORDINATOR, identity, key, methods, cluster="test"))

    @property
    def seconds(self):
        return int(self._clock.seconds()) + 1000

    def order(self, sequence=None):
        return Order(self.term, self.id, self.sequence if sequence is None else sequence)

    async def _heartbeat(self, _caller, beat, _body):
        self.beats.append(beat)
        if not self.answers:
            raise Starting
        peers = tuple(
            PeerStatus(f"n{number}", listen_of(number), self.states.get(f"n{number}", "up"))
            for number in range(1, self._nodes + 1)
        )
        return Reply(HeartbeatAnswer(self.order(), self.seconds, 1, peers))

    async def _receipts(self, _caller, message, _body):
        if not self.hears_reports:
            raise Starting
        self.late.extend(message.receipts)
        return Reply(Nothing())

    async def _damage(self, _caller, message, _body):
        if not self.hears_reports:
            raise Starting
        self.damage.extend((message.node, chunk) for chunk in message.chunks)
        return Reply(Nothing())


class Cluster:
    """``nodes`` nodes; the first is asked by default."""

    def __init__(self, nodes=1, seed=1):
        self.simulation = Simulation(seed)
        self.config = config_of(nodes)
        self.coordinator = Coordinator(self.simulation, nodes)
        self.disks = {name: SimulatedDisk(Random(seed)) for name in self.config.nodes}
        self.rows = {name: MemoryDisk(Random(seed)) for name in self.config.nodes}
        self.nodes = {}
        self.capabilities = Capabilities(derived_key(CLUSTER_KEY, "capability"))
        self.receipts = Receipts(derived_key(CLUSTER_KEY, "receipt"))
        self._client = self.simulation.world("client")
        self._dialers = {}
        for name in self.config.nodes:
            self.start(name)
        self.advance(1.5)

    def start(self, name):
        world = self.simulation.world(name)

        def open_index(_path):
            async def opened(*, anew):
                if anew:
                    self.rows[name] = MemoryDisk(Random(1))
                return MemoryStore(world, self.rows[name])

            return opened

        storage = Storage(lambda _path: self.disks[name].attach(), open_index)
        starting = start_node(world, self.config, name, CLUSTER_KEY, storage)
        self.nodes[name] = self.simulation.run(starting)

    def crash(self, name):
        self.simulation.crash(name)
        self.disks[name].crash()
        self.rows[name].crash()

    def advance(self, seconds):
        self.simulation.clock.advance(seconds)

    def fence(self):
        """The coordinator falls silent until no node has a fresh answer."""
        self.coordinator.answers = False
        self.advance(12)

    # Calls, from a client, from the coordinator or from a node

    def calling(self, role, method, message, answer, body=(), node="n1"):
        if (role, node) not in self._dialers:
            key = None if role == "guest" else derived_key(CLUSTER_KEY, "handshake")
            listen = self.config.nodes[node].listen
            self._dialers[role, node] = Dialer(
                self._client, listen, Identity(role, "tester"), key, expected_name=node
            )
        dialer = self._dialers[role, node]
        return Deferred.fromCoroutine(dialer.call(method, message, answer, body, deadline=60))

    def call(self, *args, **kw):
        return self.simulation.run(self.calling(*args, **kw))

    def capability(self, verb, chunk, scope=UPLOAD, sequence=100, life_seconds=60):
        expires = self.coordinator.seconds + life_seconds
        return self.capabilities.issue(verb, chunk.id, chunk.length, scope, sequence, expires)

    def put_message(self, contents, spread=(), copies=1, ack=1, sequence=100):
        allowed = [self.capability("put", ref(each), sequence=sequence) for each in contents]
        return Put(UPLOAD, tuple(allowed), tuple(spread for _ in contents), copies, ack)

    def putting(self, *contents, node="n1", **kw):
        message = self.put_message(contents, **kw)
        return self.calling("guest", PUT, message, PutAnswer, contents, node=node)

    def put(self, *contents, **kw):
        return self.simulation.run(self.putting(*contents, **kw)).message.receipts

    def put_everywhere(self, *contents):
        others = tuple(name for name in self.config.nodes if name != "n1")
        count = len(self.config.nodes)
        return self.put(*contents, spread=others, copies=count, ack=count)

    def get(self, *contents, node="n1"):
        message = Get(tuple(self.capability("get", ref(each)) for each in contents))
        return self.call("guest", GET, message, GetAnswer, node=node)

    def fetch(self, content, node="n1"):
        return self.call("coordinator", FETCH, Fetch((ref(content),)), GetAnswer, node=node)

    def rot(self, name, content):
        """Flip a bit of the copy on ``name``."""
        disk = self.disks[name]
        for file in disk.names():
            at = disk.content(file).find(content)
            if at >= 0 and file.endswith(".vol"):
                disk.flip(file, at + len(content) // 2, 1)
                return
        raise AssertionError("no copy to rot")


def ref(content):
    return ChunkRef(chunk_id(content), len(content))


def held_by(receipts):
    return [receipt.node for receipt in receipts]


def outcome(simulation, calling):
    """What it came to: the answer or the exception."""
    [(_, result)] = simulation.run(DeferredList([calling], consumeErrors=True))
    return getattr(result, "value", result)
