"""The data plane: what anyone asks a node, and what a node asks the coordinator.

Messages, method names and limits, written once for both sides. A call is one frame with a message
as its header's arguments and raw chunk bytes as its body; so is its answer.
"""

from typing import Literal

from minibox.capability import Capability as Capability  # noqa: PLC0414  words of this protocol,
from minibox.capability import Receipt as Receipt  # noqa: PLC0414  defined on the lowest floor
from minibox.chunk import ChunkId, ChunkRef
from minibox.codec import Record

MAX_CHUNKS_PER_CALL = 64
MAX_BODY_BYTES = 16 * 1024 * 1024
"""A put or get names at most this many chunk bytes."""

# What nodes offer: to anyone who shows capabilities …
PUT = "put"
GET = "get"
# … to peers and the coordinator …
REPLICATE = "replicate"
FETCH = "fetch"
# … and to the coordinator alone.
HOLDS = "holds"
VERIFY = "verify"
PULL = "pull"
DELETE = "delete"
# What the coordinator offers to nodes.
HEARTBEAT = "heartbeat"
RECEIPTS = "receipts"
DAMAGE = "damage"


class Put(Record, frozen=True):
    """Store these chunks, whose bytes are the body end to end, and hand them to peers.

    ``spread[i]`` names the nodes for chunk i in order of preference without the receiver; the
    receiver sends to the first ``copies - 1`` that take it, going down the list when one does not.
    It answers when it and its peers have made ``ack`` receipts for each chunk.
    """

    kind = "put"
    upload: int
    capabilities: tuple[Capability, ...]
    spread: tuple[tuple[str, ...], ...]
    copies: int
    ack: int


class PutAnswer(Record, frozen=True):
    """Receipts that were made in time; at least ``ack`` for each chunk, its own first."""

    kind = "putanswer"
    receipts: tuple[Receipt, ...]


class Replicate(Record, frozen=True):
    """From a node to a peer: keep these chunks too. ``crcs`` are CRC-32 of each chunk's bytes."""

    kind = "replicate"
    upload: int
    chunks: tuple[ChunkRef, ...]
    sequences: tuple[int, ...]
    crcs: tuple[int, ...]


class Get(Record, frozen=True):
    """Give these chunks. The answer's body is those that are held, end to end."""

    kind = "get"
    capabilities: tuple[Capability, ...]


class Fetch(Record, frozen=True):
    """The same for callers that have proved the cluster key: no capabilities needed."""

    kind = "fetch"
    chunks: tuple[ChunkRef, ...]


class GetAnswer(Record, frozen=True):
    """For each chunk asked whether its bytes are in the body, or why not."""

    kind = "getanswer"
    found: tuple[Literal["here", "not_held", "damaged"], ...]


class Holds(Record, frozen=True):
    """Which of these came under ``upload`` and are durable? Fresh receipts for it come back."""

    kind = "holds"
    upload: int
    chunks: tuple[ChunkRef, ...]


class Receipts(Record, frozen=True):
    """Receipts: the answer to Holds, and what nodes report late."""

    kind = "receipts"
    receipts: tuple[Receipt, ...]


class Verify(Record, frozen=True):
    """Reread these chunks against their ids; bad copies go to quarantine."""

    kind = "verify"
    chunks: tuple[ChunkId, ...]


class VerifyAnswer(Record, frozen=True):
    """What was found of each."""

    kind = "verifyanswer"
    found: tuple[Literal["good", "not_held", "damaged"], ...]


class Order(Record, frozen=True):
    """Who orders: nodes obey no lower (term, sequence) than they have obeyed, and one id a term."""

    kind = "order"
    term: int
    coordinator: bytes
    sequence: int


class Pull(Record, frozen=True):
    """Fetch this chunk from one of ``sources``, keep it durably, answer with the receipt."""

    kind = "pull"
    order: Order
    chunk: ChunkRef
    sources: tuple[str, ...]


class Delete(Record, frozen=True):
    """Remove these chunks, unless one was put under a sequence of at least the order's."""

    kind = "delete"
    order: Order
    chunks: tuple[ChunkId, ...]


class DeleteAnswer(Record, frozen=True):
    """For each: gone (or never here), or refused because it was put again later."""

    kind = "deleteanswer"
    gone: tuple[bool, ...]


class DiskStatus(Record, frozen=True):
    """One data directory in a heartbeat: bytes, and whether it takes writes."""

    kind = "disk"
    id: bytes
    total: int
    free: int
    used: int
    chunks: int
    takes_writes: bool


class Heartbeat(Record, frozen=True):
    """A node's word that it lives. ``boot`` is drawn anew at each start of the node."""

    kind = "heartbeat"
    node: str
    boot: int
    count: int
    disks: tuple[DiskStatus, ...]
    layout: int
    term: int
    sequence: int


class PeerStatus(Record, frozen=True):
    """Where another node listens (a Twisted server endpoint string), and its state."""

    kind = "peer"
    node: str
    listen: str
    state: Literal["up", "suspect", "down", "lost", "removed"]


class HeartbeatAnswer(Record, frozen=True):
    """The coordinator's answer: who orders now, its time, and the peers."""

    kind = "heartbeatanswer"
    order: Order
    seconds: int
    layout: int
    peers: tuple[PeerStatus, ...]


class Damage(Record, frozen=True):
    """A node reports chunks whose copy it found bad and put into quarantine."""

    kind = "damage"
    node: str
    chunks: tuple[ChunkId, ...]


class Nothing(Record, frozen=True):
    """The answer that says only: done."""

    kind = "nothing"
