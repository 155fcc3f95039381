import pytest
from chunk_machine import CLUSTER, SMALL, Machine, incoming, ref
from twisted.internet.defer import Deferred

from minibox.errors import (
    ChunkDamaged,
    ChunkNotHeld,
    DirectoryRefused,
    DiskFull,
    FormatTooNew,
    StoreStopped,
)
from minibox.node.marker import MARKER, claim
from minibox.node.shelf import Shelf
from minibox.node.volume import RECORD_HEADER_BYTES

HELLO = b"hello, chunk " * 10
OTHER = b"another one " * 20


@pytest.fixture
def machine():
    return Machine()


def start(awaitable):
    return Deferred.fromCoroutine(awaitable)


# Put and get


def test_what_was_put_is_read_back(machine):
    chunk = machine.put(HELLO)
    assert machine.get(chunk) == HELLO
    assert machine.store.holds(chunk.id) == chunk
    assert machine.store.status().chunks == 1


def test_every_length_is_read_back_from_the_cache_and_from_the_disk():
    machine = Machine(limits=SMALL._replace(inline_bytes=100, volume_bytes=1 << 20))
    contents = [bytes([length % 256]) * length for length in (0, 1, 99, 100, 101, 8000, 70_000)]
    chunks = [machine.put(content) for content in contents]
    for _ in range(5):
        assert [machine.get(chunk) for chunk in chunks] == contents
        assert machine.run(machine.store.get_many(chunks)) == contents


def test_what_was_never_put_is_not_held(machine):
    machine.put(HELLO)
    with pytest.raises(ChunkNotHeld):
        machine.get(ref(OTHER))
    assert machine.store.holds(ref(OTHER).id) is None
    assert machine.verify(ref(OTHER)) == ["not_held"]


def test_a_wrong_length_is_never_served(machine):
    chunk = machine.put(HELLO)
    with pytest.raises(ChunkNotHeld):
        machine.get(type(chunk)(chunk.id, chunk.length + 1))


def test_many_are_read_at_once_with_a_reason_for_each_that_is_missing(machine):
    first, second = machine.put(HELLO), machine.put(OTHER)
    volume, offset = machine.find(OTHER)
    machine.disk.flip(volume, offset, 1)
    found = machine.run(machine.store.get_many([second, ref(b"no"), first]))
    assert isinstance(found[0], ChunkDamaged)
    assert isinstance(found[1], ChunkNotHeld)
    assert found[2] == HELLO


def test_one_put_may_name_a_chunk_twice(machine):
    items = [incoming(HELLO, 3), incoming(OTHER), incoming(HELLO, 9)]
    machine.run(machine.store.put(items))
    assert machine.get(ref(HELLO)) == HELLO
    assert not machine.delete(ref(HELLO), 9)
    assert machine.store.status().chunks == 2


def test_the_answer_comes_after_the_sync_of_what_was_appended(machine):
    events = []
    machine.disk.watch(lambda verb, _: events.append(verb))
    putting = start(machine.store.put([incoming(HELLO)]))
    putting.addCallback(lambda _: events.append("answered"))
    machine.run(putting)
    assert events == [
        # the volume exists and has its name before it takes records
        *("remove", "create", "append", "sync", "sync_directory"),
        *("append", "sync", "answered"),
    ]


def test_all_that_waits_is_written_with_one_sync(machine):
    machine.put(HELLO)
    events = []
    machine.disk.watch(lambda verb, _: events.append(verb))
    contents = [b"%d" % number for number in range(40)]
    putting = [start(machine.store.put([incoming(content)])) for content in contents]
    for each in putting:
        machine.run(each)
    assert events == ["append", "sync"] * 2  # the first alone, the others together
    assert [machine.get(ref(content)) for content in contents] == contents


def test_a_batch_has_bounds():
    machine = Machine(limits=SMALL._replace(batch_bytes=1000))
    contents = [bytes([number]) * 400 for number in range(8)]
    putting = [start(machine.store.put([incoming(content)])) for content in contents]
    syncs = []
    machine.disk.watch(lambda verb, _: syncs.append(verb) if verb == "append" else None)
    for each in putting:
        machine.run(each)
    assert len(syncs) >= 5
    assert [machine.get(ref(content)) for content in contents] == contents


