"""How many partitions each node of a layout should hold.

A node holds a partition at most once, and the copies of a partition are spread over zones as
evenly as the zones' nodes allow. Within these limits shares follow the capacities: what a node or
zone can't take for its limit flows to the others in proportion (water-filling).
"""

from collections.abc import Callable, Sequence

import msgspec

from minibox.ring.layout import PARTITIONS, Member


class ZoneBounds(msgspec.Struct, frozen=True):
    """Of each partition's copies a zone has at least ``least`` and at most ``most``."""

    least: int
    most: int


def zone_bounds(members: Sequence[Member], replicas: int) -> dict[str, ZoneBounds]:
    """The most even spread of a partition's copies over the zones that have capacity."""
    nodes: dict[str, int] = {}
    for member in members:
        if member.capacity:
            nodes[member.zone] = nodes.get(member.zone, 0) + 1
    width = min(replicas, sum(nodes.values()))
    full_rounds = 0
    while full_rounds < width and sum(min(n, full_rounds + 1) for n in nodes.values()) <= width:
        full_rounds += 1
    return {
        zone: ZoneBounds(min(n, full_rounds), min(n, full_rounds + 1)) for zone, n in nodes.items()
    }


def ideal_shares(members: Sequence[Member], replicas: int) -> dict[str, float]:
    """For each node the partitions that it would hold if they could be divided."""
    bounds = zone_bounds(members, replicas)
    zones = {
        zone: [m.capacity for m in members if m.zone == zone and m.capacity] for zone in bounds
    }
    width = min(replicas, sum(len(capacities) for capacities in zones.values()))

    def zone_share(zone: str, per_byte: float) -> float:
        wanted = sum(min(PARTITIONS, per_byte * capacity) for capacity in zones[zone])
        limits = bounds[zone]
        return min(max(wanted, PARTITIONS * limits.least), PARTITIONS * limits.most)

    per_byte = _solve(
        lambda rate: sum(zone_share(zone, rate) for zone in zones) - PARTITIONS * width,
        highest=PARTITIONS / min(min(capacities) for capacities in zones.values()),
    )
    shares = {member.node: 0.0 for member in members}
    for zone in zones:
        inside = [member for member in members if member.zone == zone and member.capacity]
        shares |= _filled(inside, zone_share(zone, per_byte))
    return shares


def whole_shares(members: Sequence[Member], replicas: int, held: dict[str, int]) -> dict[str, int]:
    """Whole partitions for each node, less than two from the ideal; rounded towards ``held``.

    The sums over zones and over all are what the bounds ask, so a layout with exactly these
    shares exists.
    """
    bounds = zone_bounds(members, replicas)
    ideal = ideal_shares(members, replicas)
    zone_ideal = dict.fromkeys(bounds, 0.0)
    zone_held = dict.fromkeys(bounds, 0)
    for member in members:
        if member.capacity:
            zone_ideal[member.zone] += ideal[member.node]
            zone_held[member.zone] += held.get(member.node, 0)
    width = min(replicas, sum(1 for member in members if member.capacity))
    zone_whole = _rounded(
        zone_ideal,
        PARTITIONS * width,
        limits={z: (PARTITIONS * b.least, PARTITIONS * b.most) for z, b in bounds.items()},
        held=zone_held,
    )
    whole = {member.node: 0 for member in members}
    for zone, total in zone_whole.items():
        inside = {m.node: ideal[m.node] for m in members if m.zone == zone and m.capacity}
        whole |= _rounded(inside, total, dict.fromkeys(inside, (0, PARTITIONS)), held)
    return whole


def _solve(excess: Callable[[float], float], highest: float) -> float:
    """Where a rising function reaches zero, between 0 and ``highest``."""
    low, high = 0.0, highest
    while low < (middle := (low + high) / 2) < high:
        difference = excess(middle)
        if difference == 0:
            return middle
        if difference < 0:
            low = middle
        else:
            high = middle
    return high


def _filled(members: Sequence[Member], share: float) -> dict[str, float]:
    """``share`` divided by capacity, at most PARTITIONS for each."""
    filled: dict[str, float] = {}
    capacity_left = sum(member.capacity for member in members)
    for member in sorted(members, key=lambda each: -each.capacity):
        filled[member.node] = min(float(PARTITIONS), share * member.capacity / capacity_left)
        share -= filled[member.node]
        capacity_left -= member.capacity
    return filled


def _rounded(
    ideal: dict[str, float],
    total: int,
    limits: dict[str, tuple[int, int]],
    held: dict[str, int],
) -> dict[str, int]:
    """Whole numbers that sum to ``total``: rounded up first where that is what is held."""
    whole = {
        key: max(limits[key][0], min(int(share), limits[key][1])) for key, share in ideal.items()
    }
    surplus = {key: held.get(key, 0) - number for key, number in whole.items()}
    in_turn = sorted(ideal, key=lambda key: (-surplus[key], whole[key] - ideal[key], key))
    missing = total - sum(whole.values())
    while missing > 0:
        for key in in_turn:
            if missing and whole[key] < limits[key][1]:
                whole[key] += 1
                missing -= 1
    while missing < 0:  # floating-point dust above a whole number
        for key in reversed(in_turn):
            if missing and whole[key] > limits[key][0]:
                whole[key] -= 1
                missing += 1
    return whole
