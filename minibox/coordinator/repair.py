"""Repair: chunks in debt get their missing copies from a good one.

Work is not stored: each turn derives it from the debt rows, the layout and who is up.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from minibox.chunk import ChunkId, ChunkRef
from minibox.coordinator import holders, lineage
from minibox.coordinator.cluster import Cluster
from minibox.coordinator.holders import Copies, Holder, Standing
from minibox.errors import Failure
from minibox.node_api import PULL, Pull, Receipts
from minibox.ring import Layout
from minibox.store import Reader, Store, Writer
from minibox.world import Clock

STEPS_AT_ONCE = 8
STEPS_A_TURN = 512
PULL_SECONDS = 30.0

_log = Logger()


class Step(msgspec.Struct, frozen=True):
    """One copy to make."""

    chunk: ChunkRef
    target: str
    sources: tuple[str, ...]


def plan(
    layout: Layout,
    owed: list[tuple[ChunkId, holders.Debt, Copies]],
    standing: Standing,
    ack: int,
    patience_seconds: float,
    now: float,
) -> Iterator[Step]:
    """The copies to make now, chunks with the fewest good copies first. Pure.

    A chunk with at least ``ack`` reachable copies waits: its replica may only be slow.
    """
    steps: list[tuple[int, ChunkId, Step]] = []
    for chunk, debt, copies in owed:
        sources = [each.node for each in copies.holders if _is_good(each, standing)]
        urgent = len(sources) < ack
        # Wall times: after a step back a debt may be of the future, and is not made to wait for it.
        is_young = 0 <= now - debt.since < patience_seconds
        if not sources or (is_young and not urgent):
            continue
        wanted = (*layout.nodes_for(chunk), *layout.handoffs_for(chunk))
        targets = [node for node in wanted if node in standing and node not in sources]
        missing = debt.want - len(sources)
        steps += (
            (len(sources), chunk, Step(ChunkRef(chunk, copies.length), target, tuple(sources)))
            for target in targets[: max(0, missing)]
        )
    for _, _, step in sorted(steps, key=lambda each: (each[0], each[1], each[2].target)):
        yield step


class Repair:
    """Carries the plan out, a bounded number of steps at a time. Call :meth:`turn` regularly."""

    def __init__(self, clock: Clock, store: Store, cluster: Cluster) -> None:
        self._clock = clock
        self._store = store
        self._cluster = cluster
        self._place: ChunkId | None = None
        self.copies_made = 0

    async def turn(self) -> None:
        """Repair what is in debt now, up to STEPS_A_TURN copies."""
        owed = self._store.read(self._owed)
        self._place = owed[-1][0] if len(owed) == STEPS_A_TURN else None
        steps = list(
            plan(
                self._cluster.layout,
                owed,
                self._cluster.standing(),
                self._cluster.config.cluster.ack,
                self._cluster.config.coordinator.repair_seconds,
                self._clock.wall(),
            )
        )
        for start in range(0, len(steps), STEPS_AT_ONCE):
            together = [
                Deferred.fromCoroutine(self._carry_out(step))
                for step in steps[start : start + STEPS_AT_ONCE]
            ]
            await gatherResults(together, consumeErrors=True)

    def _owed(self, reader: Reader) -> list[tuple[ChunkId, holders.Debt, Copies]]:
        """A slice of the debts, going on where the last turn ended."""
        found = []
        for chunk, debt in islice(holders.debts(reader, after=self._place), STEPS_A_TURN):
            copies = holders.of(reader, chunk)
            if copies is not None:
                found.append((chunk, debt, copies))
        return found

    async def _carry_out(self, step: Step) -> None:
        order = lineage.order(self._cluster.lineage, self._cluster.sequence)
        message = Pull(order, step.chunk, step.sources)
        try:
            answer = await self._cluster.nodes.call(
                step.target, PULL, message, Receipts, deadline=PULL_SECONDS
            )
            fresh = self._cluster.checked(answer.message.receipts)
            await self._confirm(step.chunk, fresh.get(step.chunk.id, ()))
        except Failure as failure:
            _log.info(
                "No copy of {chunk} could be made on {node}: {failure}",
                chunk=step.chunk.id.hex(),
                node=step.target,
                failure=str(failure),
            )
        else:
            self.copies_made += 1

    async def _confirm(self, chunk: ChunkRef, new: tuple[Holder, ...]) -> None:
        copies, now = self._cluster.copies, self._clock.wall()

        def confirm(writer: Writer) -> None:
            if holders.of(writer, chunk.id) is not None:
                holders.confirm(writer, chunk, new, copies, now)

        await self._store.write(confirm)


def _is_good(holder: Holder, standing: Standing) -> bool:
    return holder.disk in standing.get(holder.node, frozenset())