def test_volumes_do_not_grow_past_their_size(machine):
    contents = [bytes([number]) * 1500 for number in range(9)]
    chunks = [machine.put(content) for content in contents]
    assert len(machine.volumes()) == 5
    assert all(len(machine.disk.content(name)) <= 4096 for name in machine.volumes())
    assert [machine.get(chunk) for chunk in chunks] == contents


def test_a_chunk_larger_than_a_volume_has_one_of_its_own(machine):
    chunks = [machine.put(bytes([number]) * 9000) for number in range(3)]
    assert len(machine.volumes()) == 3
    assert machine.get(chunks[1]) == b"\1" * 9000


def test_a_caller_that_left_does_not_harm_the_others(machine):
    first = start(machine.store.put([incoming(HELLO)]))
    left = start(machine.store.put([incoming(OTHER)]))
    last = start(machine.store.put([incoming(b"third")]))
    left.addErrback(lambda _: None)
    left.cancel()
    machine.run(first)
    machine.run(last)
    assert machine.get(ref(b"third")) == b"third"


# A chunk that is put again


def test_a_duplicate_is_written_once(machine):
    machine.put(HELLO, 5)
    size = machine.store.status().used
    machine.put(HELLO, 5)
    machine.put(HELLO, 4)
    assert machine.store.status().used == size
    machine.put(HELLO, 6)
    assert machine.store.status().used == size + RECORD_HEADER_BYTES


@pytest.mark.parametrize("in_header", [True, False])
def test_a_duplicate_over_a_rotten_copy_heals_it(machine, in_header):
    chunk = machine.put(HELLO, 5)
    volume, offset = machine.find(HELLO)
    machine.disk.flip(volume, offset - 30 if in_header else offset + 3, 0x10)
    machine.put(HELLO, 2)
    assert machine.get(chunk) == HELLO
    assert machine.verify(chunk) == ["good"]
    assert not machine.delete(chunk, 5)
    machine.lose_index()
    machine.crash()
    assert machine.get(chunk) == HELLO
    assert not machine.delete(chunk, 5)


def test_two_puts_of_one_chunk_at_once_keep_the_higher_sequence(machine):
    putting = [start(machine.store.put([incoming(HELLO, number)])) for number in (3, 9, 5)]
    for each in putting:
        machine.run(each)
    assert not machine.delete(ref(HELLO), 9)
    assert machine.delete(ref(HELLO), 10)


# Delete


def test_a_deleted_chunk_is_not_held_and_can_be_put_again(machine):
    chunk = machine.put(HELLO, 1)
    assert machine.delete(chunk, 2)
    with pytest.raises(ChunkNotHeld):
        machine.get(chunk)
    assert machine.store.status().chunks == 0
    machine.put(HELLO, 3)
    assert machine.get(chunk) == HELLO


def test_a_delete_older_than_the_put_is_refused(machine):
    chunk = machine.put(HELLO, 5)
    assert not machine.delete(chunk, 5)
    assert machine.get(chunk) == HELLO


def test_a_late_delete_does_not_reach_a_chunk_that_was_put_again(machine):
    chunk = machine.put(HELLO, 1)
    machine.put(HELLO, 8)
    machine.crash()
    assert not machine.delete(chunk, 7)
    assert machine.get(chunk) == HELLO


def test_deleting_what_is_not_here_is_done(machine):
    assert machine.delete(ref(HELLO), 1)


def test_a_delete_behind_a_put_that_still_waits_is_judged_after_it(machine):
    start(machine.store.put([incoming(OTHER)]))
    putting = start(machine.store.put([incoming(HELLO, 5)]))
    early = start(machine.store.delete(ref(HELLO).id, 4))
    late = start(machine.store.delete(ref(HELLO).id, 6))
    machine.run(putting)
    assert not machine.run(early)
    assert machine.run(late)
    assert machine.store.holds(ref(HELLO).id) is None


# Damage


def test_no_flipped_byte_of_the_content_is_ever_served(machine):
    chunk = machine.put(HELLO)
    volume, offset = machine.find(HELLO)
    machine.disk.flip(volume, offset + 7, 4)
    with pytest.raises(ChunkDamaged):
        machine.get(chunk)
    assert machine.damage == [chunk.id]
    assert machine.store.holds(chunk.id) is None
    machine.disk.flip(volume, offset + 7, 4)
    with pytest.raises(ChunkDamaged):  # what was bad once is not trusted again
        machine.get(chunk)


