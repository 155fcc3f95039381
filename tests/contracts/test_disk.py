"""What every disk promises: the operating system's and the simulated one."""

import errno
import os
from random import Random

import pytest

from minibox.disk import OperatingSystemDisk
from minibox.errors import DirectoryRefused, NoRoom, StoreStopped
from minibox.simulation.disk import SimulatedDisk


@pytest.fixture(params=["system", "simulated"])
def attach(request, tmp_path):
    """Attaches to one disk, again and again, as processes that start do."""
    if request.param == "system":
        return lambda: OperatingSystemDisk(tmp_path)
    return SimulatedDisk(Random(1)).attach


@pytest.fixture
def disk(attach):
    return attach()


def test_appended_parts_are_read_end_to_end(disk):
    file = disk.create("a")
    assert file.append([b"one", memoryview(b"-two"), bytearray(b"-three")]) == 0
    assert file.append([b"!"]) == 13
    assert file.read(0, 14) == b"one-two-three!"
    assert file.read(4, 3) == b"two"
    assert file.size() == 14


def test_more_parts_than_one_call_takes_are_appended_in_order(disk):
    parts = [bytes([number % 251]) * (number % 7) for number in range(5000)]
    file = disk.create("a")
    file.append(parts)
    assert file.read(0, file.size() + 1) == b"".join(parts)


@pytest.mark.parametrize("seed", range(6))
def test_large_and_small_appends_follow_each_other_without_a_seam(disk, seed):
    generator = Random(seed)
    file = disk.create("a")
    whole = b""
    for _ in range(12):
        lengths = generator.choices((1, 72, 4095, 4096, 50_000, 262_144, 1_000_003), k=3)
        parts = [generator.randbytes(length) for length in lengths]
        assert file.append(parts) == len(whole)
        whole += b"".join(parts)
        for reader in (file, disk.open("a")):
            assert reader.size() == len(whole)
            length = generator.choice((1, 300, 262_144, 1_200_000))
            offset = generator.randrange(len(whole))
            assert reader.read(offset, length) == whole[offset : offset + length]
            assert reader.read_if_cached(offset, length) in {None, whole[offset : offset + length]}
        if generator.random() < 0.5:
            file.sync()
        if generator.random() < 0.3:
            size = generator.randrange(len(whole))
            file.truncate(size)
            whole = whole[:size]
    assert file.read(0, len(whole) + 1) == whole
    file.sync()
    file.forget_cache()
    assert disk.open("a").read(0, len(whole) + 1) == whole


def test_a_read_past_the_end_gives_what_is_there(disk):
    file = disk.create("a")
    file.append([b"abc"])
    assert file.read(1, 100) == b"bc"
    assert file.read(3, 1) == b""
    assert file.read(100, 1) == b""
    assert file.read_if_cached(1, 100) is None


def test_a_cached_read_is_right_or_none(disk):
    file = disk.create("a")
    file.append([b"abcdef"])
    for _ in range(10):
        assert file.read_if_cached(2, 3) in {b"cde", None}


def test_a_file_opened_again_continues_at_its_end(disk):
    disk.create("a").append([b"abc"])
    again = disk.open("a")
    assert again.size() == 3
    assert again.append([b"d"]) == 3
    assert again.read(0, 10) == b"abcd"


def test_a_truncated_file_is_appended_to_where_it_was_cut(disk):
    file = disk.create("a")
    file.append([b"abcdef"])
    file.truncate(2)
    assert file.append([b"x"]) == 2
    file.sync()
    file.forget_cache()
    assert file.read(0, 10) == b"abx"


def test_forgetting_the_cache_loses_nothing_that_was_synced(disk):
    file = disk.create("a")
    file.append([bytes(range(256)) * 64])
    file.sync()
    file.forget_cache(100, 8000)
    assert file.read(0, 1 << 20) == bytes(range(256)) * 64


def test_a_file_is_created_once(disk):
    disk.create("a")
    with pytest.raises(FileExistsError):
        disk.create("a")
    disk.create("b").append([b"the disk goes on"])


def test_a_missing_file_is_not_found(disk):
    with pytest.raises(FileNotFoundError):
        disk.open("a")
    assert disk.read_small("a") is None


def test_names_are_listed_by_folder(disk):
    assert disk.names("deep") == []
    disk.make_folder("deep")
    disk.make_folder("deep")
    disk.create("deep/b")
    disk.create("deep/a")
    disk.create("top")
    disk.sync_directory("deep")
    assert disk.names("deep") == ["a", "b"]
    assert disk.names() == ["deep", "top"]


def test_rename_replaces_and_remove_forgives(disk):
    disk.create("a").append([b"new"])
    disk.create("b").append([b"old"])
    disk.rename("a", "b")
    assert disk.names() == ["b"]
    assert disk.read_small("b") == b"new"
    disk.remove("b")
    disk.remove("b")
    assert disk.names() == []


def test_a_small_file_is_replaced_whole_even_after_an_unfinished_try(disk):
    disk.create("a.new").append([b"junk of a process that died"])
    disk.write_small("a", b"one")
    disk.write_small("a", b"three")
    assert disk.read_small("a") == b"three"
    assert disk.names() == ["a"]


def test_an_open_file_outlives_its_name(disk):
    file = disk.create("a")
    file.append([b"abc"])
    disk.remove("a")
    assert file.read(0, 3) == b"abc"


