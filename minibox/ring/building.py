"""The next layout: every node at its whole share, with as little movement as possible.

A new ring is dealt out by systematic sampling, which meets every limit exactly, and shuffled so
that each node shares partitions with many others. A ring that exists is changed in place: replicas
that may not stay are replaced, then augmenting paths (Ford and Fulkerson, on the graph of nodes:
"A can give B one of its partitions") carry partitions from nodes above their share to nodes below,
cheapest path first. Such a path exists while any node is off its share, so the shares are met
exactly. The same input gives the same layout in every process.
"""

import random
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from minibox.ring.layout import PARTITIONS, Layout, Member, assigned, check_members
from minibox.ring.primaries import with_balanced_primaries
from minibox.ring.shares import whole_shares, zone_bounds

_SHUFFLE_ROUNDS = 2


def build(members: Sequence[Member], replicas: int, previous: Layout | None = None) -> Layout:
    """The layout that follows ``previous`` (None: the first) for these members.

    Every partition has its replicas on distinct nodes and as evenly over zones as there are nodes;
    every node is less than two partitions from its ideal share, as a primary too. Raises
    ValidationFailed for members that no layout can have.
    """
    members = check_members(members, replicas)
    if previous is None:
        table = _Table(members, replicas, [() for _ in range(PARTITIONS)])
        table.deal()
        number = 1
    else:
        table = _Table(members, replicas, _kept(members, previous))
        table.complete()
        table.level()
        number = previous.number + 1
    rows = with_balanced_primaries(table.in_order(), len(members))
    return assigned(number, replicas, members, rows)


def _kept(members: Sequence[Member], previous: Layout) -> list[tuple[int, ...]]:
    """The replicas of the previous layout, by their places now, that have any capacity now."""
    place_now = {member.node: place for place, member in enumerate(members) if member.capacity}
    moved = [place_now.get(member.node) for member in previous.members]
    places, width = previous.places, previous.width
    return [
        tuple(place for old in places[start : start + width] if (place := moved[old]) is not None)
        for start in range(0, len(places), width)
    ]


