"""What is durable before what is answered, seen in the system calls: kill -9 can't show it, as the
page cache outlives the process.
"""

import hashlib

import pytest
from real_cluster import COORDINATOR
from traced import READS, SYNCS, WRITES, calls, strace

pytestmark = pytest.mark.probe

CONTENT = hashlib.shake_256(b"order").digest(100_000)
CHUNK = hashlib.sha256(CONTENT).digest()
DONE = "0"


@pytest.fixture
def traced(make_cluster):
    """A whole cluster under strace that has just acknowledged one chunk."""
    cluster = make_cluster()
    for name in (COORDINATOR, *cluster.nodes):
        cluster.start(name, prefix=strace(cluster.folder / f"{name}.trace"))
    cluster.await_nodes(3)
    cluster.log_in()
    assert cluster.put("before", b"so that all connections are made").status == 201
    assert cluster.put("order.bin", CONTENT).status == 201
    cluster.await_copies(3)
    return cluster


def the_first(found):
    """The first of these calls; fails when there is none."""
    first = next(iter(found), None)
    assert first is not None
    return first


def test_a_node_gives_its_receipt_after_the_volume_is_synced(traced):
    for node in traced.nodes:
        seen = calls(traced.folder / f"{node}.trace")
        port = traced.node_ports[node]
        receipt = the_first(
            call
            for call in seen
            if call.name in WRITES and call.is_on_port(port) and CHUNK in call.data
        )
        written = [
            call
            for call in seen
            if call.name in WRITES and call.where.endswith(".vol") and call.begins < receipt.begins
        ]
        assert CHUNK in b"".join(call.data for call in written), node
        last = written[-1]
        assert CONTENT[:1000] in last.data, node
        assert any(
            call.name in SYNCS
            and call.where == last.where
            and call.result == DONE
            and last.ends < call.begins
            and call.ends < receipt.begins
            for call in seen
        ), node


def test_the_coordinator_answers_after_its_commit_is_durable(traced):
    seen = calls(traced.folder / f"{COORDINATOR}.trace")
    receipts = the_first(
        call
        for call in seen
        if call.name in READS and CHUNK in call.data and call.where.startswith("TCP")
    )
    answer = the_first(
        call
        for call in seen
        if call.name in WRITES
        and call.is_on_port(traced.http_port)
        and call.data.startswith(b"HTTP/1.1 201")
        and call.begins > receipts.ends
    )
    between = [call for call in seen if receipts.ends < call.begins and call.ends < answer.begins]
    stored = [call for call in between if call.where.endswith("data.mdb")]
    head = the_first(call for call in stored if call.name in WRITES and call.synchronous)
    pages = [call for call in stored if call.name in WRITES and call.ends < head.begins]
    assert CHUNK in b"".join(call.data for call in pages)
    assert any(
        call.name in SYNCS
        and call.result == DONE
        and pages[-1].ends < call.begins
        and call.ends < head.begins
        for call in stored
    )


def test_a_new_volume_is_found_after_a_power_cut(traced):
    for node in traced.nodes:
        seen = calls(traced.folder / f"{node}.trace")
        receipt = the_first(
            call
            for call in seen
            if call.name in WRITES
            and call.is_on_port(traced.node_ports[node])
            and CHUNK in call.data
        )
        assert any(
            call.name in SYNCS
            and call.where.endswith("/volumes")
            and call.result == DONE
            and call.ends < receipt.begins
            for call in seen
        ), node
