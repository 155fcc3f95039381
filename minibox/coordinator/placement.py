"""Placement: to which nodes a chunk goes now, and from which it is read. Pure.

The layout says where it should be; a replica that can't take it is stood in for by a handoff.
"""

from collections.abc import Sequence

import msgspec

from minibox.chunk import ChunkId
from minibox.coordinator.membership import Membership, State
from minibox.errors import NotEnoughNodes
from minibox.ring import Layout

_READ_ORDER = {State.UP: 0, State.SUSPECT: 1, State.DOWN: 2, State.LOST: 3}


class Targets(msgspec.Struct, frozen=True):
    """Nodes for a chunk in order of preference: the first is sent to, it sends to the next ones."""

    first: str
    others: tuple[str, ...]


def to_write(
    layout: Layout, membership: Membership, chunk: ChunkId, needed: int, now: float
) -> Targets:
    """Where a new chunk goes; NotEnoughNodes where fewer than ``needed`` nodes can take it."""
    wanted = (*layout.nodes_for(chunk), *layout.handoffs_for(chunk))
    able = [node for node in wanted if membership.takes_writes(node, now)]
    if len(able) < needed:
        raise NotEnoughNodes(needed, len(able))
    return Targets(able[0], tuple(able[1:]))


def to_read(
    layout: Layout, membership: Membership, chunk: ChunkId, holders: Sequence[str], now: float
) -> tuple[str, ...]:
    """Holders in the order to try them: up first, then as the layout prefers them.

    A state orders the candidates, it never excludes one. The layout's first replica took the chunk
    in, so it is the likeliest to have it in memory; and reads spread as the layout does.
    """
    preferred = layout.nodes_for(chunk)

    def rank(node: str) -> tuple[int, int]:
        wanted = preferred.index(node) if node in preferred else len(preferred)
        return _READ_ORDER[membership.state(node, now)], wanted

    return tuple(sorted((node for node in holders if node in membership.members), key=rank))
