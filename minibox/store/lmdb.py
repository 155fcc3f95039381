"""The ordered store in LMDB: one environment, one writer, group commit.

Default flags only: each commit syncs its pages, then its meta page. No transaction outlives the
call that began it: an open reader would keep LMDB from using any page again. The map is far larger
than any store at start (it is sparse), as resizing it under readers has corrupted databases.
"""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import lmdb
from twisted.internet.defer import Deferred

from minibox.errors import NoRoom, RecordDamaged, StoreFull, StoreStopped
from minibox.store.directory import DAMAGED_PAGE, OwnedDirectory
from minibox.store.groups import Group, Groups, Operation
from minibox.store.interface import Reader, Store, Writer
from minibox.world import Threads, World

T = TypeVar("T")

MAP_BYTES = 1 << 40

_FIRST_KEY = b"\1"
"""Lower keys are the store's own."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_DISK_BYTES = 1024 * 1024


async def open_lmdb(
    world: World,
    directory: Path,
    *,
    format_version: int = 1,
    map_bytes: int = MAP_BYTES,
    sync: bool = True,
) -> Store:
    """Open the store in ``directory``, or make it there.

    ``map_bytes`` is halved, down to 1 GiB, while the address space refuses it. ``sync=False`` is
    for throw-away stores: a power cut then loses acknowledged writes.

    Raises DirectoryRefused (another process has it, or it holds something else), FormatTooNew,
    RecordDamaged.
    """
    opened = await world.threads.run(
        OwnedDirectory, directory, format_version=format_version, map_bytes=map_bytes, sync=sync
    )
    return _LmdbStore(world.threads, opened)


class _LmdbReader:
    __slots__ = ("_changes", "_transaction", "get")

    def __init__(self, transaction: "lmdb.Transaction[bytes]") -> None:
        self._transaction = transaction
        self._changes = 0
        self.get = transaction.get

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        start = max(start, _FIRST_KEY)
        return self._descend(start, stop) if reverse else self._ascend(start, stop)

    def _ascend(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._transaction.cursor()
        found = cursor.set_range(start)
        while found:
            found, changes = False, self._changes
            for key, value in cursor.iternext():
                if key >= stop:
                    return
                yield key, value
                if self._changes != changes:
                    found = cursor.set_range(key + b"\0")
                    break

    def _descend(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._transaction.cursor()
        found = cursor.prev() if cursor.set_range(stop) else cursor.last()
        while found:
            found, changes = False, self._changes
            for key, value in cursor.iterprev():
                if key < start:
                    return
                yield key, value
                if self._changes != changes:
                    found = cursor.prev() if cursor.set_range(key) else cursor.last()
                    break


class _LmdbWriter(_LmdbReader):
    __slots__ = ()

    def put(self, key: bytes, value: bytes) -> None:
        self._changes += 1
        self._transaction.put(key, value)

    def delete(self, key: bytes) -> bool:
        self._changes += 1
        return self._transaction.delete(key)


class _LmdbStore:
    def __init__(self, threads: Threads, opened: OwnedDirectory) -> None:
        self._threads = threads
        self._opened: OwnedDirectory | None = opened
        self._environment = opened.environment
        self._room = opened.room
        self._directory = opened.directory
        self._groups = Groups(self._commit, self._directory)

    @property
    def failed(self) -> Deferred[StoreStopped]:
        return self._groups.failed

    def read(self, function: Callable[[Reader], T]) -> T:
        transaction = self._environment.begin()
        try:
            return function(_LmdbReader(transaction))
        except DAMAGED_PAGE as problem:
            raise RecordDamaged(kind="store page") from problem
        finally:
            transaction.abort()

    def write(self, function: Callable[[Writer], T], *, frees: bool = False) -> Deferred[T]:
        return self._groups.write(function, frees=frees)

    async def close(self) -> None:
        await self._groups.close()
        opened, self._opened = self._opened, None
        if opened is not None:
            await self._threads.run(opened.let_go)

    async def _commit(self, group: Group) -> None:
        await self._threads.run(self._commit_here, group)

    def _commit_here(self, group: Group) -> None:
        """Run in one call of one thread, as LMDB demands of a write transaction."""
        may_grow = self._room.may_grow()
        try:
            outer = self._environment.begin(write=True)
            try:
                for operation in group:
                    if may_grow or operation.frees:
                        self._run(operation, outer)
                    else:
                        operation.error = StoreFull()
                outer.commit()
            finally:
                outer.abort()
        except lmdb.Error as problem:
            if not self._is_for_lack_of_room(problem):
                raise
            if not isinstance(problem, lmdb.MapFullError):
                self._room.ran_out()
            # A meta page that was not written leaves the environment unusable; then this raises.
            self._environment.begin(write=True).abort()
            raise NoRoom(directory=self._directory) from problem

    def _run(self, operation: Operation[T], outer: "lmdb.Transaction[bytes]") -> None:
        inner = self._environment.begin(write=True, parent=outer)
        try:
            if operation.attempt(_LmdbWriter(inner)):
                inner.commit()
        except lmdb.BadTxnError as hidden:
            # It caught a failure of its own put; nothing of it was kept.
            operation.error = hidden
        finally:
            inner.abort()
        problem = operation.error
        if isinstance(problem, DAMAGED_PAGE):
            operation.error = RecordDamaged(kind="store page")
            operation.error.__cause__ = problem
        elif isinstance(problem, lmdb.Error) and _is_the_disks_fault(problem):
            raise problem

    def _is_for_lack_of_room(self, problem: lmdb.Error) -> bool:
        code = _code(problem)
        if isinstance(problem, lmdb.MapFullError) or code in _NO_ROOM:
            return True
        # LMDB calls a write that was cut short by a full disk an I/O error.
        return code == errno.EIO and self._room.free_bytes() < _FULL_DISK_BYTES


def _is_the_disks_fault(problem: lmdb.Error) -> bool:
    """Not one operation's: no sibling could have been written either."""
    if isinstance(problem, (lmdb.MapFullError, lmdb.PanicError)):
        return True
    return _code(problem) > 0 and not isinstance(problem, lmdb.InvalidParameterError)


def _code(problem: lmdb.Error) -> int:
    """The errno; negative for LMDB's own codes, 0 for what the binding itself refuses."""
    return getattr(problem, "code", 0)