def test_allocated_room_is_taken_and_given_back(disk):
    before = disk.free_bytes()
    disk.allocate("ballast", 1 << 20)
    assert disk.names() == ["ballast"]
    disk.remove("ballast")
    assert 0 < before <= disk.total_bytes()


def test_a_directory_is_locked_for_one_process(attach):
    first = attach()
    first.lock()
    with pytest.raises(DirectoryRefused):
        attach().lock()


# Each real failure by the one call that a test can make fail, the simulated ones by order.


@pytest.fixture(params=["system", "simulated"])
def failing(request, tmp_path, monkeypatch):
    """A disk, and how to make its next write find no room and its next sync fail."""
    if request.param == "simulated":
        hardware = SimulatedDisk(Random(1))
        return hardware.attach(), lambda: hardware.resize(4), hardware.fail_next_sync

    def fail(name, number):
        def failing_once(*_):
            monkeypatch.undo()
            raise OSError(number, os.strerror(number))

        return lambda: monkeypatch.setattr(os, name, failing_once)

    return (
        OperatingSystemDisk(tmp_path),
        fail("pwritev", errno.ENOSPC),
        fail("fdatasync", errno.EIO),
    )


def test_a_write_without_room_leaves_nothing_and_the_disk_goes_on(failing):
    disk, fill, _ = failing
    file = disk.create("a")
    file.append([b"abc"])
    fill()
    with pytest.raises(NoRoom):
        file.append([b"d" * 100])
    assert file.size() == 3
    assert disk.open("a").size() == 3
    file.append([b"e"])
    file.sync()
    assert file.read(0, 10) == b"abce"


def test_after_a_failed_sync_nothing_is_acknowledged_but_reads_go_on(failing):
    disk, _, fail_sync = failing
    file, other = disk.create("a"), disk.create("b")
    file.append([b"abc"])
    fail_sync()
    with pytest.raises(StoreStopped):
        file.sync()
    for change in (
        file.sync,
        other.sync,
        disk.sync_directory,
        lambda: other.append([b"x"]),
        lambda: other.truncate(0),
        lambda: disk.create("c"),
        lambda: disk.write_small("d", b""),
        lambda: disk.rename("a", "e"),
    ):
        with pytest.raises(StoreStopped):
            change()
    assert file.read(0, 3) == b"abc"


def test_a_write_that_is_cut_short_is_finished(tmp_path, monkeypatch):
    whole = os.pwritev

    def short(descriptor, parts, offset):
        return whole(descriptor, [memoryview(b"".join(parts))[:5]], offset)

    file = OperatingSystemDisk(tmp_path).create("a")
    monkeypatch.setattr(os, "pwritev", short)
    file.append([b"", b"abc", b"defghijk", b"", b"l" * 23])
    assert file.read(0, 100) == b"abcdefghijk" + b"l" * 23


def test_any_other_failed_write_stops_the_disk(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    disk = OperatingSystemDisk(tmp_path)
    file = disk.create("a")
    monkeypatch.setattr(os, "pwritev", fail)
    with pytest.raises(StoreStopped):
        file.append([b"abc"])
    monkeypatch.undo()
    with pytest.raises(StoreStopped):
        file.append([b"abc"])


# What only the simulated disk can be asked for


def test_a_crash_keeps_what_was_synced_and_any_part_of_the_rest():
    outcomes = set()
    for seed in range(40):
        hardware = SimulatedDisk(Random(seed))
        disk = hardware.attach()
        file = disk.create("a")
        disk.sync_directory()
        file.append([b"synced"])
        file.sync()
        file.append([b"X" * 2000])
        hardware.crash()
        found = hardware.content("a")
        assert found.startswith(b"synced")
        assert set(found[6:]) <= {ord("X"), 0}
        outcomes.add(found)
    assert len(outcomes) > 5


def test_a_name_that_was_not_synced_may_vanish_in_a_crash():
    outcomes = set()
    for seed in range(20):
        hardware = SimulatedDisk(Random(seed))
        disk = hardware.attach()
        file = disk.create("a")
        file.append([b"x"])
        file.sync()
        hardware.crash()
        outcomes.add(tuple(hardware.names()))
    assert outcomes == {(), ("a",)}


def test_a_process_that_was_killed_by_a_crash_changes_and_reads_nothing():
    hardware = SimulatedDisk(Random(1))
    disk = hardware.attach()
    file = disk.create("a")
    hardware.crash()
    for call in (lambda: file.append([b"x"]), lambda: file.read(0, 1), disk.free_bytes, disk.names):
        with pytest.raises(StoreStopped):
            call()


def test_a_failed_sync_shows_in_reads_what_a_crash_takes():
    lost = 0
    for seed in range(20):
        hardware = SimulatedDisk(Random(seed))
        disk = hardware.attach()
        file = disk.create("a")
        disk.sync_directory()
        file.append([b"abc"])
        hardware.fail_next_sync()
        with pytest.raises(StoreStopped):
            file.sync()
        assert file.read(0, 3) == b"abc"
        hardware.crash()
        lost += hardware.content("a") != b"abc"
    assert lost > 3


def test_the_same_seed_crashes_the_same_way():
    def run(seed):
        hardware = SimulatedDisk(Random(seed))
        disk = hardware.attach()
        for name in "abcdef":
            disk.create(name).append([name.encode() * 3000])
        hardware.crash()
        return [(name, hardware.content(name)) for name in hardware.names()]

    assert run(7) == run(7)
    assert run(7) != run(8)
