"""Membership, placement, repair and lineage: decisions of values and time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import Rows

from minibox.chunk import ChunkId
from minibox.coordinator import lineage, placement, repair
from minibox.coordinator.holders import Copies, Debt, Holder
from minibox.coordinator.membership import Membership, Patience, State
from minibox.errors import NotEnoughNodes
from minibox.node_api import DiskStatus, Heartbeat
from minibox.ring import Member, build

NODES = ("n1", "n2", "n3", "n4")
PATIENCE = Patience(3, 10, 600)
LAYOUT = build([Member(node, 1 << 30, f"z{node}") for node in NODES], 3)
CHUNKS = st.binary(min_size=32, max_size=32).map(ChunkId)


def beat(node, count=1, boot=7, *, takes_writes=True):
    disk = DiskStatus(node.encode(), 100, 50, 50, 1, takes_writes)
    return Heartbeat(node, boot, count, (disk,), 1, 1, 1)


def heard(*nodes, now=0.0):
    membership = Membership.begin(NODES, now, PATIENCE)
    for node in nodes:
        membership = membership.heard(beat(node), now)
    return membership


# Membership


@pytest.mark.parametrize(
    ("silence", "state"),
    [
        (0, State.UP),
        (2.999, State.UP),
        (3, State.SUSPECT),
        (9.999, State.SUSPECT),
        (10, State.DOWN),
        (599.9, State.DOWN),
        (600, State.LOST),
        (1e9, State.LOST),
    ],
)
def test_silence_makes_a_node_suspect_then_down_then_lost(silence, state):
    assert heard("n1").state("n1", silence) is state


@given(st.lists(st.floats(0, 2000), min_size=2).map(sorted))
def test_a_silent_node_never_gets_better(moments):
    order = [State.UP, State.SUSPECT, State.DOWN, State.LOST]
    membership = heard("n1")
    for node in ("n1", "n2"):
        states = [order.index(membership.state(node, now)) for now in moments]
        assert states == sorted(states)


def test_a_node_that_was_never_heard_is_not_up():
    membership = heard("n1")
    assert membership.state("n2", 0) is State.SUSPECT
    assert membership.answered() == 1
    assert membership.up(0) == ("n1",)
    assert not membership.takes_writes("n2", 0)


def test_a_heartbeat_that_was_overtaken_says_nothing():
    membership = heard().heard(beat("n1", 5), 1.0)
    assert membership.heard(beat("n1", 4), 2.0) is membership
    assert membership.heard(beat("n1", 5), 2.0) is membership
    assert membership.heard(beat("n1", 6), 2.0).state("n1", 4.5) is State.UP
    assert membership.heard(beat("n1", 1, boot=8), 2.0).state("n1", 4.5) is State.UP


def test_a_stranger_is_not_listened_to():
    membership = heard("n1")
    assert membership.heard(beat("n9"), 0) is membership


def test_a_full_node_is_up_and_takes_no_writes():
    membership = heard().heard(beat("n1", takes_writes=False), 0.0)
    assert membership.up(0) == ("n1",)
    assert not membership.takes_writes("n1", 0)


# Placement


@given(CHUNKS, st.sets(st.sampled_from(NODES)), st.integers(1, 3))
def test_a_chunk_goes_to_nodes_that_take_writes_replicas_first(chunk, up, needed):
    membership = heard(*sorted(up))
    if len(up) < needed:
        with pytest.raises(NotEnoughNodes) as refused:
            placement.to_write(LAYOUT, membership, chunk, needed, 0)
        assert (refused.value.needed, refused.value.available) == (needed, len(up))
        return
    targets = placement.to_write(LAYOUT, membership, chunk, needed, 0)
    chosen = [targets.first, *targets.others]
    assert set(chosen) == up
    assert len(chosen) == len(up)
    wanted = [node for node in LAYOUT.nodes_for(chunk) if node in up]
    assert chosen[: len(wanted)] == wanted


@given(CHUNKS, st.permutations([*NODES, "gone"]), st.sets(st.sampled_from(NODES)))
def test_every_known_holder_is_asked_those_that_are_up_first(chunk, holders, up):
    order = placement.to_read(LAYOUT, heard(*sorted(up)), chunk, holders, 0)
    assert sorted(order) == sorted(NODES)
    assert {*order[: len(up)]} == up


# Repair


def owed(chunk, *nodes, since=0.0, want=3):
    copies = Copies(5, tuple(Holder(node, node.encode()) for node in nodes))
    return chunk, Debt(since, len(nodes), want), copies


def planned(debts, up, now, ack=2):
    standing = {node: frozenset({node.encode()}) for node in up}
    return list(repair.plan(LAYOUT, debts, standing, ack, 15.0, now))


@given(CHUNKS, st.sets(st.sampled_from(NODES)), st.sets(st.sampled_from(NODES)), st.floats(0, 30))
def test_a_plan_copies_from_good_to_missing_and_never_too_many(chunk, have, up, now):
    steps = planned([owed(chunk, *sorted(have))], sorted(up), now)
    good = have & up
    targets = [step.target for step in steps]
    assert len(targets) == len(set(targets))
    assert set(targets) <= up - good
    assert all(set(step.sources) == good for step in steps)
    if not good or (len(good) >= 2 and now < 15):
        assert steps == []
    else:
        assert len(steps) == max(0, min(3 - len(good), len(up - good)))


def test_a_copy_on_an_emptied_disk_is_no_source():
    chunk = ChunkId(bytes(32))
    standing = {node: frozenset({b"new disk"}) for node in NODES}
    assert list(repair.plan(LAYOUT, [owed(chunk, "n1")], standing, 2, 15.0, 100)) == []


def test_the_chunk_with_the_fewest_good_copies_goes_first():
    safer, rarer = ChunkId(bytes(32)), ChunkId(b"\xff" * 32)
    steps = planned([owed(safer, "n1", "n2"), owed(rarer, "n1")], NODES, 100)
    assert [step.chunk.id for step in steps] == [rarer, rarer, safer]


# Lineage


@given(st.lists(st.integers(0, 10_000), max_size=8))
def test_coordinator_seconds_never_go_back_over_restarts(lives):
    rows, latest = Rows(), -1
    for term, lived in enumerate(lives, 1):
        begun = lineage.begin_term(rows, bytes([term]) * 32)
        lineage.reserve_seconds(rows, begun.seconds_limit)
        assert begun.term == term
        assert begun.id == b"\x01" * 16
        assert begun.coordinator == bytes([term]) * 16
        assert begun.seconds_limit > latest
        for passed in range(0, lived + 1, int(lineage.SECONDS_AHEAD / 2)):
            lineage.reserve_seconds(rows, begun.seconds_limit + passed)
        latest = begun.seconds_limit + lived


def test_sequences_are_taken_once():
    rows = Rows()
    assert lineage.sequence(rows) == 0
    assert [lineage.next_sequence(rows) for _ in range(3)] == [1, 2, 3]
    lineage.begin_term(rows, bytes(32))
    assert lineage.next_sequence(rows) == 4
