"""The memory twin's crashes: what LMDB may lose, and nothing more."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox.errors import StoreStopped
from minibox.simulation.clock import ProcessClock, VirtualClock
from minibox.simulation.threads import SimulatedThreads
from minibox.store import MemoryDisk, MemoryStore
from minibox.world import World

END = b"\xff"


def a_store(clock, disk, *, seed=1):
    world = World(
        clock=clock,
        random_bytes=Random(seed).randbytes,
        endpoints=None,
        threads=SimulatedThreads(clock, Random(seed)),
    )
    return MemoryStore(world, disk, commit_seconds=0.001)


def rows(store):
    return store.read(lambda reader: dict(reader.scan(b"", END)))


def write_pair(number):
    def write(writer):
        writer.put(b"left%03d" % number, b"")
        writer.put(b"right%03d" % number, b"")

    return write


def numbers(store, side):
    return {int(key[len(side) :]) for key in rows(store) if key.startswith(side)}


@given(seed=st.integers(0, 10_000), events=st.integers(0, 120), pause=st.integers(1, 5))
def test_a_crash_at_any_moment_keeps_all_that_was_acknowledged_and_no_half(seed, events, pause):
    clock, disk = VirtualClock(), MemoryDisk(Random(seed))
    store = a_store(clock, disk, seed=seed)
    acknowledged = []
    for number in range(events):
        store.write(write_pair(number)).addBoth(
            lambda problem, number=number: acknowledged.append(problem or number)
        )
        if number % pause == 0:
            clock.step()
    seen = numbers(store, b"left")
    at_crash = list(acknowledged)
    disk.crash()
    while clock.step():
        pass
    assert acknowledged == at_crash
    after = a_store(clock, disk, seed=seed)
    kept = numbers(after, b"left")
    assert kept == numbers(after, b"right")
    assert set(at_crash) <= seen <= kept
    assert kept == set(range(len(kept)))
    clock.run(after.write(write_pair(999)))
    assert 999 in numbers(after, b"left")


def test_a_crash_while_a_group_is_written_keeps_it_in_some_worlds_and_not_in_others():
    fates = set()
    for seed in range(20):
        clock, disk = VirtualClock(), MemoryDisk(Random(seed))
        store = a_store(clock, disk)
        store.write(write_pair(0))
        clock.step()
        assert rows(store) == {}
        disk.crash()
        fates.add(len(rows(a_store(clock, disk))))
    assert fates == {0, 2}


def test_a_process_that_died_alone_hears_nothing_more():
    clock, disk = VirtualClock(), MemoryDisk(Random(1))
    process = ProcessClock(clock)
    told = []
    store = a_store(process, disk)
    store.write(write_pair(0)).addBoth(told.append)
    clock.step()
    process.kill()
    disk.crash()
    while clock.step():
        pass
    assert told == []
    a_store(clock, disk)


def test_a_failed_sync_stops_the_store_and_loses_the_group():
    clock, disk = VirtualClock(), MemoryDisk(Random(1))
    store = a_store(clock, disk)
    clock.run(store.write(write_pair(0)))
    disk.sync_fails = True
    with pytest.raises(StoreStopped):
        clock.run(store.write(write_pair(1)))
    assert isinstance(clock.run(store.failed), StoreStopped)
    disk.sync_fails = False
    with pytest.raises(StoreStopped):
        clock.run(store.write(write_pair(2)))
    assert numbers(store, b"left") == {0}
    clock.run(store.close())
    assert numbers(a_store(clock, disk), b"left") == {0}


def test_a_commit_takes_its_time_on_the_clock():
    clock, disk = VirtualClock(), MemoryDisk(Random(1))
    store = a_store(clock, disk)
    clock.run(store.write(write_pair(0)))
    assert clock.seconds() >= 0.001


def test_one_seed_has_one_trace():
    def trace():
        clock, disk = VirtualClock(), MemoryDisk(Random(5))
        store = a_store(clock, disk, seed=5)
        told = []
        for number in range(50):
            store.write(write_pair(number)).addCallback(
                lambda _, number=number: told.append((number, clock.seconds()))
            )
            clock.step()
        disk.crash()
        return told, rows(a_store(clock, disk, seed=6))

    assert trace() == trace()


def test_a_backup_is_the_durable_rows_and_goes_its_own_way():
    clock, disk = VirtualClock(), MemoryDisk(Random(1))
    store = a_store(clock, disk)
    clock.run(store.write(write_pair(0)))
    backup = a_store(clock, disk.copy())
    clock.run(store.write(write_pair(1)))
    assert numbers(backup, b"left") == {0}


def test_a_flipped_bit_changes_one_value_by_one_bit():
    clock, disk = VirtualClock(), MemoryDisk(Random(1))
    assert disk.flip_a_bit() is None
    store = a_store(clock, disk)
    clock.run(store.write(lambda w: [w.put(b"%d" % n, b"\0" * 9) for n in range(5)] and None))
    key = disk.flip_a_bit()
    changed = {name: value for name, value in rows(store).items() if value != b"\0" * 9}
    assert list(changed) == [key]
    assert int.from_bytes(changed[key], "big").bit_count() == 1
