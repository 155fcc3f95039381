"""The memory twin of the store, for the simulation and for tests.

Same promises, same group commit; a commit takes two steps in time, as LMDB's does: the operations
run in ``world.threads``, then the group is *staged* while the disk writes. Readers see it and its
answers leave after that. A crash keeps the staged group whole or loses it.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from random import Random
from typing import TypeVar

from twisted.internet.defer import Deferred

from minibox.errors import DirectoryRefused, NoRoom, StoreFull, StoreStopped
from minibox.store.groups import Group, Groups
from minibox.store.interface import MAX_KEY_BYTES, Reader, Writer
from minibox.world import World, sleep

T = TypeVar("T")

Changes = dict[bytes, bytes | None]
"""What a group wrote; None for what it removed."""

_DIRECTORY = "(memory)"
_RESERVE_FRACTION = 20
_UNCHANGED = b"\0unchanged"
"""Told from a value by identity."""


class _Rows:
    """Rows in the order of their keys."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []
        self.bytes = 0

    def apply(self, changes: Changes) -> None:
        for key, value in changes.items():
            old = self.values.get(key)
            self.bytes += _row_bytes(key, value) - _row_bytes(key, old)
            if value is not None:
                self.values[key] = value
                if old is None:
                    insort(self.keys, key)
            elif old is not None:
                del self.values[key]
                del self.keys[bisect_left(self.keys, key)]

    def growth(self, changes: Changes) -> int:
        return sum(
            _row_bytes(key, value) - _row_bytes(key, self.values.get(key))
            for key, value in changes.items()
        )


class MemoryDisk:
    """What outlives the processes: hand it to one :class:`MemoryStore` after the other.

    ``room_bytes`` (of keys and values) and ``sync_fails`` may be set at any time.
    """

    def __init__(self, generator: Random, *, room_bytes: int | None = None) -> None:
        self.room_bytes = room_bytes
        self.sync_fails = False
        self.in_use = False
        self.deaths = 0
        self.rows = _Rows()
        self.staged: list[Changes] = []
        self._generator = generator

    def crash(self) -> None:
        """Power is cut: whoever used the disk never hears of it again.

        All that was acknowledged or visible stays; of what was being written, a prefix of groups.
        """
        for changes in self.staged[: self._generator.randint(0, len(self.staged))]:
            self.rows.apply(changes)
        self.staged.clear()
        self.deaths += 1
        self.in_use = False

    def settle(self) -> None:
        """The oldest staged group is durable, and readers see it."""
        self.rows.apply(self.staged.pop(0))

    def flip_a_bit(self) -> bytes | None:
        """Damage one stored value; its key, or None if nothing is stored."""
        candidates = [key for key in self.rows.keys if self.rows.values[key]]
        if not candidates:
            return None
        key = self._generator.choice(candidates)
        value = bytearray(self.rows.values[key])
        value[self._generator.randrange(len(value))] ^= 1 << self._generator.randrange(8)
        self.rows.values[key] = bytes(value)
        return key

    def copy(self) -> "MemoryDisk":
        """A backup: the durable rows on a disk of their own."""
        made = MemoryDisk(self._generator, room_bytes=self.room_bytes)
        made.rows.apply(dict(self.rows.values))
        return made


class _MemoryReader:
    def __init__(self, rows: _Rows) -> None:
        self._values = rows.values
        self._layers: tuple[list[bytes], ...] = (rows.keys,)
        self._over = False

    def end(self) -> None:
        """Whoever still holds it has a bug, and shall notice."""
        self._over = True

    def get(self, key: bytes) -> bytes | None:
        self._check()
        return self._values.get(key)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        while True:
            self._check()
            key = self._last(start, stop) if reverse else self._first(start, stop)
            if key is None:
                return
            value = self.get(key)
            if value is not None:
                yield key, value
            if reverse:
                stop = key
            else:
                start = key + b"\0"

    def _first(self, start: bytes, stop: bytes) -> bytes | None:
        found: bytes | None = None
        for keys in self._layers:
            place = bisect_left(keys, start)
            if place < len(keys) and keys[place] < stop and (found is None or keys[place] < found):
                found = keys[place]
        return found

    def _last(self, start: bytes, stop: bytes) -> bytes | None:
        found: bytes | None = None
        for keys in self._layers:
            place = bisect_left(keys, stop) - 1
            if place >= 0 and keys[place] >= start and (found is None or keys[place] > found):
                found = keys[place]
        return found

    def _check(self) -> None:
        if self._over:
            raise RuntimeError("the transaction is over")