def test_quarantine_outlives_restarts_and_the_index_and_is_reported_again(machine):
    chunk = machine.put(HELLO)
    volume, offset = machine.find(HELLO)
    machine.disk.flip(volume, offset, 1)
    assert machine.verify(chunk) == ["damaged"]
    machine.close()
    machine.disk.flip(volume, offset, 1)
    for forget in (lambda: None, machine.lose_index):
        machine.damage.clear()
        forget()
        machine.crash()
        assert machine.damage == [chunk.id]
        assert machine.store.quarantined() == [chunk.id]
        assert machine.store.holds(chunk.id) is None
        assert machine.verify(chunk) == ["damaged"]


def test_verify_finds_damage_that_reads_do_not(machine):
    chunk = machine.put(HELLO)
    volume, offset = machine.find(HELLO)
    machine.disk.flip(volume, offset - 1, 1)
    assert machine.get(chunk) == HELLO
    assert machine.verify(chunk) == ["damaged"]
    assert machine.damage == [chunk.id]


def test_a_copy_that_never_was_its_chunk_is_found_by_verify(machine):
    liar = incoming(OTHER)._replace(chunk=type(ref(HELLO))(ref(HELLO).id, len(OTHER)))
    machine.run(machine.store.put([liar]))
    assert machine.verify(ref(HELLO)) == ["damaged"]
    machine.put(HELLO)
    assert machine.get(ref(HELLO)) == HELLO


def test_an_unreadable_volume_is_damage_of_its_chunks_alone(machine):
    first = machine.put(bytes(3000))
    second = machine.put(bytes(3001))
    machine.disk.make_unreadable(machine.volumes()[0])
    with pytest.raises(ChunkDamaged):
        machine.get(first)
    assert machine.get(second) == bytes(3001)


def test_a_quarantined_chunk_can_be_deleted(machine):
    chunk = machine.put(HELLO)
    volume, offset = machine.find(HELLO)
    machine.disk.flip(volume, offset, 1)
    assert machine.verify(chunk) == ["damaged"]
    assert machine.delete(chunk, 2)
    assert machine.store.quarantined() == []
    assert machine.verify(chunk) == ["not_held"]


# Full disks


def test_a_full_disk_refuses_chunks_keeps_the_rest_and_comes_back(machine):
    chunk = machine.put(HELLO, 1)
    gone = machine.put(OTHER, 1)
    machine.disk.resize(machine.disk.used_bytes() + SMALL.reserve_bytes + 100)
    with pytest.raises(DiskFull):
        machine.put(b"x" * 1000)
    assert machine.store.holds(ref(b"x" * 1000).id) is None
    assert machine.get(chunk) == HELLO
    machine.put(HELLO, 7)
    assert not machine.delete(chunk, 7)
    assert machine.delete(gone, 2)
    machine.disk.resize(1 << 30)
    machine.put(b"x" * 1000)
    assert machine.get(ref(b"x" * 1000)) == b"x" * 1000


def test_deletes_work_on_a_disk_without_a_byte_left(machine):
    chunks = [machine.put(bytes([number]) * 100, 1) for number in range(5)]
    machine.disk.resize(machine.disk.used_bytes())
    assert not machine.store.status().takes_writes
    assert all(machine.delete(chunk, 2) for chunk in chunks[:4])
    with pytest.raises(DiskFull):
        machine.put(b"new")
    machine.crash()
    assert [machine.store.holds(chunk.id) for chunk in chunks] == [None] * 4 + [chunks[4]]


def test_without_ballast_a_delete_is_refused_and_nothing_breaks(machine):
    chunks = [machine.put(bytes([number]) * 100, 1) for number in range(20)]
    machine.disk.resize(machine.disk.used_bytes())
    outcomes = []
    for chunk in chunks:
        try:
            outcomes.append(machine.delete(chunk, 2))
        except DiskFull:
            outcomes.append(None)
    assert outcomes[:7] == [True] * 7
    assert outcomes[-1] is None
    machine.disk.resize(1 << 30)
    assert all(machine.delete(chunk, 2) for chunk in chunks)


