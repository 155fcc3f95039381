"""Which replica of each partition is asked first, so that every node leads its part.

Writes go to the first replica and it hands them on, so leading costs. A node that holds h
partitions of width w leads h / w of them, rounded down or up; who leads already goes on leading
where that allows it. Such a choice exists (each replica leading 1 / w is one, in fractions), and
augmenting paths ("A lets B lead a partition that both hold") find it.
"""

from collections import deque
from collections.abc import Callable


def with_balanced_primaries(rows: list[list[int]], nodes: int) -> list[list[int]]:
    """The rows, each with its primary first and the others in the order that they had."""
    held = [0] * nodes
    for row in rows:
        for node in row:
            held[node] += 1
    width = len(rows[0])
    leading = _Leading(rows, nodes)
    least = [number // width for number in held]
    most = [-(-number // width) for number in held]
    leading.carry(
        gives=lambda node: leading.count[node] > most[node],
        takes=lambda node: leading.count[node] < most[node],
    )
    leading.carry(
        gives=lambda node: leading.count[node] > least[node],
        takes=lambda node: leading.count[node] < least[node],
    )
    return [
        [lead, *(node for node in row if node != lead)]
        for lead, row in zip(leading.lead, rows, strict=True)
    ]


class _Leading:
    """Who leads each partition while that is being balanced."""

    def __init__(self, rows: list[list[int]], nodes: int) -> None:
        self._rows = rows
        self.lead = [row[0] for row in rows]
        self.count = [0] * nodes
        self._led: list[set[int]] = [set() for _ in range(nodes)]
        for partition, node in enumerate(self.lead):
            self._led[node].add(partition)
            self.count[node] += 1

    def carry(self, gives: Callable[[int], bool], takes: Callable[[int], bool]) -> None:
        """Carry leads along shortest paths while there is one from a giver to a taker."""
        while path := self._path(gives, takes):
            for partition, taker in path:
                self._hand_over(partition, taker)

    def _path(
        self, gives: Callable[[int], bool], takes: Callable[[int], bool]
    ) -> list[tuple[int, int]]:
        nodes = range(len(self.count))
        if not any(takes(node) for node in nodes):
            return []
        waiting = deque(node for node in nodes if gives(node))
        came: dict[int, tuple[int, int] | None] = dict.fromkeys(waiting)
        while waiting:
            giver = waiting.popleft()
            for partition in sorted(self._led[giver]):
                for taker in self._rows[partition]:
                    if taker in came:
                        continue
                    came[taker] = (partition, giver)
                    if takes(taker):
                        return _steps(came, taker)
                    waiting.append(taker)
        return []

    def _hand_over(self, partition: int, taker: int) -> None:
        giver = self.lead[partition]
        self._led[giver].discard(partition)
        self._led[taker].add(partition)
        self.count[giver] -= 1
        self.count[taker] += 1
        self.lead[partition] = taker


def _steps(came: dict[int, tuple[int, int] | None], taker: int) -> list[tuple[int, int]]:
    steps = []
    while (step := came[taker]) is not None:
        partition, giver = step
        steps.append((partition, taker))
        taker = giver
    return steps
