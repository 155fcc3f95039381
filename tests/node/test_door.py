"""What a node answers: who may, what is checked, and when a receipt is given."""

import msgspec
import pytest
from node_cluster import UPLOAD, Cluster, held_by, ref

from minibox.chunk import ChunkRef, chunk_id
from minibox.errors import (
    BadCapability,
    BadRecord,
    ChecksumMismatch,
    ChunkNotHeld,
    DiskFull,
    NodeFenced,
    StaleOrder,
    StoreStopped,
    TooLarge,
    UnknownMethod,
    ValidationFailed,
)
from minibox.node_api import (
    DELETE,
    FETCH,
    GET,
    HOLDS,
    MAX_BODY_BYTES,
    PULL,
    PUT,
    REPLICATE,
    VERIFY,
    Delete,
    DeleteAnswer,
    Fetch,
    Get,
    GetAnswer,
    Holds,
    Order,
    Pull,
    Put,
    PutAnswer,
    Receipts,
    Replicate,
    Verify,
    VerifyAnswer,
)
from minibox.world import sleep

SMALL = b"a small file"
LARGE = bytes(range(256)) * 1000


@pytest.fixture
def cluster():
    return Cluster()


# put and get


@pytest.mark.parametrize("content", [b"", SMALL, LARGE])
def test_what_was_put_is_given_back(cluster, content):
    [receipt] = cluster.put(content)
    cluster.receipts.check(receipt)
    assert (receipt.chunk, receipt.node, receipt.upload) == (chunk_id(content), "n1", UPLOAD)
    assert receipt.disk == cluster.nodes["n1"].shelf.status()[0].id
    answer = cluster.get(content)
    assert answer.message.found == ("here",)
    assert answer.body.join() == content


def test_many_chunks_go_in_one_call_and_come_in_one(cluster):
    contents = [b"%d" % number * 700 for number in range(64)]
    assert [receipt.chunk for receipt in cluster.put(*contents)] == list(map(chunk_id, contents))
    assert cluster.get(*contents).body.join() == b"".join(contents)


def test_what_is_missing_is_named_beside_what_is_here(cluster):
    cluster.put(SMALL)
    answer = cluster.get(b"unknown", SMALL)
    assert answer.message.found == ("not_held", "here")
    assert answer.body.join() == SMALL


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_a_wrong_hash_is_refused_and_nothing_is_stored(cluster, content):
    message = cluster.put_message([b"fine", content])
    wrong = bytes([content[0] ^ 1]) + content[1:]
    with pytest.raises(ChecksumMismatch) as caught:
        cluster.call("guest", PUT, message, PutAnswer, [b"fine", wrong])
    assert caught.value.expected == chunk_id(content).hex()
    assert caught.value.actual == chunk_id(wrong).hex()
    assert cluster.get(b"fine", content).message.found == ("not_held", "not_held")
    assert cluster.nodes["n1"].shelf.status()[0].chunks == 0


@pytest.mark.parametrize("body", [[SMALL[:-1]], [SMALL, b"more"], []])
def test_a_body_of_another_length_is_refused(cluster, body):
    with pytest.raises(BadRecord):
        cluster.call("guest", PUT, cluster.put_message([SMALL]), PutAnswer, body)


def with_capability(capability, **changes):
    changed = msgspec.structs.replace(capability, **changes)
    return Put(capability.scope, (changed,), ((),), 1, 1)


def test_a_capability_for_another_chunk_is_of_no_use(cluster):
    other = cluster.capability("put", ref(b"A small file"))
    with pytest.raises(ChecksumMismatch):
        cluster.call("guest", PUT, with_capability(other), PutAnswer, [SMALL])
    with pytest.raises(BadCapability):
        cluster.call(
            "guest", PUT, with_capability(other, chunk=chunk_id(SMALL)), PutAnswer, [SMALL]
        )


def test_a_capability_to_read_does_not_let_write_nor_the_other_way(cluster):
    cluster.put(SMALL)
    for_get = cluster.capability("get", ref(SMALL))
    with pytest.raises(BadCapability):
        cluster.call("guest", PUT, with_capability(for_get), PutAnswer, [SMALL])
    for_put = cluster.capability("put", ref(SMALL))
    with pytest.raises(BadCapability):
        cluster.call("guest", GET, Get((for_put,)), GetAnswer)


def test_a_capability_for_another_upload_is_refused(cluster):
    allowed = cluster.capability("put", ref(SMALL), scope=UPLOAD + 1)
    message = Put(UPLOAD, (allowed,), ((),), 1, 1)
    with pytest.raises(BadCapability):
        cluster.call("guest", PUT, message, PutAnswer, [SMALL])


