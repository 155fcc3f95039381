"""Partitions, layouts, and the next layout with the least movement."""

from minibox.ring.building import build
from minibox.ring.layout import PARTITIONS, Layout, Member, Traffic, moves, partition_of
from minibox.ring.shares import ideal_shares

__all__ = [
    "PARTITIONS",
    "Layout",
    "Member",
    "Traffic",
    "build",
    "ideal_shares",
    "moves",
    "partition_of",
]
