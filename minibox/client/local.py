"""Files on this machine: written whole or not at all, walked without following links.

All of it blocks and runs in threads.
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock

import msgspec

from minibox.chunk import ChunkRef
from minibox.rpc import Part

_MAX_PARTS = 512


class LocalFile(msgspec.Struct, frozen=True):
    """A file found by :func:`walk`: where, its path below the root (``a/b.txt``), its facts."""

    path: Path
    relative: str
    size: int
    mtime: float


class LocalFolder(msgspec.Struct, frozen=True):
    """A folder found by :func:`walk` that has nothing in it that can be sent."""

    relative: str


class Skipped(msgspec.Struct, frozen=True):
    """What was not transferred, and why not."""

    path: str
    reason: str


def walk(root: Path) -> Iterator[LocalFile | LocalFolder | Skipped]:
    """All below ``root``, in order of names. Links and special files are skipped, and said so."""
    yield from _walk(root, "")


def _walk(folder: Path, relative: str) -> Iterator[LocalFile | LocalFolder | Skipped]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as problem:
        yield Skipped(str(folder), f"can't be read: {problem.strerror}")
        return
    is_empty = True
    for entry in entries:
        below = f"{relative}/{entry.name}" if relative else entry.name
        try:
            facts = entry.stat(follow_symlinks=False)
        except OSError as problem:
            yield Skipped(entry.path, f"can't be read: {problem.strerror}")
            continue
        if stat.S_ISDIR(facts.st_mode):
            is_empty = False
            yield from _walk(Path(entry.path), below)
        elif stat.S_ISREG(facts.st_mode):
            is_empty = False
            yield LocalFile(Path(entry.path), below, facts.st_size, facts.st_mtime)
        elif stat.S_ISLNK(facts.st_mode):
            yield Skipped(entry.path, "a symbolic link")
        else:
            yield Skipped(entry.path, "no ordinary file")
    if is_empty and relative:
        yield LocalFolder(relative)


class PartFile:
    """What becomes ``target``: written beside it under another name, renamed when complete.

    ``tag`` names the content: what an earlier attempt at the same content has left is kept for
    :meth:`keep_good`. If another process is at it, this one writes a file of its own.
    """

    def __init__(self, target: Path, tag: str, rival_tag: str) -> None:
        self.target = target
        self._path = target.with_name(f".{target.name[:100]}.{tag}.minibox-part")
        self._descriptor = _open_alone(self._path)
        if self._descriptor < 0:
            self._path = target.with_name(f".{target.name[:100]}.{rival_tag}.minibox-part")
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.had_bytes = os.fstat(self._descriptor).st_size > 0
        self.size = 0
        self._hash = hashlib.sha256()
        self._lock = Lock()

    def keep_good(self, chunks: Sequence[ChunkRef]) -> bool:
        """Count those of the next ``chunks`` that are in the file already; whether all are."""
        for chunk in chunks:
            piece = os.pread(self._descriptor, chunk.length, self.size)
            if len(piece) < chunk.length or hashlib.sha256(piece).digest() != chunk.id:
                return False
            self._hash.update(piece)
            self.size += chunk.length
        return True

    def begin(self) -> None:
        """Drop what was not found good: bytes are written from here on."""
        os.ftruncate(self._descriptor, self.size)
        os.lseek(self._descriptor, self.size, os.SEEK_SET)

    def write(self, parts: Sequence[Part]) -> None:
        """Append ``parts``; nothing any more once it is closed."""
        with self._lock:
            if self._descriptor < 0:
                return
            for part in parts:
                self._hash.update(part)
            _write_all(self._descriptor, parts)
            self.size += sum(map(len, parts))

    def finish(self, sha256: str, mtime: float | None) -> str:
        """Durably ``target``, if the content has this SHA-256; the one that it has."""
        actual = self._hash.hexdigest()
        if actual != sha256:
            self.drop()
            return actual
        if mtime is not None:
            os.utime(self._descriptor, (mtime, mtime))
        os.fsync(self._descriptor)
        self._path.replace(self.target)
        self.close()
        sync_folder(self.target.parent)
        return actual

    def drop(self) -> None:
        """Remove it."""
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave it for another attempt; nothing if it is finished."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)


def write_new(target: Path, parts: Iterable[Part], mtime: float | None, tag: str) -> None:
    """``target`` with this content, whole or not at all; durable after the next sync."""
    beside = target.with_name(f".{target.name[:100]}.{tag}.minibox-part")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        _write_all(descriptor, list(parts))
        if mtime is not None:
            os.utime(descriptor, (mtime, mtime))
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    beside.replace(target)


def write_private(target: Path, content: bytes) -> None:
    """``target`` durably with this content, for its owner alone."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(beside, flags, 0o600)
    try:
        _write_all(descriptor, [content])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_alone(path: Path) -> int:
    """A descriptor that no other process has, or -1."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_still_there = os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        is_still_there = False
    if is_still_there:
        return descriptor
    os.close(descriptor)  # another process has it, or has just made it the target
    return -1


def _write_all(descriptor: int, parts: Sequence[Part]) -> None:
    left = [memoryview(part) for part in parts if len(part)]
    while left:
        written = os.writev(descriptor, left[:_MAX_PARTS])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
