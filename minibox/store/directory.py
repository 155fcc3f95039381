"""The directory of an LMDB store: who may use it, and what is in it.

lock       held by the one process that has it open
data.mdb   the rows, and under a key of the store's own the format they have
lock.mdb   LMDB's table of readers
ballast    room for deleting when the disk is full
"""

import fcntl
import os
from pathlib import Path

import lmdb

from minibox.errors import DirectoryRefused, FormatTooNew, RecordDamaged
from minibox.store.room import Room

MIN_MAP_BYTES = 1 << 30

DAMAGED_PAGE = (lmdb.CorruptedError, lmdb.PageNotFoundError)
"""What LMDB raises at a page that can't be one of its own."""

_FORMAT_KEY = b"\0format"
_FORMAT_PREFIX = b"minibox store "


class OwnedDirectory:
    """A directory that is ours: locked, its format known, its ballast in place."""

    def __init__(self, directory: Path, *, format_version: int, map_bytes: int, sync: bool) -> None:
        self.directory = str(directory)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as problem:
            raise self._refused(problem.strerror or str(problem)) from problem
        try:
            self._take_lock()
            self.environment = self._open_environment(directory, map_bytes, sync=sync)
            try:
                self._check_format(format_version)
                self._sync_names(directory)
                self.room = Room(self.environment, directory)
            except BaseException:
                self.environment.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def let_go(self) -> None:
        """Another process may open it afterwards."""
        self.environment.close()
        os.close(self._lock)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise self._refused("another process uses it") from problem

    def _open_environment(self, directory: Path, map_bytes: int, *, sync: bool) -> lmdb.Environment:
        while True:
            try:
                return lmdb.open(
                    os.fspath(directory),
                    map_size=map_bytes,
                    mode=0o600,
                    sync=sync,
                    readahead=False,
                    max_spare_txns=4,
                )
            except lmdb.MemoryError as problem:
                if map_bytes <= MIN_MAP_BYTES:
                    raise self._refused("no address space for its map") from problem
                map_bytes //= 2
            except lmdb.Error as problem:
                raise self._refused(str(problem)) from problem

    def _check_format(self, known: int) -> None:
        try:
            with self.environment.begin() as transaction:
                record = transaction.get(_FORMAT_KEY)
        except DAMAGED_PAGE as problem:
            raise RecordDamaged(kind="store page") from problem
        if record is None:
            self._write_format(known)
            return
        number = record.removeprefix(_FORMAT_PREFIX)
        if number == record or not number.isdigit():
            raise RecordDamaged(kind="store format")
        found = int(number)
        if found > known:
            raise FormatTooNew(directory=self.directory, found=found, known=known)
        if found < known:
            raise self._refused(f"it has format {found}; this minibox reads only {known}")

    def _write_format(self, known: int) -> None:
        if self.environment.stat()["entries"]:
            raise self._refused("it holds the data of another program")
        try:
            with self.environment.begin(write=True) as transaction:
                transaction.put(_FORMAT_KEY, _FORMAT_PREFIX + b"%d" % known)
        except lmdb.Error as problem:
            raise self._refused(str(problem)) from problem

    @staticmethod
    def _sync_names(directory: Path) -> None:
        """LMDB syncs its files, not the names by which they are found after a power cut."""
        for each in (directory, directory.parent):
            descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _refused(self, reason: str) -> DirectoryRefused:
        return DirectoryRefused(directory=self.directory, reason=reason)