def test_deletes_that_wait_beside_chunks_too_many_go_through(machine):
    chunk = machine.put(HELLO, 1)
    other = machine.put(OTHER, 1)
    machine.disk.resize(machine.disk.used_bytes() + 1000)
    busy = start(machine.store.delete(other.id, 2))
    putting = start(machine.store.put([incoming(b"x" * 3000)]))
    deleting = start(machine.store.delete(chunk.id, 2))
    machine.run(busy)
    with pytest.raises(DiskFull):
        machine.run(putting)
    assert machine.run(deleting)


def test_the_ballast_is_made_again_when_there_is_room(machine):
    chunk = machine.put(HELLO, 1)
    machine.disk.resize(machine.disk.used_bytes())
    machine.delete(chunk, 2)
    assert "ballast" not in machine.disk.names()
    machine.disk.resize(1 << 30)
    machine.clock.advance(60)
    assert "ballast" in machine.disk.names()


# Failed disks


def test_after_a_failed_sync_nothing_is_acknowledged_and_reads_go_on(machine):
    chunk = machine.put(HELLO)
    machine.disk.fail_next_sync()
    putting = [start(machine.store.put([incoming(b"%d" % number)])) for number in range(3)]
    for each in putting:
        with pytest.raises(StoreStopped):
            machine.run(each)
    with pytest.raises(StoreStopped):
        machine.put(b"later")
    with pytest.raises(StoreStopped):
        machine.delete(chunk, 9)
    assert machine.store.holds(ref(b"0").id) is None
    assert machine.get(chunk) == HELLO
    assert machine.store.stopped is not None
    assert not machine.store.status().takes_writes
    machine.close()


def test_what_a_failed_sync_took_is_not_held_after_a_restart():
    for seed in range(30):
        machine = Machine(seed)
        chunk = machine.put(HELLO)
        machine.disk.fail_next_sync()
        with pytest.raises(StoreStopped):
            machine.put(OTHER)
        machine.start()  # the page cache still shows what never reached the disk
        held = machine.store.holds(ref(OTHER).id)
        machine.crash()
        assert machine.store.holds(ref(OTHER).id) == held
        assert held is None or machine.get(held) == OTHER
        assert machine.get(chunk) == HELLO


def test_a_bug_in_a_batch_stops_the_disk(machine, monkeypatch):
    machine.put(HELLO)
    monkeypatch.setattr(machine.store._writer, "_index", None)
    with pytest.raises(StoreStopped):
        machine.put(OTHER)
    with pytest.raises(StoreStopped):
        machine.put(OTHER)


def test_a_closed_store_takes_nothing_and_finishes_what_waits(machine):
    putting = [start(machine.store.put([incoming(b"%d" % number)])) for number in range(5)]
    machine.close()
    assert all(each.called for each in putting)
    with pytest.raises(StoreStopped):
        machine.put(b"late")
    machine.start()
    assert machine.recovery.records == 0
    assert len(machine.store.refs()) == 5


# Listing


def test_chunks_are_listed_by_id_in_ranges_across_index_and_overlay(machine):
    chunks = sorted((machine.put(b"%d" % number) for number in range(30)), key=lambda each: each.id)
    machine.run(machine.store.checkpoint())
    chunks += [machine.put(b"%d" % number) for number in range(30, 60)]
    chunks.sort(key=lambda each: each.id)
    for number in range(0, 60, 7):
        machine.delete(chunks[number], 5)
    left = [chunk for number, chunk in enumerate(chunks) if number % 7]
    assert machine.store.refs(limit=100) == left
    assert machine.store.refs(limit=10) == left[:10]
    assert machine.store.refs(start=left[5].id, stop=left[9].id) == left[5:9]
    assert machine.store.refs(start=left[5].id + b"\0", limit=3) == left[6:9]
    assert machine.store.status().chunks == len(left)


# Markers


def test_an_empty_directory_becomes_a_new_disk_once(machine):
    first = machine.store.disk_id
    machine.start()
    assert (machine.store.disk_id, machine.store.is_new) == (first, False)
    machine.disk.lose()
    machine.lose_index()
    machine.start()
    assert machine.store.disk_id != first
    assert machine.store.is_new


