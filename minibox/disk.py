"""One data directory: files that are appended to, read and made durable.

All calls block; callers run them in ``world.threads``. Names are paths below the directory, with
``/``. What a call promises after a power cut is said at each; ``minibox.simulation.disk`` keeps
exactly those promises and breaks everything else, and both pass the same contract suite.

After a write or sync that failed for anything but lack of room this disk acknowledges nothing more
in this process: each later write and sync raises StoreStopped. Retrying would prove nothing, as the
kernel forgets the pages that it could not write (Rebello et al., "Can Applications Recover from
fsync Failures?", USENIX ATC 2020). Reads go on.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from minibox.direct_io import BLOCK_BYTES, BULK_BYTES, DirectFile, open_direct
from minibox.errors import DirectoryRefused, NoRoom, StoreStopped

Part = bytes | bytearray | memoryview

_MAX_PARTS_PER_CALL = os.sysconf("SC_IOV_MAX")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_BULK_PART_BYTES = 32 * 1024
"""Parts of so many bytes on average belong to large chunks: the cache does without them."""


class File(Protocol):
    """An open file. It closes itself when nothing refers to it any more."""

    def append(self, parts: Sequence[Part]) -> int:
        """Write the parts end to end at the end; the offset of the first byte.

        Durable only after ``sync``. Raises NoRoom (nothing of it stays), StoreStopped.
        """

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there, fewer at the end of the file. Raises OSError if they can't be read."""

    def read_if_cached(self, offset: int, length: int) -> bytes | None:
        """The same if it takes no wait for the disk, else None. May be called on the reactor."""

    def size(self) -> int:
        """Bytes in the file."""

    def sync(self) -> None:
        """Make the content durable. Raises StoreStopped."""

    def truncate(self, size: int) -> None:
        """Cut the file off; durable after ``sync``. Raises StoreStopped."""

    def forget_cache(self, offset: int = 0, length: int = 0) -> None:
        """Let the system's memory of synced bytes go; length 0 means up to the end.

        Later reads ask the disk itself, which a page in memory may have outlived.
        """


class Disk(Protocol):
    """One data directory of this process."""

    @property
    def directory(self) -> str:
        """Where it is, for people."""

    def lock(self) -> None:
        """Keep other processes out until this one ends. Raises DirectoryRefused."""

    def names(self, folder: str = "") -> list[str]:
        """The names in ``folder``, sorted; none if there is no such folder."""

    def make_folder(self, folder: str) -> None:
        """Make ``folder`` if it is missing, durably. Raises NoRoom, StoreStopped."""

    def create(self, name: str) -> File:
        """A new empty file; its name is durable after ``sync_directory``.

        Raises FileExistsError, NoRoom, StoreStopped.
        """

    def open(self, name: str) -> File:
        """An existing file. Raises FileNotFoundError."""

    def rename(self, old: str, new: str) -> None:
        """Name a file anew, replacing ``new``; durable after ``sync_directory``."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there; durable after ``sync_directory``."""

    def sync_directory(self, folder: str = "") -> None:
        """Make the names in ``folder`` durable. Raises StoreStopped."""

    def read_small(self, name: str) -> bytes | None:
        """A small file's whole content, None if there is none."""

    def write_small(self, name: str, content: bytes) -> None:
        """Replace a small file, durably: after a power cut it is the old or the new one, whole.

        Raises NoRoom, StoreStopped.
        """

    def allocate(self, name: str, size: int) -> None:
        """Make a file that takes ``size`` bytes of room, whatever is in it. Raises NoRoom."""

    def free_bytes(self) -> int:
        """What can still be written."""

    def total_bytes(self) -> int:
        """The capacity."""


