"""What nodes ask the coordinator: heartbeats, late receipts, bad copies."""

from collections.abc import Callable

from minibox.chunk import ChunkRef
from minibox.coordinator import holders, lineage, references, uploads
from minibox.coordinator.cluster import Cluster
from minibox.errors import Forbidden
from minibox.node_api import (
    DAMAGE,
    HEARTBEAT,
    RECEIPTS,
    Damage,
    Heartbeat,
    Nothing,
    Receipts,
)
from minibox.rpc import Body, Caller, Method, Reply
from minibox.store import Store, Writer
from minibox.world import Clock


class ClusterDoor:
    """The coordinator's methods for nodes. ``wake_repair`` is told when copies were lost."""

    def __init__(
        self, clock: Clock, store: Store, cluster: Cluster, wake_repair: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._store = store
        self._cluster = cluster
        self._wake_repair = wake_repair

    def methods(self) -> tuple[Method, ...]:
        """What is offered, to nodes alone."""
        return (
            Method(HEARTBEAT, Heartbeat, self._heartbeat, ("node",)),
            Method(RECEIPTS, Receipts, self._receipts, ("node",)),
            Method(DAMAGE, Damage, self._damage, ("node",)),
        )

    async def _heartbeat(self, caller: Caller, beat: Heartbeat, _body: Body) -> Reply:
        if caller.identity.name != beat.node:
            raise Forbidden
        return Reply(self._cluster.heard(beat))

    async def _receipts(self, _caller: Caller, message: Receipts, _body: Body) -> Reply:
        """Copies that became durable after their upload was answered."""
        fresh = self._cluster.checked(message.receipts)
        lengths = {receipt.chunk: receipt.length for receipt in message.receipts}
        copies, now = self._cluster.copies, self._clock.wall()

        def confirm(writer: Writer) -> None:
            for chunk, new in fresh.items():
                if references.is_referenced(writer, chunk) or uploads.is_pinned(writer, chunk):
                    holders.confirm(writer, ChunkRef(chunk, lengths[chunk]), new, copies, now)
            lineage.next_sequence(writer)

        await self._store.write(confirm)
        return Reply(Nothing())

    async def _damage(self, caller: Caller, message: Damage, _body: Body) -> Reply:
        """Copies that their node has put into quarantine."""
        if caller.identity.name != message.node:
            raise Forbidden
        copies, now = self._cluster.copies, self._clock.wall()

        def withdraw(writer: Writer) -> None:
            for chunk in message.chunks:
                holders.withdraw(writer, chunk, message.node, copies, now)

        await self._store.write(withdraw)
        self._wake_repair()
        return Reply(Nothing())