def test_a_directory_of_another_cluster_or_node_is_refused(machine):
    machine.disk.kill()
    for cluster, node in ((b"another cluster!", "n1"), (CLUSTER, "n2")):
        machine.disk.kill()
        with pytest.raises(DirectoryRefused):
            claim(machine.disk.attach(), cluster, node, machine.generator.randbytes)


def test_no_flipped_bit_of_the_marker_is_believed(machine):
    size = len(machine.disk.content(MARKER)) - 1
    for offset in range(size):
        for mask in (1, 4, 32):
            machine.disk.flip(MARKER, offset, mask)
            machine.disk.kill()
            with pytest.raises((DirectoryRefused, FormatTooNew)):
                claim(machine.disk.attach(), CLUSTER, "n1", machine.generator.randbytes)
            machine.disk.flip(MARKER, offset, mask)


def test_a_full_directory_without_a_marker_is_refused(machine):
    machine.put(HELLO)
    machine.disk.remove(MARKER)
    with pytest.raises(DirectoryRefused):
        machine.start()


def test_a_volume_of_another_disk_is_refused(machine):
    other = Machine(seed=1)
    other.put(HELLO)
    disk = machine.disk.attach()
    file = disk.create("volumes/00000001.vol")
    file.append([other.disk.content("volumes/00000001.vol")])
    file.sync()
    with pytest.raises(DirectoryRefused):
        machine.start()


# Several disks


class TwoDisks:
    def __init__(self):
        self.machines = [Machine(1, total_bytes=1 << 20), Machine(2, total_bytes=1 << 21)]
        for machine in self.machines:
            machine.clock = self.machines[0].clock
            machine.start()
        self.shelf = Shelf("n1", [machine.store for machine in self.machines])
        self.run = self.machines[0].run

    def put(self, content, sequence=1):
        [disk] = self.run(self.shelf.put([incoming(content, sequence)]))
        return [machine.store.disk_id for machine in self.machines].index(disk)


def test_new_chunks_go_where_most_is_free():
    disks = TwoDisks()
    where = [disks.put(bytes([number]) * 50_000) for number in range(25)]
    assert where[:10] == [1] * 10
    assert set(where[21:]) == {0, 1}
    for number in range(25):
        content = bytes([number]) * 50_000
        assert disks.run(disks.shelf.get(ref(content))) == content


def test_a_known_chunk_goes_to_its_own_disk():
    disks = TwoDisks()
    disks.run(disks.machines[0].store.put([incoming(HELLO, 1)]))
    assert disks.put(HELLO, 5) == 0
    assert not disks.run(disks.shelf.delete(ref(HELLO).id, 5))


def test_a_failed_disk_is_one_disk():
    disks = TwoDisks()
    assert disks.put(HELLO) == 1
    disks.machines[1].disk.fail_next_sync()
    assert disks.put(OTHER) == 0
    assert disks.put(b"more") == 0
    assert disks.run(disks.shelf.get(ref(HELLO))) == HELLO
    disks.machines[0].disk.fail_next_sync()
    with pytest.raises(StoreStopped):
        disks.put(b"even more")


def test_full_disks_are_full_together():
    disks = TwoDisks()
    full, other = (machine.disk for machine in disks.machines[::-1])
    full.resize(full.used_bytes())
    assert disks.put(HELLO) == 0
    other.resize(other.used_bytes())
    with pytest.raises(DiskFull):
        disks.put(OTHER)
    assert disks.run(disks.shelf.delete(ref(HELLO).id, 2))


def test_a_good_copy_is_found_behind_a_bad_one_and_deletes_reach_both():
    disks = TwoDisks()
    for machine in disks.machines:
        disks.run(machine.store.put([incoming(HELLO)]))
    volume, offset = disks.machines[0].find(HELLO)
    disks.machines[0].disk.flip(volume, offset, 1)
    assert disks.run(disks.shelf.get(ref(HELLO))) == HELLO
    assert disks.run(disks.shelf.verify([ref(HELLO).id])) == ["good"]
    assert disks.machines[0].damage == [ref(HELLO).id] * 2
    assert disks.shelf.holds(ref(HELLO).id).disk == disks.machines[1].store.disk_id
    assert disks.run(disks.shelf.delete(ref(HELLO).id, 2))
    assert not any(machine.store.knows(ref(HELLO).id) for machine in disks.machines)