class OperatingSystemDisk:
    """A directory of this machine's file system; it has to exist."""

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._stopped: StoreStopped | None = None

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._descriptor)

    @property
    def directory(self) -> str:
        """See Disk; so are all methods."""
        return str(self._root)

    def lock(self) -> None:  # noqa: D102
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise DirectoryRefused(
                directory=self.directory, reason="another process uses it"
            ) from taken

    def names(self, folder: str = "") -> list[str]:  # noqa: D102
        try:
            return sorted(each.name for each in (self._root / folder).iterdir())
        except FileNotFoundError:
            return []

    def make_folder(self, folder: str) -> None:  # noqa: D102
        with self.writing():
            (self._root / folder).mkdir(exist_ok=True)
        self.sync_directory(os.path.dirname(folder))  # noqa: PTH120

    def create(self, name: str) -> File:  # noqa: D102
        with self.writing():
            return self._file(name, self._open(name, os.O_CREAT | os.O_EXCL))

    def open(self, name: str) -> File:  # noqa: D102
        return self._file(name, self._open(name, 0))

    def rename(self, old: str, new: str) -> None:  # noqa: D102
        with self.writing():
            (self._root / old).rename(self._root / new)

    def remove(self, name: str) -> None:  # noqa: D102
        with self.writing():
            (self._root / name).unlink(missing_ok=True)

    def sync_directory(self, folder: str = "") -> None:  # noqa: D102
        with self.syncing():
            descriptor = os.open(self._root / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def read_small(self, name: str) -> bytes | None:  # noqa: D102
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write_small(self, name: str, content: bytes) -> None:  # noqa: D102
        unfinished = f"{name}.new"
        self.remove(unfinished)
        file = self.create(unfinished)
        file.append([content])
        file.sync()
        self.rename(unfinished, name)
        self.sync_directory(os.path.dirname(name))  # noqa: PTH120

    def allocate(self, name: str, size: int) -> None:  # noqa: D102
        with self.writing():
            descriptor = self._open(name, os.O_CREAT)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)

    def free_bytes(self) -> int:  # noqa: D102
        found = os.fstatvfs(self._descriptor)
        return found.f_bavail * found.f_frsize

    def total_bytes(self) -> int:  # noqa: D102
        found = os.fstatvfs(self._descriptor)
        return found.f_blocks * found.f_frsize

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the system says about a write into NoRoom or, for ever, StoreStopped."""
        self._refuse_if_stopped()
        try:
            yield
        except FileExistsError:
            raise
        except OSError as problem:
            if problem.errno in _NO_ROOM:
                raise NoRoom(directory=self.directory) from problem
            raise self._stop(problem) from problem

    @contextlib.contextmanager
    def syncing(self) -> Iterator[None]:
        """The same for a sync, after which even a lack of room leaves nothing certain."""
        self._refuse_if_stopped()
        try:
            yield
        except OSError as problem:
            raise self._stop(problem) from problem

    def _refuse_if_stopped(self) -> None:
        if self._stopped is not None:
            raise StoreStopped(self._stopped.directory, self._stopped.reason)

    def _stop(self, problem: OSError) -> StoreStopped:
        self._stopped = StoreStopped(directory=self.directory, reason=str(problem))
        return StoreStopped(directory=self.directory, reason=str(problem))

    def _file(self, name: str, descriptor: int) -> File:
        return _OperatingSystemFile(self, descriptor, open_direct(self._root / name))

    def _open(self, name: str, flags: int) -> int:
        return os.open(self._root / name, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)


class _OperatingSystemFile:
    def __init__(
        self, disk: OperatingSystemDisk, descriptor: int, direct: DirectFile | None
    ) -> None:
        self._disk = disk
        self._descriptor = descriptor
        self._direct = direct
        self._size = os.fstat(descriptor).st_size

    def __del__(self) -> None:
        # Closing on release: a read in another thread keeps the file, so that its descriptor can't
        # come to mean another file in mid-read.
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._descriptor)

    def append(self, parts: Sequence[Part]) -> int:
        start = self._size
        with self._disk.writing():
            try:
                end = self._write_bulk(parts, start)
            except OSError as problem:
                if problem.errno in _NO_ROOM:
                    os.ftruncate(self._descriptor, start)
                raise
        self._size = end
        return start

    def read(self, offset: int, length: int) -> bytes:
        if self._direct is not None and length >= BULK_BYTES:
            found = self._direct.read(offset, length)
            if len(found) == length:
                return found
        found = os.pread(self._descriptor, length, offset)
        if len(found) == length or not found:
            return found
        parts = [found]
        while found and (missing := length - sum(map(len, parts))):
            found = os.pread(self._descriptor, missing, offset + length - missing)
            parts.append(found)
        return b"".join(parts)

    def read_if_cached(self, offset: int, length: int) -> bytes | None:
        if self._direct is not None and length >= BULK_BYTES:
            return None
        space = bytearray(length)
        try:
            if os.preadv(self._descriptor, [space], offset, os.RWF_NOWAIT) != length:
                return None
        except OSError:  # not in the cache, not supported here, or a failure that `read` will tell
            return None
        return bytes(space)

    def size(self) -> int:
        return self._size

    def sync(self) -> None:
        with self._disk.syncing():
            os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        with self._disk.syncing():
            os.ftruncate(self._descriptor, size)
        self._size = size

    def forget_cache(self, offset: int = 0, length: int = 0) -> None:
        os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)

    def _write_bulk(self, parts: Sequence[Part], offset: int) -> int:
        """Write everything, whole blocks of large chunks directly; the end."""
        length = sum(map(len, parts))
        before = -offset % BLOCK_BYTES
        is_bulk = length - before >= BULK_BYTES and length >= _BULK_PART_BYTES * len(parts)
        if self._direct is None or not is_bulk:
            return self._write_all(parts, offset)
        offset = self._write_all(_up_to(parts, before), offset)
        rest = _after(parts, before)
        written = self._direct.write(rest, offset)
        return self._write_all(_after(rest, written), offset + written)

    def _write_all(self, parts: Sequence[Part], offset: int) -> int:
        """Write everything, however few bytes or parts one call takes; the end."""
        first, count = 0, len(parts)
        while first < count:
            group = parts[first : first + _MAX_PARTS_PER_CALL]
            wanted = sum(map(len, group))
            done = os.pwritev(self._descriptor, group, offset)
            offset += done
            if done == wanted:
                first += len(group)
            else:
                parts = [*_after(group, done), *parts[first + len(group) :]]
                first, count = 0, len(parts)
        return offset


def _up_to(parts: Sequence[Part], length: int) -> list[Part]:
    """The first ``length`` bytes of ``parts``."""
    head: list[Part] = []
    for part in parts:
        if not length:
            break
        head.append(memoryview(part)[:length])
        length -= len(head[-1])
    return head


def _after(parts: Sequence[Part], done: int) -> list[Part]:
    """What is left of ``parts`` behind their first ``done`` bytes."""
    for number, part in enumerate(parts):
        if done < len(part):
            return [memoryview(part)[done:], *parts[number + 1 :]]
        done -= len(part)
    return []
