"""The LMDB store on a real disk: who may open it, and what it does when the disk fails."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Event, get_ident
from typing import Any

import lmdb
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from minibox.errors import DirectoryRefused, FormatTooNew, RecordDamaged, StoreFull, StoreStopped
from minibox.simulation.clock import VirtualClock
from minibox.simulation.threads import SimulatedThreads
from minibox.store import open_lmdb
from minibox.world import World

END = b"\xff"


class Opened:
    """The store in ``directory``; its threads are the virtual clock."""

    def __init__(self, directory: Path, **kw: Any) -> None:
        self._clock = VirtualClock()
        self._world = World(
            clock=self._clock,
            random_bytes=Random(1).randbytes,
            endpoints=None,
            threads=SimulatedThreads(self._clock, Random(2)),
        )
        self.directory = directory
        self.store = self.run(open_lmdb(self._world, directory, **kw))

    def run(self, awaitable):
        return self._clock.run(awaitable)

    def put(self, key: bytes, value: bytes = b"") -> None:
        self.run(self.store.write(lambda writer: writer.put(key, value)))

    def delete(self, key: bytes) -> bool:
        return self.run(self.store.write(lambda writer: writer.delete(key), frees=True))

    def keys(self) -> list[bytes]:
        return self.store.read(lambda reader: [key for key, _ in reader.scan(b"", END)])

    def close(self) -> None:
        self.run(self.store.close())


@pytest.fixture
def directory(tmp_path) -> Path:
    return tmp_path / "deep" / "store"


@pytest.fixture
def opened(directory):
    made = Opened(directory)
    yield made
    made.close()


def descriptors_of(path: Path, *, meta: bool) -> list[int]:
    """LMDB writes pages through one descriptor and meta pages through another, which syncs."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if each.readlink() == path:
                descriptor = int(each.name)
                syncs = bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DSYNC)
                found += [descriptor] if syncs == meta else []
    return found


@contextlib.contextmanager
def failing(opened: Opened, device: str, *, meta: bool = False):
    """Writes of the store go to ``device`` instead."""
    [descriptor] = descriptors_of(opened.directory / "data.mdb", meta=meta)
    saved = os.dup(descriptor)
    # A read-only descriptor fails each write with EBADF; /dev/full answers ENOSPC.
    broken = os.open(device, os.O_RDWR if device == "/dev/full" else os.O_RDONLY)
    os.dup2(broken, descriptor)
    try:
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)
        os.close(broken)


def test_every_commit_is_synced(opened):
    flags = opened.store._environment.flags()
    assert flags["sync"]
    assert flags["metasync"]
    assert not flags["writemap"]
    assert not flags["map_async"]


def test_the_map_is_large_and_the_file_is_not(opened):
    opened.put(b"a")
    assert opened.store._environment.info()["map_size"] == 1 << 40
    assert (opened.directory / "data.mdb").stat().st_size < 1_000_000


def test_a_map_that_the_address_space_refuses_is_made_smaller(directory):
    opened = Opened(directory, map_bytes=1 << 50)
    assert 1 << 30 <= opened.store._environment.info()["map_size"] < 1 << 50
    opened.close()


def test_only_its_owner_may_look_into_the_directory(opened):
    assert opened.directory.stat().st_mode & 0o077 == 0
    for each in opened.directory.iterdir():
        assert each.stat().st_mode & 0o077 == 0


def test_the_stores_own_rows_are_not_shown(opened):
    assert opened.keys() == []
    assert opened.store.read(lambda reader: list(reader.scan(b"\0", b"\1", reverse=True))) == []


def test_another_process_is_refused(opened):
    code = (
        "import fcntl, os, sys\n"
        "lock = os.open(sys.argv[1], os.O_RDWR)\n"
        "try: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError: sys.exit(7)\n"
    )
    lock = opened.directory / "lock"
    assert subprocess.run([sys.executable, "-c", code, str(lock)], check=False).returncode == 7
    with pytest.raises(DirectoryRefused, match="another process"):
        Opened(opened.directory)


def test_a_newer_format_is_refused_and_left_alone(directory):
    newer = Opened(directory, format_version=2)
    newer.put(b"a", b"1")
    newer.close()
    with pytest.raises(FormatTooNew) as told:
        Opened(directory)
    assert (told.value.found, told.value.known) == (2, 1)
    again = Opened(directory, format_version=2)
    assert again.keys() == [b"a"]
    again.close()


