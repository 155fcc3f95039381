"""The whole store on the operating system's disk, with its index in LMDB."""

import shutil
from random import Random

import pytest
from chunk_machine import CLUSTER, incoming, ref
from twisted.internet.defer import Deferred, execute

from minibox.disk import OperatingSystemDisk
from minibox.errors import DirectoryRefused
from minibox.node.chunks import open_chunks
from minibox.node.index_files import FOLDER, lmdb_index
from minibox.node.limits import Limits
from minibox.node.marker import claim
from minibox.simulation.clock import VirtualClock
from minibox.world import World


class NoThreads:
    run = staticmethod(execute)


class Directory:
    def __init__(self, path):
        self.path = path
        self.clock = VirtualClock()
        self.world = World(self.clock, Random(1).randbytes, None, NoThreads())

    def run(self, awaitable):
        return self.clock.run(awaitable)

    def open(self):
        disk = OperatingSystemDisk(self.path)
        claimed = claim(disk, CLUSTER, "n1", self.world.random_bytes)
        limits = Limits(reserve_bytes=0, volume_bytes=10_000)
        index = lmdb_index(self.world, self.path)
        self.store, self.recovery = self.run(
            open_chunks(self.world, disk, claimed, "n1", index, lambda _: None, limits)
        )
        return self.store

    def close(self):
        self.run(self.store.close())
        del self.store


@pytest.fixture
def directory(tmp_path):
    return Directory(tmp_path)


CONTENTS = [bytes([number]) * (number * 300 + 1) for number in range(20)]


def fill(directory):
    store = directory.open()
    putting = [
        Deferred.fromCoroutine(store.put([incoming(content, number + 1)]))
        for number, content in enumerate(CONTENTS)
    ]
    for each in putting:
        directory.run(each)
    assert directory.run(store.delete(ref(CONTENTS[3]).id, 50))
    directory.close()


def check(directory):
    store = directory.store
    left = [ref(content) for content in CONTENTS if content != CONTENTS[3]]
    assert store.refs() == sorted(left, key=lambda chunk: chunk.id)
    for chunk in left:
        content = directory.run(store.get(chunk))
        assert ref(content) == chunk
    assert set(directory.run(store.verify([chunk.id for chunk in left]))) == {"good"}


def test_all_is_there_after_a_restart_without_replay(directory):
    fill(directory)
    directory.open()
    assert (directory.recovery.was_rebuilt, directory.recovery.records) == (False, 0)
    check(directory)
    directory.close()


def test_a_removed_index_is_made_anew(directory):
    fill(directory)
    shutil.rmtree(directory.path / FOLDER)
    directory.open()
    assert directory.recovery.was_rebuilt
    check(directory)
    directory.close()


def test_an_index_full_of_rubbish_is_made_anew(directory):
    fill(directory)
    for path in (directory.path / FOLDER).iterdir():
        path.write_bytes(b"rubbish" * 5000)
    directory.open()
    assert directory.recovery.was_rebuilt
    check(directory)
    directory.close()


def test_a_directory_that_is_in_use_is_refused(directory):
    directory.open()
    with pytest.raises(DirectoryRefused):
        Directory(directory.path).open()
    directory.close()
    directory.open()
    directory.close()
