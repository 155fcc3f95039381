"""Membership: which nodes live, judged from their heartbeats. Pure: values and ``now``.

``now`` is always monotonic seconds: no step of a wall clock decides anything here.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Self

import msgspec

from minibox.node_api import DiskStatus, Heartbeat


class State(Enum):
    """What the coordinator thinks of a node."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"
    LOST = "lost"


class Patience(msgspec.Struct, frozen=True):
    """After how many seconds of silence a node is suspect, down and lost."""

    suspect: float = 3.0
    down: float = 10.0
    lost: float = 600.0


class Member(msgspec.Struct, frozen=True):
    """One node as last heard. ``heard`` is when; None means not since this coordinator started."""

    node: str
    heard: float | None = None
    boot: int = 0
    count: int = 0
    layout: int = 0
    disks: tuple[DiskStatus, ...] = ()


class Membership(msgspec.Struct, frozen=True):
    """All nodes of the layout, and since when this coordinator has been listening."""

    since: float
    patience: Patience
    members: Mapping[str, Member]

    @classmethod
    def begin(cls, nodes: Iterable[str], now: float, patience: Patience) -> Self:
        """Nobody has been heard yet."""
        return cls(now, patience, {node: Member(node) for node in nodes})

    def heard(self, beat: Heartbeat, now: float) -> Self:
        """After a heartbeat. One that a later one of the same boot overtook says nothing."""
        former = self.members.get(beat.node)
        if former is None:
            return self
        if former.boot == beat.boot and beat.count <= former.count:
            return self
        member = Member(beat.node, now, beat.boot, beat.count, beat.layout, beat.disks)
        return msgspec.structs.replace(self, members={**self.members, beat.node: member})

    def state(self, node: str, now: float) -> State:
        """What to think of a node now."""
        member = self.members[node]
        silence = now - (self.since if member.heard is None else member.heard)
        if silence >= self.patience.lost:
            return State.LOST
        if silence >= self.patience.down:
            return State.DOWN
        if member.heard is None or silence >= self.patience.suspect:
            return State.SUSPECT
        return State.UP

    def up(self, now: float) -> tuple[str, ...]:
        """The nodes that are up, by name."""
        return tuple(node for node in sorted(self.members) if self.state(node, now) is State.UP)

    def disks_up(self, now: float) -> Mapping[str, frozenset[bytes]]:
        """The nodes that are up with the ids of the disks that they have."""
        return {
            node: frozenset(disk.id for disk in self.members[node].disks) for node in self.up(now)
        }

    def takes_writes(self, node: str, now: float) -> bool:
        """Whether new chunks may be sent to the node."""
        return self.state(node, now) is State.UP and any(
            disk.takes_writes for disk in self.members[node].disks
        )

    def answered(self) -> int:
        """How many nodes have been heard since this coordinator started."""
        return sum(member.heard is not None for member in self.members.values())