def test_a_capability_expires_by_the_coordinators_clock(cluster):
    cluster.put(SMALL)
    to_put = cluster.capability("put", ref(b"late"), life_seconds=30)
    to_get = cluster.capability("get", ref(SMALL), life_seconds=30)
    cluster.call("guest", GET, Get((to_get,)), GetAnswer)
    cluster.advance(31)
    with pytest.raises(BadCapability):
        cluster.call("guest", GET, Get((to_get,)), GetAnswer)
    with pytest.raises(BadCapability):
        cluster.call("guest", PUT, with_capability(to_put), PutAnswer, [b"late"])


def test_a_capability_expires_also_while_the_coordinator_is_silent(cluster):
    cluster.put(SMALL)
    to_get = cluster.capability("get", ref(SMALL), life_seconds=60)
    cluster.fence()
    cluster.call("guest", GET, Get((to_get,)), GetAnswer)
    cluster.advance(60)
    with pytest.raises(BadCapability):
        cluster.call("guest", GET, Get((to_get,)), GetAnswer)


@pytest.mark.parametrize(
    "changes",
    [
        {"ack": 0},
        {"ack": 2},
        {"copies": 0},
        {"spread": ()},
        {"spread": ((), ())},
        {"capabilities": (), "spread": ()},
    ],
)
def test_a_put_of_a_strange_shape_is_refused(cluster, changes):
    message = msgspec.structs.replace(cluster.put_message([SMALL]), **changes)
    with pytest.raises(ValidationFailed):
        cluster.call("guest", PUT, message, PutAnswer, [SMALL])


def test_more_than_64_chunks_are_refused(cluster):
    contents = [b"%d" % number for number in range(65)]
    with pytest.raises(ValidationFailed):
        cluster.call("guest", PUT, cluster.put_message(contents), PutAnswer, contents)
    with pytest.raises(ValidationFailed):
        cluster.get(*contents)


def test_an_answer_larger_than_a_body_may_be_is_refused(cluster):
    chunks = (ChunkRef(chunk_id(b"a"), MAX_BODY_BYTES), ChunkRef(chunk_id(b"b"), 1))
    with pytest.raises(TooLarge):
        cluster.call("coordinator", FETCH, Fetch(chunks), GetAnswer)


def test_a_chunk_id_of_another_length_is_refused(cluster):
    with pytest.raises(BadRecord):
        cluster.call("coordinator", FETCH, Fetch((ChunkRef(b"x" * 600, 1),)), GetAnswer)


@pytest.mark.parametrize(
    ("role", "method", "message"),
    [
        ("guest", REPLICATE, Replicate(1, (), (), ())),
        ("coordinator", REPLICATE, Replicate(1, (), (), ())),
        ("guest", FETCH, Fetch(())),
        ("guest", HOLDS, Holds(1, ())),
        ("node", HOLDS, Holds(1, ())),
        ("node", VERIFY, Verify(())),
        ("guest", VERIFY, Verify(())),
    ],
)
def test_calls_are_offered_only_to_who_needs_them(cluster, role, method, message):
    with pytest.raises(UnknownMethod):
        cluster.call(role, method, message, Receipts)


@pytest.mark.parametrize("role", ["guest", "node"])
def test_only_the_coordinator_orders(cluster, role):
    [receipt] = cluster.put(SMALL)
    order = cluster.coordinator.order(500)
    with pytest.raises(UnknownMethod):
        cluster.call(role, DELETE, Delete(order, (receipt.chunk,)), DeleteAnswer)
    with pytest.raises(UnknownMethod):
        cluster.call(role, PULL, Pull(order, ref(SMALL), ("n1",)), Receipts)


def test_a_put_without_room_says_so(cluster):
    cluster.disks["n1"].resize(cluster.disks["n1"].used_bytes() + 1000)
    with pytest.raises(DiskFull):
        cluster.put(LARGE)


# Durability


def test_a_receipt_comes_only_after_the_sync(cluster):
    cluster.put(b"first, so that the volume is there")
    events = []
    cluster.disks["n1"].watch(lambda verb, _: events.append(verb))
    putting = cluster.putting(SMALL)
    putting.addCallback(lambda _: events.append("receipt"))
    cluster.simulation.run(putting)
    assert events == ["append", "sync", "receipt"]


def test_what_has_a_receipt_outlives_a_power_cut(cluster):
    for number in range(20):
        cluster.put(b"content %d" % number)
    cluster.crash("n1")
    cluster.start("n1")
    cluster.advance(2)
    for number in range(20):
        assert cluster.get(b"content %d" % number).message.found == ("here",)


def test_after_a_failed_sync_nothing_more_is_acknowledged(cluster):
    cluster.put(SMALL)
    cluster.disks["n1"].fail_next_sync()
    for content in (b"lost", b"after"):
        with pytest.raises(StoreStopped):
            cluster.put(content)
    assert cluster.get(SMALL).body.join() == SMALL
    cluster.advance(1)
    assert not cluster.coordinator.beats[-1].disks[0].takes_writes