def test_an_older_format_is_refused(directory):
    Opened(directory).close()
    with pytest.raises(DirectoryRefused, match="format 1"):
        Opened(directory, format_version=2)


def change_below(directory: Path, rows: dict[bytes, bytes]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    environment = lmdb.open(str(directory))
    with environment.begin(write=True) as transaction:
        for key, value in rows.items():
            transaction.put(key, value)
    environment.close()


@pytest.mark.parametrize("record", [b"", b"rubbish", b"minibox store ", b"minibox store -1"])
def test_a_damaged_format_record_is_reported(directory, record):
    Opened(directory).close()
    change_below(directory, {b"\0format": record})
    with pytest.raises(RecordDamaged):
        Opened(directory)


def test_the_data_of_another_program_is_refused(directory):
    change_below(directory, {b"theirs": b"1"})
    with pytest.raises(DirectoryRefused, match="another program"):
        Opened(directory)


def test_a_file_that_is_no_store_is_refused(directory):
    Opened(directory).close()
    (directory / "data.mdb").write_bytes(b"rubbish" * 10_000)
    with pytest.raises(DirectoryRefused):
        Opened(directory)


def test_a_path_that_can_be_no_directory_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DirectoryRefused):
        Opened(tmp_path / "file")


def test_a_refused_opening_lets_go_of_the_directory(directory):
    Opened(directory).close()
    for _ in range(2):
        with pytest.raises(DirectoryRefused, match="format 1"):
            Opened(directory, format_version=2)
    Opened(directory).close()


def test_readers_do_not_keep_pages_from_being_used_again(opened):
    for number in range(200):
        opened.put(b"a", bytes((number,)) * 20_000)
        assert opened.store.read(lambda reader: reader.get(b"a")) is not None
        assert len(opened.keys()) == 1
    assert (opened.directory / "data.mdb").stat().st_size < 400_000


def test_a_full_disk_refuses_writes_and_all_comes_back_with_the_space(opened):
    opened.put(b"a", b"1")
    ballast = opened.directory / "ballast"
    assert ballast.stat().st_blocks * 512 >= ballast.stat().st_size > 1_000_000
    with failing(opened, "/dev/full"):
        for _ in range(3):
            with pytest.raises(StoreFull):
                opened.put(b"b", b"2")
    assert opened.keys() == [b"a"]
    assert not opened.store.failed.called
    opened.put(b"c", b"3")
    assert opened.keys() == [b"a", b"c"]
    assert ballast.stat().st_size > 1_000_000


def test_on_a_full_disk_the_ballast_makes_deletes_possible(opened, monkeypatch):
    for key in (b"a", b"b"):
        opened.put(key, b"1")
    with failing(opened, "/dev/full"), pytest.raises(StoreFull):
        opened.put(b"c")
    assert not (opened.directory / "ballast").exists()
    free = 0

    def little_space(path: Any, *, real: Callable[[Any], os.statvfs_result] = os.statvfs) -> Any:
        described = list(real(path))
        described[4] = free // described[1]
        return os.statvfs_result(described)

    monkeypatch.setattr(os, "statvfs", little_space)
    with pytest.raises(StoreFull):
        opened.put(b"c")
    assert opened.delete(b"a") is True
    with pytest.raises(StoreFull):
        opened.put(b"c")
    assert opened.keys() == [b"b"]
    free = 1 << 40
    opened.put(b"c")
    assert (opened.directory / "ballast").exists()


def test_a_write_cut_short_by_a_full_disk_is_no_broken_disk(opened, monkeypatch):
    problem = lmdb.Error("mdb_txn_commit")
    problem.code = errno.EIO
    assert not opened.store._is_for_lack_of_room(problem)
    monkeypatch.setattr(opened.store._room, "free_bytes", lambda: 4096)
    assert opened.store._is_for_lack_of_room(problem)


