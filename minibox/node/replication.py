"""Handing the chunks of one put to peers, and gathering receipts until there are enough.

Each chunk goes to the first peers of its list that take it; one that does not is replaced by the
next. The caller is answered with ``ack`` receipts for each chunk, and a moment later if all copies
are made by then; receipts that come after the answer are late and go to the coordinator. Whoever
leaves, what was begun is finished.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from minibox.errors import Failure, NotEnoughNodes
from minibox.node.batch import Incoming
from minibox.node.peers import Peers
from minibox.node_api import Receipt
from minibox.world import Clock

LINGER_SECONDS = 0.005
MAX_BEHIND_BYTES = 16 * 1024 * 1024
"""Chunks that answered puts still send. Above it answers wait until their own are sent."""

_log = Logger()


class Wanted:
    """Which peers each chunk goes to. Pure: told what failed, it names who is next.

    ``candidates[i]`` are the nodes for chunk i, best first; ``copies`` how many of them should end
    up with it. A node that failed once is not asked again.
    """

    def __init__(self, candidates: Sequence[Sequence[str]], copies: int) -> None:
        self._left = [list(reversed(nodes)) for nodes in candidates]
        self._missing = [copies for _ in candidates]
        self._failed: set[str] = set()

    def next_sends(self) -> dict[str, list[int]]:
        """For each node the positions of the chunks to send to it now, in one call."""
        sends: dict[str, list[int]] = {}
        for position, left in enumerate(self._left):
            while self._missing[position] and left:
                node = left.pop()
                if node not in self._failed:
                    self._missing[position] -= 1
                    sends.setdefault(node, []).append(position)
        return sends

    def failed(self, node: str, positions: Sequence[int]) -> None:
        """``node`` did not take these."""
        self._failed.add(node)
        for position in positions:
            self._missing[position] += 1


class Replication:
    """Spreads puts over ``peers``. ``late`` takes the receipts that come after an answer."""

    def __init__(
        self,
        clock: Clock,
        peers: Peers,
        late: Callable[[Sequence[Receipt]], None],
        linger_seconds: float = LINGER_SECONDS,
        max_behind_bytes: int = MAX_BEHIND_BYTES,
    ) -> None:
        self.clock = clock
        self.peers = peers
        self.late = late
        self.linger_seconds = linger_seconds
        self.max_behind_bytes = max_behind_bytes
        self.behind_bytes = 0

    async def spread(
        self,
        upload: int,
        items: Sequence[Incoming],
        candidates: Sequence[Sequence[str]],
        copies: int,
        ack: int,
        own: Coroutine[Deferred[Any], Any, Sequence[Receipt]],
    ) -> tuple[Receipt, ...]:
        """Send ``items`` to peers while ``own``, this node's own copies, is under way.

        At least ``ack`` receipts for each, own ones first. Raises what ``own`` raised, if that
        came before there were enough; NotEnoughNodes. Cancelling stops nothing but the waiting.
        """
        ordered = [self.peers.in_order(nodes) for nodes in candidates]
        put = _Put(self, upload, items, Wanted(ordered, copies - 1), ack)
        put.begin(own)
        return await put.answer


class _Put:
    """One put: what has been sent, the receipts so far, and whether the answer may leave."""

    def __init__(
        self,
        replication: Replication,
        upload: int,
        items: Sequence[Incoming],
        wanted: Wanted,
        ack: int,
    ) -> None:
        self.answer: Deferred[tuple[Receipt, ...]] = Deferred(lambda _: self._leave())
        self._replication = replication
        self._upload = upload
        self._items = items
        self._length = sum(item.chunk.length for item in items)
        self._wanted = wanted
        self._ack = ack
        self._receipts: list[list[Receipt]] = [[] for _ in items]
        self._under_way = [1 for _ in items]  # own copies
        self._running = 1
        self._own_failure: Exception | None = None
        self._linger: IDelayedCall | None = None
        self._is_advancing = False
        self._is_over = False

    def begin(self, own: Coroutine[Deferred[Any], Any, Sequence[Receipt]]) -> None:
        """Send to peers and keep here at the same time."""
        self._advance()
        _run(self._keep(own))

    async def _keep(self, own: Coroutine[Deferred[Any], Any, Sequence[Receipt]]) -> None:
        everything = range(len(self._items))
        try:
            receipts = await own
        except Exception as problem:  # noqa: BLE001  the caller gets it; nobody cancels this
            self._own_failure = problem
            self._ended(everything, ())
        else:
            for gathered, receipt in zip(self._receipts, receipts, strict=True):
                gathered.insert(0, receipt)
            self._ended(everything, receipts)

    async def _send(self, node: str, positions: list[int]) -> None:
        items = [self._items[position] for position in positions]
        try:
            receipts = await self._replication.peers.replicate(node, self._upload, items)
        except Exception as problem:  # noqa: BLE001  another peer is asked; nobody cancels this
            if isinstance(problem, Failure):
                _log.info("{peer} took no copy: {problem}", peer=node, problem=problem)
            else:
                _log.failure("A copy was not handed on", peer=node)
            self._wanted.failed(node, positions)
            self._ended(positions, ())
        else:
            for position, receipt in zip(positions, receipts, strict=True):
                self._receipts[position].append(receipt)
            self._ended(positions, receipts)

    def _ended(self, positions: Sequence[int], receipts: Sequence[Receipt]) -> None:
        self._running -= 1
        for position in positions:
            self._under_way[position] -= 1
        if self._is_over and receipts:
            self._replication.late(receipts)
        self._advance()

    def _advance(self) -> None:
        """Send what is still missing to whoever is next, then see whether the answer may leave.

        A peer that fails at once comes back here: the loop that runs takes it up.
        """
        if self._is_advancing:
            return
        self._is_advancing = True
        while sends := self._wanted.next_sends():
            for node, positions in sends.items():
                self._running += 1
                for position in positions:
                    self._under_way[position] += 1
                _run(self._send(node, positions))
        self._is_advancing = False
        if not self._is_over:
            self._decide()
        elif not self._running:
            self._replication.behind_bytes -= self._length

    def _decide(self) -> None:
        fewest = min(map(len, self._receipts))
        if fewest >= self._ack:
            if not self._running:
                self._say()
            elif self._linger is None:
                self._linger = self._replication.clock.callLater(
                    self._replication.linger_seconds, self._lingered
                )
        elif self._own_failure is not None:
            self._fail(self._own_failure)
        elif not all(self._may_suffice(position) for position in range(len(self._items))):
            self._fail(NotEnoughNodes(needed=self._ack, available=fewest))

    def _may_suffice(self, position: int) -> bool:
        """Whoever can still be asked has been: a peer that fails is replaced at once."""
        return len(self._receipts[position]) + self._under_way[position] >= self._ack

    def _lingered(self) -> None:
        """The last copies take longer; they may, unless too much is still being sent."""
        self._linger = None
        replication = self._replication
        if replication.behind_bytes + self._length <= replication.max_behind_bytes:
            self._say()

    def _say(self) -> None:
        self._end()
        self.answer.callback(tuple(each for gathered in self._receipts for each in gathered))

    def _fail(self, problem: Exception) -> None:
        self._leave()
        self.answer.errback(problem)

    def _leave(self) -> None:
        """Nobody gets these receipts as an answer: the coordinator hears of them."""
        self._end()
        so_far = [each for gathered in self._receipts for each in gathered]
        if so_far:
            self._replication.late(so_far)

    def _end(self) -> None:
        self._is_over = True
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        if self._running:
            self._replication.behind_bytes += self._length


def _run(work: Coroutine[Deferred[Any], Any, None]) -> None:
    """Let it run by itself: whoever waits for the put may leave, this goes on."""
    Deferred.fromCoroutine(work).addErrback(_log_bug)


def _log_bug(failure: TwistedFailure) -> None:
    _log.failure("A put was not finished", failure)