# Fencing and orders


def test_a_fenced_node_refuses_writes_and_serves_reads(cluster):
    cluster.put(SMALL)
    allowed = cluster.put_message([b"new"])
    cluster.fence()
    replicate = Replicate(1, (ref(SMALL),), (1,), (0,))
    order = cluster.coordinator.order()
    for role, method, message, body in (
        ("guest", PUT, allowed, [b"new"]),
        ("node", REPLICATE, replicate, [SMALL]),
        ("coordinator", HOLDS, Holds(1, (ref(SMALL),)), ()),
        ("coordinator", PULL, Pull(order, ref(SMALL), ("n2",)), ()),
        ("coordinator", DELETE, Delete(order, (chunk_id(SMALL),)), ()),
    ):
        with pytest.raises(NodeFenced):
            cluster.call(role, method, message, Receipts, body)
    assert cluster.get(SMALL).body.join() == SMALL
    assert cluster.nodes["n1"].shelf.status()[0].chunks == 1
    cluster.coordinator.answers = True
    cluster.advance(2)
    assert cluster.put(b"new")


def test_a_node_whose_answer_grows_old_during_a_put_gives_no_receipt(cluster):
    cluster.coordinator.answers = False
    cluster.advance(9)
    message = cluster.put_message([SMALL])
    put = cluster.nodes["n1"].shelf.put

    async def put_slowly(items):
        disks = await put(items)
        await sleep(cluster.simulation.clock, 5)
        return disks

    cluster.nodes["n1"].shelf.put = put_slowly
    with pytest.raises(NodeFenced):
        cluster.call("guest", PUT, message, PutAnswer, [SMALL])


def delete(cluster, content, order):
    message = Delete(order, (chunk_id(content),))
    return cluster.call("coordinator", DELETE, message, DeleteAnswer).message.gone


def test_a_delete_removes_what_was_put_under_a_lower_sequence(cluster):
    cluster.put(SMALL, sequence=100)
    assert delete(cluster, SMALL, cluster.coordinator.order(101)) == (True,)
    assert cluster.get(SMALL).message.found == ("not_held",)
    assert delete(cluster, SMALL, cluster.coordinator.order(102)) == (True,)


@pytest.mark.parametrize("sequence", [100, 120])
def test_a_chunk_put_again_later_is_not_deleted(cluster, sequence):
    cluster.put(SMALL, sequence=80)
    cluster.put(SMALL, sequence=120)
    assert delete(cluster, SMALL, cluster.coordinator.order(sequence)) == (False,)
    assert cluster.get(SMALL).message.found == ("here",)


def test_an_older_term_is_refused(cluster):
    cluster.put(SMALL)
    older = Order(0, b"zero", 500)
    with pytest.raises(StaleOrder):
        delete(cluster, SMALL, older)
    assert cluster.get(SMALL).message.found == ("here",)


def test_another_id_in_the_same_term_is_refused(cluster):
    cluster.put(SMALL)
    with pytest.raises(StaleOrder):
        delete(cluster, SMALL, Order(1, b"second", 500))


def test_a_new_term_is_obeyed_only_after_its_coordinator_has_answered(cluster):
    cluster.put(SMALL)
    with pytest.raises(NodeFenced):
        delete(cluster, SMALL, Order(2, b"next", 500))
    assert cluster.get(SMALL).message.found == ("here",)
    with pytest.raises(NodeFenced):
        cluster.put(b"more")  # whoever ordered last is not who answered
    cluster.coordinator.term, cluster.coordinator.id = 2, b"next"
    cluster.coordinator.sequence = 500
    cluster.advance(2)
    assert delete(cluster, SMALL, Order(2, b"next", 501)) == (True,)


def test_a_delete_is_obeyed_after_its_sequence_is_durable(cluster):
    cluster.put(SMALL)
    events = []
    cluster.disks["n1"].watch(lambda verb, name: events.append((verb, name)))
    delete(cluster, SMALL, cluster.coordinator.order(200))
    kept = events.index(("rename", "obeyed"))
    assert kept < events.index(("append", "volumes/00000001.vol"))
    assert ("sync_directory", "") in events[kept : events.index(("append", "volumes/00000001.vol"))]


def test_what_was_obeyed_outlives_a_power_cut(cluster):
    cluster.put(SMALL)
    delete(cluster, SMALL, cluster.coordinator.order(200))
    cluster.crash("n1")
    cluster.coordinator.term, cluster.coordinator.id = 2, b"restored"
    cluster.coordinator.sequence = 150
    cluster.start("n1")
    cluster.advance(3)
    assert cluster.nodes["n1"].obedience.is_fenced
    assert (cluster.coordinator.beats[-1].term, cluster.coordinator.beats[-1].sequence) == (1, 200)
    cluster.coordinator.sequence = 201
    cluster.advance(2)
    assert not cluster.nodes["n1"].obedience.is_fenced