def test_a_failed_write_stops_the_store_for_good(opened):
    opened.put(b"a")
    with failing(opened, "/dev/null"):
        running = opened.store.write(lambda writer: writer.put(b"b", b""))
        queued = opened.store.write(lambda writer: writer.put(b"c", b""))
        for each in (running, queued):
            with pytest.raises(StoreStopped):
                opened.run(each)
    with pytest.raises(StoreStopped):
        opened.delete(b"a")
    assert isinstance(opened.run(opened.store.failed), StoreStopped)
    assert opened.keys() == [b"a"]


def test_a_meta_page_that_does_not_fit_stops_the_store(opened):
    opened.put(b"a")
    with failing(opened, "/dev/full", meta=True), pytest.raises(StoreStopped):
        opened.put(b"b")
    assert opened.store.failed.called


def first_key(page: bytes) -> bytes:
    """Of a leaf page: flags, then the places of its nodes, each with a header of 8 bytes."""
    place = int.from_bytes(page[16:18], "little")
    length = int.from_bytes(page[place + 6 : place + 8], "little")
    return page[place + 8 : place + 8 + length]


def damage_leaves(path: Path, *, with_format: bool) -> None:
    """Make leaf pages pages of no kind: the one with the store's own row, or those after it."""
    content = bytearray(path.read_bytes())
    for start in range(2 * 4096, len(content), 4096):
        page = bytes(content[start : start + 4096])
        key = first_key(page) if page[10] == 2 else b""
        if key == b"\0format" if with_format else key.isdigit():
            content[start + 10] = 0
    path.write_bytes(content)


def many_rows(directory: Path) -> Path:
    opened = Opened(directory)
    opened.run(
        opened.store.write(lambda w: [w.put(b"%05d" % n, b"x" * 200) for n in range(300)] and None)
    )
    opened.close()
    return directory / "data.mdb"


def test_a_damaged_page_is_reported_as_damage_and_its_siblings_are_kept(directory):
    damage_leaves(many_rows(directory), with_format=False)
    opened = Opened(directory)
    with pytest.raises(RecordDamaged):
        opened.store.read(lambda reader: reader.get(b"00200"))
    opening = opened.store.write(lambda _: None)
    before = opened.store.write(lambda writer: writer.put(b"\1", b""))
    hit = opened.store.write(lambda writer: (writer.put(b"\2", b""), writer.put(b"00200", b"")))
    after = opened.store.write(lambda writer: (writer.get(b"\1"), writer.get(b"\2")))
    opened.run(opening)
    opened.run(before)
    with pytest.raises(RecordDamaged):
        opened.run(hit)
    assert opened.run(after) == (b"", None)
    assert not opened.store.failed.called
    opened.close()


def test_a_damaged_first_page_is_reported_at_the_opening(directory):
    damage_leaves(many_rows(directory), with_format=True)
    with pytest.raises(RecordDamaged):
        Opened(directory)


class PoolThreads:
    """Real ones."""

    def __init__(self, reactor: Any, pool: ThreadPool) -> None:
        self._reactor = reactor
        self._pool = pool

    def run(self, function, *args, **kwargs) -> Deferred:
        return deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)


@pytest_twisted.ensureDeferred
async def test_in_real_threads_reads_go_on_while_a_group_is_written(directory):
    from twisted.internet import reactor  # noqa: PLC0415, TID251 - the one test that needs it

    pool = ThreadPool(minthreads=2, maxthreads=4)
    pool.start()
    try:
        world = World(
            clock=reactor,
            random_bytes=Random(1).randbytes,
            endpoints=None,
            threads=PoolThreads(reactor, pool),
        )
        store = await open_lmdb(world, directory)
        await store.write(lambda writer: writer.put(b"a", b"1"))
        begun: Deferred[None] = Deferred()
        go_on = Event()

        def slow(writer):
            writer.put(b"a", b"2")
            reactor.callFromThread(begun.callback, None)
            assert go_on.wait(10)
            return get_ident()

        writing = store.write(slow)
        await begun
        assert store.read(lambda reader: reader.get(b"a")) == b"1"
        go_on.set()
        assert await writing != get_ident()
        assert store.read(lambda reader: reader.get(b"a")) == b"2"
        many = [
            store.write(lambda writer, n=number: writer.put(b"%05d" % n, b""))
            for number in range(2000)
        ]
        for each in many:
            await each
        await store.close()
    finally:
        pool.stop()
    again = Opened(directory)
    assert len(again.keys()) == 2001
    again.close()
