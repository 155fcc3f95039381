import hashlib
import os
import subprocess
import sys
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from minibox.chunk import chunk_id
from minibox.codec import decode, encode
from minibox.errors import BadRecord, ValidationFailed
from minibox.ring import (
    PARTITIONS,
    Layout,
    Member,
    Traffic,
    build,
    ideal_shares,
    moves,
    partition_of,
)
from minibox.ring.shares import zone_bounds

TERABYTE = 10**12
ring_settings = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def members_like(capacities, zones) -> list[Member]:
    return [
        Member(f"n{number}", capacity, f"z{zone}")
        for number, (capacity, zone) in enumerate(zip(capacities, zones, strict=True))
    ]


@st.composite
def any_members(draw, most=40):
    """1 to ``most`` nodes, capacities over four orders of magnitude, one to many zones."""
    count = draw(st.integers(1, most))
    largest = 10 ** draw(st.sampled_from([0, 1, 4]))
    zones = draw(st.integers(1, count))
    capacities = st.integers(1, largest).map(lambda weight: weight * 10**9)
    return members_like(
        [draw(capacities) for _ in range(count)],
        [draw(st.integers(0, zones - 1)) for _ in range(count)],
    )


@st.composite
def roomy_members(draw):
    """Nodes of which none and no zone is so large that a limit other than capacity matters."""
    zones = draw(st.integers(5, 8))
    count = draw(st.integers(2, 4)) * zones
    capacities = [draw(st.integers(4, 8)) * TERABYTE for _ in range(count)]
    return members_like(capacities, [number % zones for number in range(count)])


def held(layout: Layout) -> Counter:
    return Counter(node for row in layout.partitions for node in row)


def assert_lawful(layout: Layout) -> None:
    """What must hold of every layout, recomputed from nothing but its rows."""
    zone = {member.node: member.zone for member in layout.members}
    active = [member for member in layout.members if member.capacity]
    nodes_of_zone = Counter(member.zone for member in active)
    width = min(layout.replicas, len(active))
    assert len(layout.partitions) == PARTITIONS
    for row in layout.partitions:
        assert len(set(row)) == len(row) == width
        copies = Counter(zone[node] for node in row)
        for one in copies:
            for other, room in nodes_of_zone.items():
                assert copies[one] - 1 <= copies[other] or copies[other] == room
    ideal, shares = ideal_shares(layout.members, layout.replicas), held(layout)
    leads = Counter(row[0] for row in layout.partitions)
    for member in layout.members:
        assert abs(shares[member.node] - ideal[member.node]) < 2
        assert abs(leads[member.node] - shares[member.node] / width) < 1


def needed(before: Layout, after: Layout) -> float:
    """The least that a change can move: what nodes lack of their new ideal share."""
    shares = held(before)
    ideal = ideal_shares(after.members, after.replicas)
    return sum(max(0.0, share - shares[node]) for node, share in ideal.items())


def moved(before: Layout, after: Layout) -> int:
    return sum(traffic.incoming for traffic in moves(before, after).values())


@ring_settings
@given(any_members(), st.integers(1, 5))
def test_a_first_layout_keeps_every_limit(members, replicas):
    assert_lawful(build(members, replicas))


@ring_settings
@given(any_members(), st.integers(1, 5))
def test_ideal_shares_follow_capacity_within_the_limits(members, replicas):
    shares = ideal_shares(members, replicas)
    assert sum(shares.values()) == pytest.approx(PARTITIONS * min(replicas, len(members)))
    assert all(0 < share <= PARTITIONS for share in shares.values())
    below = [member for member in members if shares[member.node] < PARTITIONS * 0.999]
    for one in below:
        for other in below:
            if one.zone == other.zone:
                assert shares[one.node] * other.capacity == pytest.approx(
                    shares[other.node] * one.capacity
                )


def test_without_limits_ideal_shares_are_proportional_to_capacity():
    members = members_like([1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5])
    shares = ideal_shares(members, 2)
    assert shares == pytest.approx(
        {member.node: 2 * PARTITIONS * member.capacity / 21 for member in members}
    )


def test_what_a_large_node_cannot_take_flows_to_the_others():
    shares = ideal_shares(members_like([1000, 1, 3], [0, 1, 2]), 2)
    assert shares == pytest.approx({"n0": 4096, "n1": 1024, "n2": 3072})


def test_what_a_large_zone_cannot_take_flows_to_the_others():
    shares = ideal_shares(members_like([10, 10, 1, 1], [0, 0, 1, 2]), 2)
    assert shares == pytest.approx({"n0": 2048, "n1": 2048, "n2": 2048, "n3": 2048})


changes = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "drain", "reweight", "move", "replicas"]),
        st.integers(0, 10**6),
        st.integers(1, 10**4),
    ),
    min_size=1,
    max_size=4,
)