def test_deletes_work_on_a_full_disk(cluster):
    cluster.put(SMALL)
    cluster.disks["n1"].resize(cluster.disks["n1"].used_bytes())
    assert delete(cluster, SMALL, cluster.coordinator.order(200)) == (True,)


def test_a_delete_of_many_chunks_answers_for_each(cluster):
    cluster.put(b"one", b"two")
    cluster.put(b"three", sequence=300)
    chunks = tuple(map(chunk_id, (b"one", b"three", b"never here", b"two", b"one")))
    message = Delete(cluster.coordinator.order(200), chunks)
    answer = cluster.call("coordinator", DELETE, message, DeleteAnswer)
    assert answer.message.gone == (True, False, True, True, True)


# What is here, and whether it is good


def test_holds_gives_fresh_receipts_for_what_came_under_the_upload(cluster):
    cluster.put(SMALL)
    message = Holds(UPLOAD, (ref(b"absent"), ref(SMALL), ChunkRef(chunk_id(SMALL), 5)))
    receipts = cluster.call("coordinator", HOLDS, message, Receipts).message.receipts
    assert [(receipt.chunk, receipt.upload) for receipt in receipts] == [(chunk_id(SMALL), UPLOAD)]
    cluster.receipts.check(receipts[0])


def test_holds_tells_another_upload_nothing_of_what_is_here(cluster):
    cluster.put(SMALL)
    message = Holds(UPLOAD + 1, (ref(SMALL),))
    assert cluster.call("coordinator", HOLDS, message, Receipts).message.receipts == ()


def test_verify_tells_good_from_damaged_from_absent(cluster):
    cluster.put(SMALL, b"something else")
    cluster.rot("n1", SMALL)
    message = Verify((chunk_id(b"absent"), chunk_id(SMALL), chunk_id(b"something else")))
    answer = cluster.call("coordinator", VERIFY, message, VerifyAnswer)
    assert answer.message.found == ("not_held", "damaged", "good")
    cluster.advance(1)
    assert cluster.coordinator.damage == [("n1", chunk_id(SMALL))]


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_a_rotten_copy_is_never_given_is_reported_and_is_healed_by_a_pull(content):
    cluster = Cluster(nodes=2)
    cluster.put_everywhere(content)
    cluster.rot("n1", content)
    answer = cluster.get(content)
    assert answer.message.found == ("damaged",)
    assert len(answer.body) == 0
    cluster.advance(1)
    assert ("n1", chunk_id(content)) in cluster.coordinator.damage
    message = Pull(cluster.coordinator.order(), ref(content), ("n2",))
    [receipt] = cluster.call("coordinator", PULL, message, Receipts).message.receipts
    cluster.receipts.check(receipt)
    assert (receipt.node, receipt.chunk) == ("n1", chunk_id(content))
    assert cluster.get(content).body.join() == content


def test_a_pull_goes_on_to_the_next_source(cluster):
    cluster = Cluster(nodes=4)
    cluster.put(SMALL, node="n3")
    cluster.put(SMALL, node="n4")
    cluster.rot("n3", SMALL)
    cluster.crash("n2")
    message = Pull(cluster.coordinator.order(), ref(SMALL), ("n2", "n3", "n4"))
    [receipt] = cluster.call("coordinator", PULL, message, Receipts).message.receipts
    assert held_by([receipt]) == ["n1"]
    assert cluster.get(SMALL).body.join() == SMALL


def test_a_pull_without_a_good_source_says_why(cluster):
    cluster = Cluster(nodes=2)
    message = Pull(cluster.coordinator.order(), ref(SMALL), ("n2",))
    with pytest.raises(ChunkNotHeld):
        cluster.call("coordinator", PULL, message, Receipts)


def test_a_pulled_copy_is_safe_from_deletes_that_are_older_than_the_pull(cluster):
    cluster = Cluster(nodes=2)
    cluster.put(SMALL, node="n2")
    cluster.coordinator.sequence = 300
    message = Pull(cluster.coordinator.order(), ref(SMALL), ("n2",))
    cluster.call("coordinator", PULL, message, Receipts)
    assert delete(cluster, SMALL, cluster.coordinator.order(250)) == (False,)


def test_a_peer_whose_bytes_were_altered_on_the_way_is_refused(cluster):
    message = Replicate(1, (ref(SMALL),), (1,), (12345,))
    with pytest.raises(BadRecord):
        cluster.call("node", REPLICATE, message, Receipts, [SMALL])
