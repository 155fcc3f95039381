"""Handing chunks to peers: who gets them, when the answer leaves, what comes after it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_cluster import Cluster, held_by, outcome

from minibox.chunk import chunk_id
from minibox.errors import DiskFull, NotEnoughNodes
from minibox.node.replication import Wanted

CONTENT = b"three copies of this"
LARGE = bytes(range(256)) * 2000
REST = ("n2", "n3")


# Who is next, without any network


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6), max_size=5),
    st.integers(0, 4),
    st.sets(st.sampled_from("abcdef")),
)
def test_each_chunk_ends_on_as_many_good_nodes_as_there_are_in_their_order(lists, copies, bad):
    wanted = Wanted(lists, copies)
    held = [[] for _ in lists]
    while sends := wanted.next_sends():
        for node, positions in sends.items():
            if node in bad:
                wanted.failed(node, positions)
            else:
                for position in positions:
                    held[position].append(node)
    for nodes, got in zip(lists, held, strict=True):
        assert sorted(got, key=nodes.index) == [each for each in nodes if each not in bad][:copies]


def test_a_node_that_failed_is_not_asked_again():
    wanted = Wanted([["a", "b"], ["b", "a"]], 1)
    assert wanted.next_sends() == {"a": [0], "b": [1]}
    wanted.failed("a", [0])
    assert wanted.next_sends() == {"b": [0]}
    wanted.failed("b", [0, 1])
    assert wanted.next_sends() == {}


# In a cluster


def test_a_put_to_three_nodes_gives_three_receipts_its_own_first():
    cluster = Cluster(nodes=3)
    receipts = cluster.put(CONTENT, spread=REST, copies=3, ack=3)
    assert held_by(receipts)[0] == "n1"
    assert sorted(held_by(receipts)) == ["n1", "n2", "n3"]
    for receipt in receipts:
        cluster.receipts.check(receipt)
        assert cluster.fetch(CONTENT, node=receipt.node).body.join() == CONTENT


def test_the_chunks_of_one_put_go_to_each_peer_in_one_call():
    cluster = Cluster(nodes=3)
    calls = []
    peers = cluster.nodes["n1"].peers
    replicate = peers.replicate

    async def counted(node, upload, items):
        calls.append((node, len(items)))
        return await replicate(node, upload, items)

    peers.replicate = counted
    contents = [b"content %d" % number for number in range(10)]
    receipts = cluster.put(*contents, spread=REST, copies=3, ack=3)
    assert sorted(calls) == [("n2", 10), ("n3", 10)]
    assert len(receipts) == 30


def test_more_candidates_than_copies_are_not_used():
    cluster = Cluster(nodes=4)
    receipts = cluster.put(CONTENT, spread=("n3", "n2", "n4"), copies=2, ack=2)
    assert held_by(receipts) == ["n1", "n3"]
    assert cluster.fetch(CONTENT, node="n2").message.found == ("not_held",)


@pytest.mark.parametrize("content", [CONTENT, LARGE])
def test_a_dead_peer_is_replaced_by_the_next(content):
    cluster = Cluster(nodes=4)
    cluster.crash("n2")
    receipts = cluster.put(content, spread=("n2", "n3", "n4"), copies=3, ack=3)
    assert sorted(held_by(receipts)) == ["n1", "n3", "n4"]


def test_a_silent_peer_is_replaced_after_the_deadline_and_asked_last_from_then_on():
    cluster = Cluster(nodes=3)
    cluster.put(CONTENT, spread=REST, copies=3, ack=3)
    cluster.simulation.network.cut("n1", "n2")
    clock = cluster.simulation.clock
    for limit_seconds in (6, 0.1):
        began = clock.seconds()
        receipts = cluster.put(b"%d" % limit_seconds, spread=REST, copies=2, ack=2)
        assert held_by(receipts) == ["n1", "n3"]
        assert clock.seconds() - began < limit_seconds


def test_a_peer_that_the_coordinator_calls_down_is_asked_last():
    cluster = Cluster(nodes=3)
    cluster.coordinator.states["n2"] = "down"
    cluster.advance(2)
    assert held_by(cluster.put(CONTENT, spread=REST, copies=2, ack=2)) == ["n1", "n3"]
    cluster.coordinator.states["n3"] = "removed"
    cluster.advance(2)
    assert held_by(cluster.put(b"other", spread=REST, copies=2, ack=2)) == ["n1", "n2"]


def test_a_full_or_fenced_peer_is_replaced_at_once():
    cluster = Cluster(nodes=4)
    cluster.disks["n2"].resize(cluster.disks["n2"].used_bytes() + 10)
    cluster.simulation.network.cut("n3", "coordinator")
    cluster.advance(13)
    began = cluster.simulation.clock.seconds()
    receipts = cluster.put(LARGE, spread=("n2", "n3", "n4"), copies=2, ack=2)
    assert held_by(receipts) == ["n1", "n4"]
    assert cluster.simulation.clock.seconds() - began < 1


def test_an_ack_out_of_reach_is_not_enough_nodes_within_the_deadline():
    cluster = Cluster(nodes=3)
    cluster.crash("n2")
    cluster.simulation.network.cut("n1", "n3")
    began = cluster.simulation.clock.seconds()
    with pytest.raises(NotEnoughNodes) as caught:
        cluster.put(CONTENT, spread=REST, copies=3, ack=2)
    assert (caught.value.needed, caught.value.available) == (2, 1)
    assert cluster.simulation.clock.seconds() - began < 12


def test_names_that_nobody_knows_are_no_candidates():
    cluster = Cluster(nodes=2)
    strangers = tuple(f"x{number}" for number in range(5000))
    receipts = cluster.put(CONTENT, spread=(*strangers, "n1", "n2", "n2"), copies=3, ack=2)
    assert held_by(receipts) == ["n1", "n2"]
    with pytest.raises(NotEnoughNodes):
        cluster.put(b"more", spread=strangers, copies=3, ack=2)


def test_without_room_here_the_caller_is_told_so():
    cluster = Cluster(nodes=2)
    cluster.disks["n1"].resize(cluster.disks["n1"].used_bytes() + 10)
    with pytest.raises(DiskFull) as caught:
        cluster.put(LARGE, spread=("n2",), copies=2, ack=2)
    assert caught.value.node == "n1"


def test_a_slow_peer_is_not_waited_for_and_its_receipt_is_reported_late():
    cluster = Cluster(nodes=3)
    cluster.simulation.network.slow("n1", "n3", 0.5)
    began = cluster.simulation.clock.seconds()
    receipts = cluster.put(CONTENT, spread=REST, copies=3, ack=2)
    assert held_by(receipts) == ["n1", "n2"]
    assert cluster.simulation.clock.seconds() - began < 0.1
    cluster.advance(2)
    assert held_by(cluster.coordinator.late) == ["n3"]
    cluster.receipts.check(cluster.coordinator.late[0])


def test_copies_that_are_made_at_about_the_same_time_come_in_one_answer():
    cluster = Cluster(nodes=3)
    cluster.nodes["n1"].replication.linger_seconds = 0.1
    for number in range(10):
        assert len(cluster.put(b"%d" % number, spread=REST, copies=3, ack=1)) == 3
    cluster.advance(2)
    assert cluster.coordinator.late == []


def test_late_receipts_wait_for_a_coordinator_that_is_away_but_not_for_ever():
    cluster = Cluster(nodes=3)
    cluster.simulation.network.slow("n1", "n3", 0.5)
    cluster.coordinator.hears_reports = False
    cluster.put(CONTENT, spread=REST, copies=3, ack=2)
    cluster.advance(20)
    cluster.put(b"other", spread=REST, copies=3, ack=2)
    cluster.advance(45)  # the first is over a minute old now
    cluster.coordinator.hears_reports = True
    cluster.advance(2)
    assert [receipt.chunk for receipt in cluster.coordinator.late] == [chunk_id(b"other")]


@pytest.mark.parametrize("moment", [0.0, 0.001, 0.005, 0.05])
def test_what_was_begun_is_finished_when_the_caller_leaves(moment):
    cluster = Cluster(nodes=3)
    cluster.put(b"all are connected", spread=REST, copies=3, ack=3)
    cluster.simulation.network.slow("n1", "n3", 0.1)  # no answer before that
    putting = cluster.putting(CONTENT, spread=REST, copies=3, ack=3)
    cluster.advance(0.002 + moment)
    putting.cancel()
    outcome(cluster.simulation, putting)
    cluster.advance(2)
    copies = [
        name
        for name in cluster.nodes
        if cluster.fetch(CONTENT, node=name).message.found[0] == "here"
    ]
    assert copies in ([], ["n1", "n2", "n3"])
    late = [receipt for receipt in cluster.coordinator.late if receipt.chunk == chunk_id(CONTENT)]
    assert sorted(held_by(late)) == copies


def test_answers_wait_while_too_much_is_still_being_sent():
    cluster = Cluster(nodes=3)
    cluster.nodes["n1"].replication.max_behind_bytes = len(LARGE)
    cluster.simulation.network.slow("n1", "n3", 1.0)
    clock = cluster.simulation.clock
    times = []
    for number in range(3):
        began = clock.seconds()
        cluster.put(LARGE + b"%d" % number, spread=REST, copies=3, ack=2)
        times.append(clock.seconds() - began)
    assert [seconds > 0.5 for seconds in times] == [True, True, True]
    cluster.nodes["n1"].replication.max_behind_bytes = 10 * len(LARGE)
    began = clock.seconds()
    cluster.put(LARGE + b"last", spread=REST, copies=3, ack=2)
    assert clock.seconds() - began < 0.5
    cluster.advance(5)
    assert cluster.nodes["n1"].replication.behind_bytes == 0


def test_nothing_stays_behind_when_peers_die_in_the_middle():
    cluster = Cluster(nodes=3)
    cluster.put(b"all are connected", spread=REST, copies=3, ack=3)
    putting = [cluster.putting(LARGE + b"%d" % n, spread=REST, copies=3, ack=1) for n in range(5)]
    cluster.advance(0.005)
    cluster.crash("n3")
    for each in putting:
        assert "n1" in held_by(outcome(cluster.simulation, each).message.receipts)
    cluster.advance(30)
    assert cluster.nodes["n1"].replication.behind_bytes == 0


def test_a_peer_that_answers_for_other_chunks_is_not_believed():
    cluster = Cluster(nodes=3)
    wrong = cluster.put(b"something else", node="n2")

    class Liar:
        async def call(self, _method, _message, answer, _body, **_):
            return type("Answer", (), {"message": answer(wrong)})()

        async def close(self):
            return

    cluster.nodes["n1"].peers._callers["n2"] = Liar()
    assert held_by(cluster.put(CONTENT, spread=REST, copies=2, ack=2)) == ["n1", "n3"]


def test_a_report_reaches_the_coordinator_once():
    cluster = Cluster(nodes=1)
    [receipt] = cluster.put(CONTENT)
    for _ in range(5):
        cluster.nodes["n1"].replication.late([receipt])
    cluster.advance(5)
    assert cluster.coordinator.late == [receipt]