def changed(members: list[Member], change: str, choice: int, weight: int) -> list[Member]:
    at = choice % len(members)
    one = members[at]
    match change:
        case "add":
            zone = members[(choice * 7) % len(members)].zone if choice % 3 else f"new{choice}"
            return [*members, Member(f"m{choice}", weight * 10**9, zone)]
        case "remove":
            return members[:at] + members[at + 1 :]
        case "drain":
            one = Member(one.node, 0, one.zone)
        case "reweight":
            one = Member(one.node, weight * 10**9, one.zone)
        case "move":
            one = Member(one.node, one.capacity, members[choice // 7 % len(members)].zone)
    return [*members[:at], one, *members[at + 1 :]]


@ring_settings
@given(any_members(most=20), st.integers(1, 4), changes)
def test_every_layout_of_any_sequence_of_changes_keeps_every_limit(members, replicas, sequence):
    layout = build(members, replicas)
    for change, choice, weight in sequence:
        if change == "replicas":
            replicas = choice % 4 + 1
        else:
            members = changed(members, change, choice, weight)
        assume(len({member.node for member in members}) == len(members))
        assume(any(member.capacity for member in members))
        following = build(members, replicas, layout)
        assert following.number == layout.number + 1
        assert_lawful(following)
        assert moved(layout, following) <= PARTITIONS * following.width
        layout = following


@ring_settings
@given(roomy_members(), st.integers(1, 3), st.data())
def test_a_change_moves_hardly_more_than_it_must(members, replicas, data):
    layout = build(members, replicas)
    for _ in range(3):
        change = data.draw(st.sampled_from(["add", "remove", "drain", "reweight"]))
        choice, weight = data.draw(st.integers(1, 10**6)), data.draw(st.integers(4000, 8000))
        members = changed(members, change, choice * 3 + 1, weight)
        assume(len({member.node for member in members}) == len(members))
        following = build(members, replicas, layout)
        assert moved(layout, following) <= needed(layout, following) * 1.1 + len(members)
        layout = following


def cheaper_exists(before: Layout, after: Layout) -> bool:
    """Whether gifts in a circle, which leave every share as it is, would save movement.

    A circle of negative cost in the graph "A can give B one of its partitions" (Bellman and Ford):
    where there is none, no layout with these shares is nearer to the one before.
    """
    zone, bounds = (
        {m.node: m.zone for m in after.members},
        zone_bounds(after.members, after.replicas),
    )
    nodes = [m.node for m in after.members if m.capacity]
    cost: dict[tuple[str, str], int] = {}
    for old, new in zip(before.partitions, after.partitions, strict=True):
        copies = Counter(zone[node] for node in new)
        for giver in new:
            for taker in nodes:
                gives, takes = zone[giver], zone[taker]
                if taker not in new and (
                    gives == takes
                    or (copies[gives] > bounds[gives].least and copies[takes] < bounds[takes].most)
                ):
                    gift = (giver in old) - (taker in old)
                    cost[giver, taker] = min(gift, cost.get((giver, taker), gift))
    distance = dict.fromkeys(nodes, 0)
    for _ in nodes:
        nearer = {b for (a, b), gift in cost.items() if distance[a] + gift < distance[b]}
        if not nearer:
            return False
        for (a, b), gift in cost.items():
            distance[b] = min(distance[b], distance[a] + gift)
    return True


@ring_settings
@given(any_members(most=8), st.integers(1, 4), st.integers(0, 100))
def test_where_limits_force_more_movement_no_cheaper_layout_exists(members, replicas, choice):
    assume(len(members) > 1)
    before = build(members, replicas)
    after = build(changed(members, "drain", choice, 0), replicas, before)
    bound = needed(before, after) * 1.1 + len(members)
    assert moved(before, after) <= bound or not cheaper_exists(before, after)


@ring_settings
@given(any_members(most=20), st.integers(1, 4))
def test_without_a_change_nothing_moves(members, replicas):
    first = build(members, replicas)
    again = build(list(reversed(members)), replicas, first)
    assert again.assignment == first.assignment
    assert again.number == 2


def test_a_new_node_only_takes_and_the_others_only_give():
    members = members_like([TERABYTE] * 9, [0, 1, 2] * 3)
    before = build(members, 3)
    after = build([*members, Member("new", TERABYTE, "z0")], 3, before)
    traffic = moves(before, after)
    assert traffic["new"] == Traffic(incoming=1024, outgoing=0)
    assert all(each.incoming == 0 for node, each in traffic.items() if node != "new")


def test_a_drained_node_holds_nothing_and_a_removed_one_is_forgotten():
    members = members_like([TERABYTE] * 6, [0, 1, 2] * 2)
    before = build(members, 3)
    drained = build([Member("n0", 0, "z0"), *members[1:]], 3, before)
    assert moves(before, drained)["n0"] == Traffic(0, held(before)["n0"])
    removed = build(members[1:], 3, drained)
    assert removed.assignment != b""
    assert moved(drained, removed) == 0
    assert {member.node for member in removed.members} == {m.node for m in members[1:]}


def test_a_node_that_leaves_and_comes_back_is_full_again():
    members = members_like([TERABYTE] * 7, range(7))
    layout = build(members, 3)
    for present in (members[1:], members):
        layout = build(present, 3, layout)
        assert_lawful(layout)


def test_fewer_nodes_than_copies_make_narrower_partitions():
    layout = build(members_like([1, 2], [0, 0]), 3)
    assert (layout.width, layout.replicas) == (2, 3)
    assert held(layout) == {"n0": PARTITIONS, "n1": PARTITIONS}


def test_a_node_shares_partitions_with_all_others_so_that_all_help_to_repair():
    layout = build(members_like([TERABYTE] * 12, [0, 1, 2] * 4), 3)
    together = Counter(n for row in layout.partitions if "n0" in row for n in row)
    assert len(together) == 1 + 8  # itself, and all in the two other zones
    assert max(together[f"n{i}"] for i in range(1, 12)) < 2 * together["n0"] / 4


def test_two_hundred_nodes_are_laid_out_quickly_and_written_compactly():
    members = members_like(
        [(i % 7 + 1) * TERABYTE for i in range(200)], [i % 9 for i in range(200)]
    )
    began = time.process_time()
    layout = build(members, 3)
    following = build(members[1:], 3, layout)
    packed = encode(following)
    assert decode(Layout, packed) == following
    assert time.process_time() - began < 5
    assert len(packed) < 40_000
    assert_lawful(layout)
    assert_lawful(following)


def test_every_process_makes_the_same_layouts():
    program = (
        "import hashlib; from minibox.codec import encode; from minibox.ring import Member, build;"
        "ms = [Member(f'n{i}', 10**9 * (i * i % 11 + 1), f'z{i % 4}') for i in range(15)];"
        "a = build(ms, 3); b = build(ms[2:], 3, a); c = build(ms, 2, b);"
        "h = c.handoffs_for(bytes(32));"
        "print(hashlib.sha256(encode(a) + encode(b) + encode(c) + repr(h).encode()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


CHUNKS = [chunk_id(str(number).encode()) for number in range(500)]


def test_a_chunk_belongs_to_the_partition_of_its_top_twelve_bits():
    layout = build(members_like([1, 2, 3, 4], range(4)), 3)
    for chunk in CHUNKS:
        assert partition_of(chunk) == int.from_bytes(chunk, "big") >> 244
        assert layout.nodes_for(chunk) == layout.partitions[partition_of(chunk)]
    assert {partition_of(bytes(32)), partition_of(b"\xff" * 32)} == {0, PARTITIONS - 1}


def test_handoffs_are_all_other_nodes_with_unused_zones_first():
    members = [*members_like([5] * 8, [0, 0, 1, 1, 2, 2, 3, 4]), Member("draining", 0, "z9")]
    layout = build(members, 3)
    zone = {member.node: member.zone for member in layout.members}
    firsts = Counter()
    for chunk in CHUNKS:
        replicas, handoffs = layout.nodes_for(chunk), layout.handoffs_for(chunk)
        assert sorted((*replicas, *handoffs)) == sorted(m.node for m in members[:-1])
        unused = {zone[node] for node in handoffs} - {zone[node] for node in replicas}
        assert {zone[node] for node in handoffs[: len(unused)]} == unused
        firsts[handoffs[0]] += 1
    assert len(firsts) == 8  # the load of a dead node is spread


def test_large_nodes_stand_in_oftener():
    layout = build(members_like([1, 1, 100, 100], [0, 0, 0, 0]), 1)
    firsts = Counter(layout.handoffs_for(chunk)[0] for chunk in CHUNKS)
    assert firsts["n2"] + firsts["n3"] > 20 * (firsts["n0"] + firsts["n1"])


@pytest.mark.parametrize(
    ("members", "replicas"),
    [
        ([], 1),
        ([Member("a", 0, "z")], 1),
        ([Member("a", -1, "z"), Member("b", 1, "z")], 1),
        ([Member("a", 1, "z"), Member("a", 2, "z")], 1),
        ([Member("a", 1, "z")], 0),
    ],
)
def test_members_that_no_layout_can_have_are_refused(members, replicas):
    with pytest.raises(ValidationFailed):
        build(members, replicas)


@pytest.mark.parametrize("assignment", [b"", b"\0", b"\0" * 8190, b"\1\0" * PARTITIONS])
def test_a_layout_that_cannot_be_looked_up_in_is_never_read(assignment):
    good = build([Member("a", 1, "z")], 1)
    packed = encode(good).replace(encode(good)[-len(good.assignment) - 3 :], b"")
    head = b"\xc5" + len(assignment).to_bytes(2, "big")
    with pytest.raises(BadRecord):
        decode(Layout, packed + head + assignment)
    assert decode(Layout, packed + b"\xc5\x20\x00" + good.assignment) == good


def test_layouts_of_known_members_never_change():
    members = members_like([1, 2, 3, 4, 5], [0, 1, 2, 0, 1])
    layout = build(members[1:], 3, build(members, 3))
    assert hashlib.sha256(encode(layout)).hexdigest()[:16] == "9f7f860b4d1de1c3"
