"""The layout: which nodes should hold each partition, and who stands in for them.

The top twelve bits of a chunk's id name one of 4,096 fixed partitions; a layout gives each
partition its replicas in order of preference. minibox.ring.building makes the next layout from the
members wanted and the layout held. A layout says where a chunk *should* be; who holds it is the
metadata's to say.
"""

import hashlib
import math
import struct
from collections.abc import Sequence
from functools import cached_property

from minibox.chunk import ChunkId
from minibox.codec import Record
from minibox.errors import ValidationFailed

PARTITION_BITS = 12
PARTITIONS = 1 << PARTITION_BITS
MAX_MEMBERS = 1 << 16

_PLACE_BYTES = 2


class Member(Record, frozen=True):
    """A node of the layout. ``capacity`` is its weight in bytes; 0 means that it is draining."""

    kind = "member"
    node: str
    capacity: int
    zone: str


class Traffic(Record, frozen=True):
    """How many replicas of partitions a node gets and gives in a change of layout."""

    kind = "traffic"
    incoming: int = 0
    outgoing: int = 0


class Layout(Record, frozen=True, dict=True):
    """One version of the ring: for each partition its replicas, the first to be asked first.

    ``number`` is the layout's version. ``replicas`` is how many copies the cluster wants; a
    partition has ``width`` of them, fewer only where fewer members have any capacity.
    ``assignment`` is, partition after partition, the places of its replicas in ``members``, 16 bits
    each, little-endian.
    """

    kind = "layout"
    number: int
    replicas: int
    members: tuple[Member, ...]
    assignment: bytes

    def __post_init__(self) -> None:
        """Refuse what can't be looked up in."""
        row_bytes = _PLACE_BYTES * PARTITIONS
        if not self.assignment or len(self.assignment) % row_bytes:
            raise ValueError("the assignment does not fill the partitions")
        if max(self.places) >= len(self.members):
            raise ValueError("the assignment does not fit the members")

    @property
    def places(self) -> tuple[int, ...]:
        """Members' places by partition and preference, ``width`` for each partition."""
        return struct.unpack(f"<{len(self.assignment) // _PLACE_BYTES}H", self.assignment)

    @property
    def width(self) -> int:
        """How many replicas each partition has."""
        return len(self.assignment) // (_PLACE_BYTES * PARTITIONS)

    @cached_property
    def partitions(self) -> tuple[tuple[str, ...], ...]:
        """The names of the replicas of each partition."""
        names = [member.node for member in self.members]
        places, width = self.places, self.width
        return tuple(
            tuple(names[place] for place in places[start : start + width])
            for start in range(0, len(places), width)
        )

    @cached_property
    def _handoffs(self) -> dict[int, tuple[str, ...]]:
        return {}

    def nodes_for(self, chunk: ChunkId) -> tuple[str, ...]:
        """The nodes that should hold ``chunk``, in order of preference."""
        return self.partitions[chunk[0] << 4 | chunk[1] >> 4]

    def handoffs_for(self, chunk: ChunkId) -> tuple[str, ...]:
        """Who stands in for a replica of ``chunk`` that is down, in order: the other nodes.

        Unused zones come first, then each zone in turn, large nodes oftener in front. Draining
        nodes are left out: what they are given would have to leave again.
        """
        partition = partition_of(chunk)
        known = self._handoffs.get(partition)
        if known is None:
            known = self._handoffs[partition] = self._order_of_handoffs(partition)
        return known

    def _order_of_handoffs(self, partition: int) -> tuple[str, ...]:
        replicas = set(self.partitions[partition])
        used: dict[str, int] = {}
        others: list[tuple[float, Member]] = []
        for member in self.members:
            if member.node in replicas:
                used[member.zone] = used.get(member.zone, 0) + 1
            elif member.capacity > 0:
                others.append((_rank(partition, member), member))
        ordered: list[tuple[int, float, str]] = []
        for rank, member in sorted(others, key=lambda each: (each[0], each[1].node)):
            turn = used.get(member.zone, 0)
            used[member.zone] = turn + 1
            ordered.append((turn, rank, member.node))
        return tuple(node for _, _, node in sorted(ordered))


def partition_of(chunk: ChunkId) -> int:
    """The partition of a chunk: the top bits of its id."""
    return chunk[0] << 4 | chunk[1] >> 4


def assigned(
    number: int, replicas: int, members: tuple[Member, ...], table: Sequence[Sequence[int]]
) -> Layout:
    """The layout in which partition p has the members at the places ``table[p]``."""
    places = [place for row in table for place in row]
    return Layout(number, replicas, members, struct.pack(f"<{len(places)}H", *places))


def moves(old: Layout, new: Layout) -> dict[str, Traffic]:
    """What each node of either layout gets and gives when ``new`` follows ``old``."""
    names = {member.node: None for layout in (old, new) for member in layout.members}
    incoming, outgoing = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for before, after in zip(old.partitions, new.partitions, strict=True):
        if before == after:
            continue
        for node in after:
            incoming[node] += node not in before
        for node in before:
            outgoing[node] += node not in after
    return {name: Traffic(incoming[name], outgoing[name]) for name in names}


def check_members(members: Sequence[Member], replicas: int) -> tuple[Member, ...]:
    """The members in their canonical order; ValidationFailed where no layout can have them."""
    names = {member.node for member in members}
    if len(names) != len(members):
        raise ValidationFailed("members", "a node stands twice")
    if len(members) > MAX_MEMBERS:
        raise ValidationFailed("members", f"a layout has at most {MAX_MEMBERS} nodes")
    if any(member.capacity < 0 for member in members):
        raise ValidationFailed("members", "a capacity is negative")
    if not any(member.capacity for member in members):
        raise ValidationFailed("members", "at least one node needs some capacity")
    if replicas < 1:
        raise ValidationFailed("replicas", "at least one copy is needed")
    return tuple(sorted(members, key=lambda member: member.node))


def _rank(partition: int, member: Member) -> float:
    """Weighted rendezvous hashing (Schindelhauer and Schomaker, 2005): the lowest is the first."""
    seed = hashlib.sha256(b"%d %s" % (partition, member.node.encode())).digest()
    uniform = (int.from_bytes(seed[:6], "big") + 1) / ((1 << 48) + 1)
    return -math.log(uniform) / member.capacity