class _Table:
    """Who has what while a layout is made. Nodes and zones are numbers here."""

    def __init__(
        self, members: tuple[Member, ...], replicas: int, kept: list[tuple[int, ...]]
    ) -> None:
        bounds = zone_bounds(members, replicas)
        zones = list(bounds)
        self._zone = [zones.index(m.zone) if m.capacity else -1 for m in members]
        self._least = [bounds[zone].least for zone in zones]
        self._most = [bounds[zone].most for zone in zones]
        self._zone_nodes = [
            [node for node, its_zone in enumerate(self._zone) if its_zone == zone]
            for zone in range(len(zones))
        ]
        self._width = min(replicas, sum(1 for m in members if m.capacity))
        self._kept = kept
        self._rows = [list(row) for row in kept]
        self._counts = [[0] * len(zones) for _ in range(PARTITIONS)]
        self._of_node: list[set[int]] = [set() for _ in members]
        for partition, row in enumerate(kept):
            for node in row:
                self._counts[partition][self._zone[node]] += 1
                self._of_node[node].add(partition)
        held = {m.node: len(self._of_node[node]) for node, m in enumerate(members)}
        shares = whole_shares(members, replicas, held)
        self._missing = [shares[m.node] - held[m.node] for m in members]
        self._random = random.Random(len(members))

    def in_order(self) -> list[list[int]]:
        """Each partition's replicas: those that stay first, in the order that they had."""
        return self._rows

    # a ring from nothing

    def deal(self) -> None:
        """Give every node its share of empty partitions.

        Nodes stand in a line, each as long as its share, zone by zone; partition p takes who
        stands at p, p + PARTITIONS, …: nobody is longer than PARTITIONS, so nobody is taken twice,
        and a zone is taken as often as its length says, rounded down or up.
        """
        line = [
            node for nodes in self._zone_nodes for node in nodes for _ in range(self._missing[node])
        ]
        for position, node in enumerate(line):
            self._add(position % PARTITIONS, node)
        for _ in range(_SHUFFLE_ROUNDS):
            for partition in range(PARTITIONS):
                for node in list(self._rows[partition]):
                    self._swap(partition, node, self._random.randrange(PARTITIONS))
        for row in self._rows:
            self._random.shuffle(row)

    def _swap(self, partition: int, node: int, other: int) -> None:
        """Exchange ``node`` for a replica of the ``other`` partition where limits allow it."""
        if partition == other or node in self._rows[other]:
            return
        candidates = [each for each in self._rows[other] if each not in self._rows[partition]]
        for each in candidates:
            if self._may_replace(partition, node, each) and self._may_replace(other, each, node):
                self._replace(partition, node, each)
                self._replace(other, each, node)
                return

    # a ring that exists

    def complete(self) -> None:
        """Bring every partition to its width and its zones' limits, whatever the shares."""
        for partition, counts in enumerate(self._counts):
            for zone, most in enumerate(self._most):
                while counts[zone] > most:
                    self._drop_from(partition, [zone])
            lacking = sum(
                max(0, least - has) for least, has in zip(self._least, counts, strict=True)
            )
            while len(self._rows[partition]) + lacking > self._width:
                self._drop_from(
                    partition, [z for z, has in enumerate(counts) if has > self._least[z]]
                )
            for zone, least in enumerate(self._least):
                while counts[zone] < least:
                    self._add_from(partition, [zone])
            while len(self._rows[partition]) < self._width:
                self._add_from(
                    partition, [z for z, has in enumerate(counts) if has < self._most[z]]
                )

    def level(self) -> None:
        """Carry partitions along cheapest paths until every node has its share."""
        self._give_directly()
        while any(missing < 0 for missing in self._missing):
            for partition, giver, taker in self._cheapest_path():
                self._replace(partition, giver, taker)

    def _give_directly(self) -> None:
        """The bulk of the work, without search: whoever has too much gives to who lacks."""
        in_turn = list(range(PARTITIONS))
        for taker, missing in enumerate(self._missing):
            if missing <= 0:
                continue
            self._random.shuffle(in_turn)
            for only_free in (True, False):
                for partition in in_turn:
                    if self._missing[taker] <= 0:
                        break
                    if partition not in self._of_node[taker]:
                        self._give_one(partition, taker, only_free=only_free)

    def _give_one(self, partition: int, taker: int, *, only_free: bool) -> None:
        givers = [
            node
            for node in self._rows[partition]
            if self._missing[node] < 0
            and self._may_replace(partition, node, taker)
            and not (only_free and self._costs(partition, node, taker))
        ]
        if givers:
            self._replace(partition, min(givers, key=lambda node: self._missing[node]), taker)

    def _cheapest_path(self) -> list[tuple[int, int, int]]:
        """Gifts (partition, giver, taker) from a node with too much to one that lacks.

        Dijkstra's algorithm by (replicas moved, gifts): giving on what was only just given is
        free. A cheapest and then shortest path uses no partition in a way that a second gift on
        the path could disturb, for then there would be a shorter one.
        """
        waiting: list[tuple[int, int, int, bool]] = []
        unreached = [set(nodes) for nodes in self._zone_nodes]
        came: dict[int, tuple[int, int, int]] = {}
        for node, missing in enumerate(self._missing):
            if missing < 0:
                heappush(waiting, (0, 0, node, True))
                unreached[self._zone[node]].discard(node)
        while waiting:
            cost, gifts, giver, free = heappop(waiting)
            for partition, taker in self._gifts(giver, unreached, free=free):
                came[taker] = (partition, giver, taker)
                if self._missing[taker] > 0:
                    return _path(came, taker)
                heappush(waiting, (cost, gifts + 1, taker, True))
            if free:
                heappush(waiting, (cost + 1, gifts, giver, False))
        raise AssertionError("a layout with these shares exists, so a path does")

    def _gifts(
        self, giver: int, unreached: list[set[int]], *, free: bool
    ) -> Iterator[tuple[int, int]]:
        """Partitions of ``giver`` and who may take them, each unreached node once."""
        own_zone = self._zone[giver]
        for partition in sorted(self._of_node[giver]):
            if (giver in self._kept[partition]) is free:
                continue
            counts, row = self._counts[partition], self._rows[partition]
            gives_zone = counts[own_zone] > self._least[own_zone]
            for zone, nodes in enumerate(unreached):
                if not nodes:
                    continue
                if zone == own_zone or (gives_zone and counts[zone] < self._most[zone]):
                    takers = sorted(node for node in nodes if node not in row)
                    nodes.difference_update(takers)
                    for taker in takers:
                        yield partition, taker

    # one step

    def _costs(self, partition: int, giver: int, taker: int) -> bool:
        """Whether the gift moves a replica that would otherwise stay where it was."""
        kept = self._kept[partition]
        return giver in kept and taker not in kept

    def _may_replace(self, partition: int, giver: int, taker: int) -> bool:
        gives, takes = self._zone[giver], self._zone[taker]
        if gives == takes:
            return True
        counts = self._counts[partition]
        return counts[gives] > self._least[gives] and counts[takes] < self._most[takes]

    def _replace(self, partition: int, giver: int, taker: int) -> None:
        self._drop(partition, giver)
        self._add(partition, taker)

    def _add_from(self, partition: int, zones: list[int]) -> None:
        row = self._rows[partition]
        nodes = [node for zone in zones for node in self._zone_nodes[zone] if node not in row]
        self._add(partition, max(nodes, key=lambda node: (self._missing[node], -node)))

    def _drop_from(self, partition: int, zones: list[int]) -> None:
        nodes = [node for node in self._rows[partition] if self._zone[node] in zones]
        self._drop(partition, min(nodes, key=lambda node: (self._missing[node], node)))

    def _add(self, partition: int, node: int) -> None:
        self._rows[partition].append(node)
        self._counts[partition][self._zone[node]] += 1
        self._of_node[node].add(partition)
        self._missing[node] -= 1

    def _drop(self, partition: int, node: int) -> None:
        self._rows[partition].remove(node)
        self._counts[partition][self._zone[node]] -= 1
        self._of_node[node].discard(partition)
        self._missing[node] += 1


def _path(came: dict[int, tuple[int, int, int]], taker: int) -> list[tuple[int, int, int]]:
    path = []
    while taker in came:
        path.append(came[taker])
        taker = came[taker][1]
    return path
