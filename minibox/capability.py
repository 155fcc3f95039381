"""The two signed words of the data plane: the right to one chunk, and that a chunk is held.

minibox.credentials signs and checks them; minibox.node_api carries them.
"""

from typing import Literal

from minibox.chunk import ChunkId
from minibox.codec import Record

Verb = Literal["put", "get"]


class Capability(Record, frozen=True):
    """The signed right to put or get one chunk (minibox.credentials makes and checks it).

    ``scope`` is the upload (put) or file version (get) that it was given for; ``sequence`` that of
    the transaction that pinned the chunk; ``expires`` is in coordinator seconds.
    """

    kind = "cap"
    verb: Verb
    chunk: ChunkId
    length: int
    scope: int
    sequence: int
    expires: int
    mac: bytes


class Receipt(Record, frozen=True):
    """A node's signed word that it holds a chunk durably, on the disk that it names."""

    kind = "receipt"
    chunk: ChunkId
    length: int
    node: str
    disk: bytes
    upload: int
    mac: bytes
