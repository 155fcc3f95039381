"""Survey: copies on disks that are gone are withdrawn, so that repair makes them anew.

A disk is gone when its node is up without it, or lost. Chunks are looked at in slices, and only
after something changed about the nodes. A row whose copies are all out of reach stays as it is: a
disk that comes back is found by it.
"""

from collections.abc import Set as AbstractSet
from itertools import islice

from minibox.chunk import ChunkId
from minibox.coordinator import holders
from minibox.coordinator.cluster import Cluster
from minibox.coordinator.holders import Copies, Standing
from minibox.coordinator.membership import State
from minibox.store import Reader, Store, Writer
from minibox.world import Clock

CHUNKS_A_TURN = 2000


def gone(copies: Copies, standing: Standing, lost: AbstractSet[str]) -> tuple[str, ...]:
    """The nodes whose copy is to be withdrawn. Pure.

    None while no copy can be reached. That of a lost node is kept where no other node could make
    up for it: it may come back.
    """
    good = {each.node for each in copies.holders if each.disk in standing.get(each.node, ())}
    if not good:
        return ()
    has_spare = len(standing) > len(good)
    return tuple(
        each.node
        for each in copies.holders
        if (each.node in standing and each.node not in good) or (has_spare and each.node in lost)
    )


class Survey:
    """Looks through the chunks, a bounded number at a time. Call :meth:`turn` regularly."""

    def __init__(self, clock: Clock, store: Store, cluster: Cluster) -> None:
        self._clock = clock
        self._store = store
        self._cluster = cluster
        self._standing: Standing = {}
        self._lost: frozenset[str] = frozenset()
        self._place: ChunkId | None = None
        self._is_done = True

    async def turn(self) -> None:
        """The next slice of the pass that is under way, or the first of a new one."""
        self._look_at_nodes()
        if self._is_done:
            return
        affected = self._store.read(self._slice)
        if not affected:
            return
        standing, lost = self._standing, self._lost
        wanted, now = self._cluster.copies, self._clock.wall()

        def withdraw(writer: Writer) -> None:
            for chunk in affected:
                copies = holders.of(writer, chunk)
                for node in gone(copies, standing, lost) if copies is not None else ():
                    holders.withdraw(writer, chunk, node, wanted, now)

        await self._store.write(withdraw)

    def _look_at_nodes(self) -> None:
        cluster = self._cluster
        standing = cluster.standing()
        lost = frozenset(
            node for node in cluster.membership.members if cluster.state(node) is State.LOST
        )
        if (standing, lost) != (self._standing, self._lost):
            self._standing, self._lost = standing, lost
            self._place, self._is_done = None, False

    def _slice(self, reader: Reader) -> list[ChunkId]:
        """The chunks of the next slice that have copies to withdraw."""
        found = list(islice(holders.every(reader, after=self._place), CHUNKS_A_TURN))
        self._place = found[-1][0] if found else None
        self._is_done = len(found) < CHUNKS_A_TURN
        return [chunk for chunk, copies in found if gone(copies, self._standing, self._lost)]
