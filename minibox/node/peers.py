"""The address book: where the coordinator last said that the other nodes are; calling them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from twisted.logger import Logger

from minibox.chunk import ChunkRef
from minibox.codec import R, Record
from minibox.errors import BadReceipt, CallTimeout, ChunkDamaged, ChunkNotHeld, Unreachable
from minibox.node.batch import Incoming
from minibox.node_api import (
    FETCH,
    REPLICATE,
    Fetch,
    GetAnswer,
    PeerStatus,
    Receipt,
    Receipts,
    Replicate,
)
from minibox.rpc import Answer, Body, Part
from minibox.world import Clock

CALL_SECONDS = 5.0
SLOWEST_BYTES_PER_SECOND = 1024 * 1024
"""A call with a large body may take longer, by this."""

AVOIDED_SECONDS = 10.0
"""So long a peer that did not answer is asked after all others: until then it is down or back."""

_log = Logger()


class Caller(Protocol):
    """A way to call one other process: ``minibox.rpc.Dialer``."""

    async def call(
        self,
        method: str,
        message: Record,
        answer: type[R],
        body: Sequence[Part] = (),
        *,
        deadline: float,
    ) -> Answer[R]:
        """Raises the Failure that the other side raised, CallTimeout or Unreachable."""

    async def close(self) -> None:
        """End it."""


class Peers:
    """The other nodes. ``dial`` makes the way to one, from its name and where it listens."""

    def __init__(self, clock: Clock, node: str, dial: Callable[[str, str], Caller]) -> None:
        self._clock = clock
        self._node = node
        self._dial = dial
        self._known: dict[str, PeerStatus] = {}
        self._callers: dict[str, Caller] = {}
        self._silent_until: dict[str, float] = {}

    async def learn(self, peers: Iterable[PeerStatus]) -> None:
        """Replace the book. The ways to nodes that moved or are gone end."""
        known = {peer.node: peer for peer in peers if peer.node != self._node}
        ended = [
            node
            for node in self._callers
            if node not in known or known[node].listen != self._known[node].listen
        ]
        self._known = known
        for node in ended:
            await self._callers.pop(node).close()

    def in_order(self, nodes: Sequence[str]) -> list[str]:
        """``nodes`` in the order in which to ask them: those that are known not to answer last.

        Without this node and those that the coordinator doesn't name; twins count once.
        """
        now = self._clock.seconds()

        def is_doubtful(node: str) -> bool:
            is_gone = self._known[node].state in ("down", "lost")
            return is_gone or self._silent_until.get(node, now) > now

        usable = [
            node
            for node in dict.fromkeys(nodes)
            if node in self._known and self._known[node].state != "removed"
        ]
        return sorted(usable, key=is_doubtful)

    async def replicate(
        self, node: str, upload: int, items: Sequence[Incoming]
    ) -> tuple[Receipt, ...]:
        """Have ``node`` keep these chunks; its receipts in their order.

        Raises what its store raises, NodeFenced, Unreachable, CallTimeout, BadReceipt.
        """
        message = Replicate(
            upload=upload,
            chunks=tuple(item.chunk for item in items),
            sequences=tuple(item.sequence for item in items),
            crcs=tuple(item.crc for item in items),
        )
        parts: list[Part] = [part for item in items for part in item.parts]  # type: ignore[misc]
        length = sum(item.chunk.length for item in items)
        answer = await self._call(node, REPLICATE, message, Receipts, length, parts)
        receipts = answer.message.receipts
        expected = [(item.chunk.id, item.chunk.length, node, upload) for item in items]
        if [(each.chunk, each.length, each.node, each.upload) for each in receipts] != expected:
            raise BadReceipt
        return receipts

    async def fetch(self, node: str, chunk: ChunkRef) -> Body:
        """The chunk's bytes as ``node`` has them, not verified yet.

        Raises ChunkNotHeld, ChunkDamaged, Unreachable, CallTimeout.
        """
        answer = await self._call(node, FETCH, Fetch((chunk,)), GetAnswer, chunk.length)
        match answer.message.found:
            case ("here",):
                return answer.body
            case ("damaged",):
                raise ChunkDamaged(chunk=chunk.id.hex())
            case _:
                raise ChunkNotHeld(chunk=chunk.id.hex())

    async def stop(self) -> None:
        """End all ways; calls that run fail with Unreachable."""
        callers, self._callers, self._known = self._callers, {}, {}
        for caller in callers.values():
            await caller.close()

    async def _call(
        self,
        node: str,
        method: str,
        message: Record,
        answer: type[R],
        length: int,
        body: Sequence[Part] = (),
    ) -> Answer[R]:
        caller = self._caller(node)
        deadline = CALL_SECONDS + length / SLOWEST_BYTES_PER_SECOND
        try:
            return await caller.call(method, message, answer, body, deadline=deadline)
        except (Unreachable, CallTimeout):
            self._silent_until[node] = self._clock.seconds() + AVOIDED_SECONDS
            raise

    def _caller(self, node: str) -> Caller:
        caller = self._callers.get(node)
        if caller is None:
            peer = self._known.get(node)
            if peer is None:
                raise Unreachable(peer=node, reason="the coordinator has not named it")
            try:
                caller = self._callers[node] = self._dial(node, peer.listen)
            except ValueError as problem:  # an endpoint string of a kind that is not known here
                raise Unreachable(peer=node, reason=str(problem)) from problem
        return caller
