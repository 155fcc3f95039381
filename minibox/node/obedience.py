"""What this node has heard from its coordinator, and so what it may do now.

A coordinator is known by its term and its random id. Once a term has been obeyed no lower one is,
and no second id of the same term: of two coordinators that both believe in themselves only one is
heard. A new term must also continue the sequence; one that begins below what was obeyed is that of
a coordinator restored from an older state. Within a term a lower sequence is merely late, and what
it may still do is judged by the sequence of each copy.

The order that holds after any crash: the term and the sequence are durable → then they are obeyed.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from isal.isal_zlib import crc32
from twisted.internet.defer import DeferredLock

from minibox.codec import Record, decode, encode
from minibox.disk import Disk
from minibox.errors import (
    BadRecord,
    DirectoryRefused,
    DiskFull,
    NodeFenced,
    NoRoom,
    StaleOrder,
    StoreStopped,
)
from minibox.node.group_commit import BALLAST
from minibox.node_api import HeartbeatAnswer, Order
from minibox.world import Clock

FRESH_SECONDS = 10.0
"""So long an answer counts, from the moment when the heartbeat was sent that it answers."""

OBEYED = "obeyed"
_CHECKSUM_BYTES = 4


class Obeyed(Record, frozen=True):
    """The highest term and sequence that were obeyed, and whose they were."""

    kind = "obeyed"
    term: int = 0
    coordinator: bytes = b""
    sequence: int = 0

    def covers(self, order: Order) -> bool:
        """Whether nothing new has to be kept before ``order`` is obeyed."""
        return self.term >= order.term and self.sequence >= order.sequence


def obeyed_after(obeyed: Obeyed, order: Order) -> Obeyed:
    """What has been obeyed once ``order`` is. Raises StaleOrder if it must not be."""
    if order.term > obeyed.term:
        if order.sequence < obeyed.sequence:
            raise StaleOrder
        return Obeyed(order.term, order.coordinator, order.sequence)
    if order.term < obeyed.term or order.coordinator != obeyed.coordinator:
        raise StaleOrder
    return Obeyed(obeyed.term, obeyed.coordinator, max(obeyed.sequence, order.sequence))


class _Heard(NamedTuple):
    """The last answer: of which term, when its heartbeat was sent, and the time that it said."""

    term: int
    sent_at: float
    coordinator_seconds: float


class Obedience:
    """Judges orders and answers, and knows whether this node may write.

    ``keep`` makes an Obeyed durable. What was heard is believed at once, before it is durable:
    remembering a term that a crash takes away only refuses more.
    """

    def __init__(
        self,
        clock: Clock,
        node: str,
        obeyed: Obeyed,
        keep: Callable[[Obeyed], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._node = node
        self._obeyed = obeyed
        self._kept = obeyed
        self._keep = keep
        self._keeping = DeferredLock()
        self._heard: _Heard | None = None

    @property
    def obeyed(self) -> Obeyed:
        """The highest that was heard and not refused, for heartbeats."""
        return self._obeyed

    @property
    def is_fenced(self) -> bool:
        """Without a fresh answer from whoever is obeyed: reads only."""
        heard = self._heard
        return (
            heard is None
            or heard.term != self._obeyed.term
            or self._clock.seconds() - heard.sent_at > FRESH_SECONDS
        )

    def check_fresh(self) -> None:
        """Raises NodeFenced unless this node may write and give receipts now."""
        if self.is_fenced:
            raise NodeFenced(node=self._node)

    def coordinator_seconds(self) -> float:
        """The coordinator's time now, or up to one round trip later.

        Raises NodeFenced before its first answer.
        """
        if self._heard is None:
            raise NodeFenced(node=self._node)
        return self._heard.coordinator_seconds + self._clock.seconds() - self._heard.sent_at

    async def hear(self, answer: HeartbeatAnswer, sent_at: float) -> None:
        """Take the answer to a heartbeat that was sent at ``sent_at``.

        A new term is durable before the node takes writes under it. Raises StaleOrder, DiskFull,
        StoreStopped: then nothing is fresher than before.
        """
        order = answer.order
        self._obeyed = obeyed_after(self._obeyed, order)
        if order.term > self._kept.term:
            await self._make_durable(order)
        if order.term != self._obeyed.term:
            raise StaleOrder  # another one was heard while the disk was being written
        heard = _Heard(order.term, sent_at, answer.seconds)
        self._heard = heard if self._heard is None else max(heard, self._heard)

    def check_order(self, order: Order) -> None:
        """Raises StaleOrder, or NodeFenced if whoever orders has not answered lately.

        Enough for orders that remove nothing: the term of one who has answered is durable.
        """
        self._obeyed = obeyed_after(self._obeyed, order)
        self.check_fresh()

    async def obey(self, order: Order) -> None:
        """Returns when ``order`` may be carried out: its sequence is durable too.

        Raises NodeFenced, StaleOrder, DiskFull, StoreStopped.
        """
        self.check_order(order)
        await self._make_durable(order)
        self.check_order(order)

    async def _make_durable(self, order: Order) -> None:
        async with self._keeping:
            if not self._kept.covers(order):
                latest = self._obeyed
                await self._keep(latest)
                self._kept = latest


def read_obeyed(disks: Sequence[Disk]) -> Obeyed:
    """The highest that any of this node's disks remembers; blank if none does. Blocks.

    Raises DirectoryRefused where the only memory of it is damaged: forgetting would make the node
    obey a coordinator of long ago.
    """
    found = [Obeyed()]
    refused: DirectoryRefused | None = None
    for disk in disks:
        content = disk.read_small(OBEYED)
        if content is None:
            continue
        obeyed = _parse(content)
        if obeyed is None:
            refused = DirectoryRefused(
                directory=disk.directory,
                reason=f"its file {OBEYED!r} is damaged; remove it if no coordinator was restored",
            )
        else:
            found.append(obeyed)
    if refused is not None and len(found) == 1:
        raise refused
    return max(found, key=lambda each: (each.term, each.sequence))


def write_obeyed(node: str, disks: Sequence[Disk], obeyed: Obeyed) -> None:
    """Remember ``obeyed``, durably, on every disk that still takes writes. Blocks.

    Deletes need it also on a full disk: there the ballast goes. Raises DiskFull or StoreStopped if
    no disk remembers it.
    """
    packed = encode(obeyed)
    content = crc32(packed).to_bytes(_CHECKSUM_BYTES, "big") + packed
    stopped: StoreStopped | None = None
    is_kept = False
    for disk in disks:
        try:
            is_kept = _written(disk, content) or is_kept
        except StoreStopped as problem:
            stopped = problem
    if not is_kept:
        raise stopped or DiskFull(node=node)


def _written(disk: Disk, content: bytes) -> bool:
    try:
        disk.write_small(OBEYED, content)
    except NoRoom:
        if BALLAST not in disk.names():
            return False
        disk.remove(BALLAST)
        try:
            disk.write_small(OBEYED, content)
        except NoRoom:
            return False
    return True


def _parse(content: bytes) -> Obeyed | None:
    checksum, packed = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if crc32(packed).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        return None
    try:
        return decode(Obeyed, packed)
    except BadRecord:
        return None