class _MemoryWriter(_MemoryReader):
    """One operation, over the changes of its group; what it changed can be undone."""

    def __init__(self, rows: _Rows, changes: Changes, changed_keys: list[bytes]) -> None:
        super().__init__(rows)
        self._layers = (rows.keys, changed_keys)
        self._changes = changes
        self._changed_keys = changed_keys
        self._undo: list[tuple[bytes, bytes | None]] = []

    def get(self, key: bytes) -> bytes | None:
        self._check()
        change = self._changes.get(key, _UNCHANGED)
        return self._values.get(key) if change is _UNCHANGED else change

    def put(self, key: bytes, value: bytes) -> None:
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"a key has 1 to {MAX_KEY_BYTES} bytes, not {len(key)}")
        self._change(key, bytes(value))

    def delete(self, key: bytes) -> bool:
        if self.get(key) is None:
            return False
        self._change(key, None)
        return True

    def undo(self) -> None:
        """The group is as it was before this operation."""
        for key, change in reversed(self._undo):
            if change is _UNCHANGED:
                del self._changes[key]
                del self._changed_keys[bisect_left(self._changed_keys, key)]
            else:
                self._changes[key] = change

    def _change(self, key: bytes, value: bytes | None) -> None:
        self._check()
        before = self._changes.get(key, _UNCHANGED)
        self._undo.append((key, before))
        if before is _UNCHANGED:
            insort(self._changed_keys, key)
        self._changes[key] = value


class MemoryStore:
    """Satisfies :class:`minibox.store.Store` over ``disk``.

    ``commit_seconds`` of ``world.clock`` pass in each commit. Raises DirectoryRefused while
    another store uses the disk.
    """

    def __init__(self, world: World, disk: MemoryDisk, *, commit_seconds: float = 0.000_5) -> None:
        if disk.in_use:
            raise DirectoryRefused(directory=_DIRECTORY, reason="another process uses it")
        disk.in_use = True
        self._world = world
        self._disk = disk
        self._commit_seconds = commit_seconds
        self._deaths_before = disk.deaths
        self._full = False
        self._groups = Groups(self._commit, _DIRECTORY)
        self._closed = False

    @property
    def failed(self) -> Deferred[StoreStopped]:
        """Fires when a commit could not be made durable: the process has to stop."""
        return self._groups.failed

    def read(self, function: Callable[[Reader], T]) -> T:
        """See :class:`minibox.store.Store`."""
        if self._closed:
            raise RuntimeError("the store is closed")
        reader = _MemoryReader(self._disk.rows)
        try:
            return function(reader)
        finally:
            reader.end()

    def write(self, function: Callable[[Writer], T], *, frees: bool = False) -> Deferred[T]:
        """See :class:`minibox.store.Store`."""
        return self._groups.write(function, frees=frees)

    async def close(self) -> None:
        """See :class:`minibox.store.Store`."""
        await self._groups.close()
        if not self._closed:
            self._closed = True
            self._disk.in_use = False

    async def _commit(self, group: Group) -> None:
        changes = await self._world.threads.run(self._run, group)
        await self._alive()
        if not changes:
            return
        self._disk.staged.append(changes)
        await sleep(self._world.clock, self._commit_seconds)
        await self._alive()
        if self._disk.sync_fails:
            self._disk.staged.clear()
            raise OSError("the sync failed")
        self._disk.settle()

    async def _alive(self) -> None:
        """Never returns in a process that died with its machine."""
        if self._disk.deaths != self._deaths_before:
            await Deferred()

    def _run(self, group: Group) -> Changes:
        rows, room_bytes = self._disk.rows, self._disk.room_bytes
        reserve_bytes = 0 if room_bytes is None else room_bytes // _RESERVE_FRACTION
        if self._full and (room_bytes is None or rows.bytes <= room_bytes - 2 * reserve_bytes):
            self._full = False
        changes: Changes = {}
        changed_keys: list[bytes] = []
        for operation in group:
            if self._full and not operation.frees:
                operation.error = StoreFull()
                continue
            writer = _MemoryWriter(rows, changes, changed_keys)
            if not operation.attempt(writer):
                writer.undo()
            writer.end()
        ballast_bytes = 0 if self._full else reserve_bytes
        growth = rows.growth(changes)
        if (
            room_bytes is not None
            and growth > 0
            and rows.bytes + growth > room_bytes - ballast_bytes
        ):
            self._full = True
            raise NoRoom(directory=_DIRECTORY)
        return changes


def _row_bytes(key: bytes, value: bytes | None) -> int:
    return 0 if value is None else len(key) + len(value)
