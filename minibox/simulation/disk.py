"""A disk in memory that crashes as disks do.

It keeps what ``minibox.disk.Disk`` promises and nothing more. At a power cut each write that was
not synced is kept, lost, cut short or full of holes; each name that was not synced is the old or
the new one. A failed sync loses pages that reads still show, as kernels do. Bits flip, sectors
become unreadable, room runs out and whole disks vanish when told to. The generator decides: the
same seed breaks the same things.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from minibox.disk import Part
from minibox.errors import DirectoryRefused, NoRoom, StoreStopped

SECTOR_BYTES = 512

_EVEN = 0.5
_MOSTLY = 0.7


@dataclass
class _Inode:
    """A file: what reads show, what the platter has, and the writes between them."""

    cached: bytearray = field(default_factory=bytearray)
    platter: bytearray = field(default_factory=bytearray)
    unsynced: list["_Append | _Cut"] = field(default_factory=list)
    allocated: int = 0

    def settle(self, generator: Random) -> None:
        """Let chance decide what of the unsynced writes reached the platter."""
        for write in self.unsynced:
            if generator.random() < _EVEN:
                write.reach(self.platter)
            elif isinstance(write, _Append) and generator.random() < _MOSTLY:
                write.torn(generator).reach(self.platter)
        self.unsynced.clear()


@dataclass(frozen=True)
class _Append:
    offset: int
    content: bytes

    def reach(self, platter: bytearray) -> None:
        platter.extend(bytes(max(0, self.offset - len(platter))))
        platter[self.offset : self.offset + len(self.content)] = self.content

    def torn(self, generator: Random) -> "_Append":
        """A prefix of it, or all of its length with some sectors still zero."""
        if generator.random() < _EVEN:
            return _Append(self.offset, self.content[: generator.randrange(len(self.content) + 1)])
        content = bytearray(self.content)
        for start in range(0, len(content), SECTOR_BYTES):
            if generator.random() < _EVEN:
                end = min(start + SECTOR_BYTES, len(content))
                content[start:end] = bytes(end - start)
        return _Append(self.offset, bytes(content))


@dataclass(frozen=True)
class _Cut:
    size: int

    def reach(self, platter: bytearray) -> None:
        del platter[self.size :]


@dataclass
class _Hardware:
    """What outlives the processes that use the disk."""

    generator: Random
    directory: str
    total_bytes: int
    names: dict[str, _Inode] = field(default_factory=dict)
    durable_names: dict[str, _Inode] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {""})
    unreadable: set[str] = field(default_factory=set)
    watch: Callable[[str, str], None] | None = None
    changes_until_end: int | None = None
    ends_in_crash: bool = True
    on_end: Callable[[], None] | None = None
    sync_fails: bool = False
    locked: bool = False
    power_cycle: int = 0

    def crash(self) -> None:
        self.end_power_cycle()
        both = [*self.names.values(), *self.durable_names.values()]
        for inode in {id(each): each for each in both}.values():
            inode.settle(self.generator)
            inode.cached = bytearray(inode.platter)
        for name in sorted({*self.names, *self.durable_names}):
            seen, durable = self.names.get(name), self.durable_names.get(name)
            kept = seen if self.generator.random() < _EVEN else durable
            if kept is None:
                self.durable_names.pop(name, None)
            else:
                self.durable_names[name] = kept
        self.names = dict(self.durable_names)

    def end_power_cycle(self) -> None:
        self.power_cycle += 1
        self.locked = self.sync_fails = False
        self.changes_until_end = None

    def used_bytes(self) -> int:
        return sum(len(each.cached) + each.allocated for each in self.names.values())


class SimulatedDisk:
    """The hardware. Each process that starts attaches anew; a crash ends all that were attached."""

    def __init__(
        self, generator: Random, total_bytes: int = 1 << 40, directory: str = "simulated"
    ) -> None:
        self._hardware = _Hardware(generator, directory, total_bytes)

    def attach(self) -> "AttachedDisk":
        """This disk as the process that starts now sees it."""
        return AttachedDisk(self._hardware)

    # What can go wrong

    def crash(self) -> None:
        """Cut the power: only what was synced is sure to be there afterwards."""
        self._hardware.crash()

    def kill(self) -> None:
        """End the process alone: what it wrote stays in the cache of a machine that goes on."""
        self._hardware.end_power_cycle()

    def crash_before(self, changes: int) -> None:
        """Crash after so many more changes, in the middle of whatever goes on then."""
        self._hardware.changes_until_end = changes
        self._hardware.ends_in_crash = True

    def when_it_ends(self, on_end: Callable[[], None]) -> None:
        """Call ``on_end`` where a process ends in the middle of a change, by one of these."""
        self._hardware.on_end = on_end

    def kill_before(self, changes: int) -> None:
        """The same, but it is only the process that ends."""
        self._hardware.changes_until_end = changes
        self._hardware.ends_in_crash = False

    def go_on(self) -> None:
        """Take back what was arranged by ``crash_before`` or ``kill_before``."""
        self._hardware.changes_until_end = None

    def lose(self) -> None:
        """Put an empty disk in its place."""
        self._hardware.end_power_cycle()
        self._hardware.names, self._hardware.durable_names = {}, {}
        self._hardware.folders = {""}

    def fail_next_sync(self) -> None:
        """Have the next sync of a file fail, with part of what it should have kept lost."""
        self._hardware.sync_fails = True

    def flip(self, name: str, offset: int, mask: int) -> None:
        """Flip the bits of ``mask`` in one stored byte."""
        inode = self._hardware.names[name]
        for content in (inode.cached, inode.platter):
            if offset < len(content):
                content[offset] ^= mask

    def make_unreadable(self, name: str) -> None:
        """Have reads of that file end in an I/O error."""
        self._hardware.unreadable.add(name)

    def resize(self, total_bytes: int) -> None:
        """Give it another capacity: less than is used means full."""
        self._hardware.total_bytes = total_bytes

    def remove(self, name: str) -> None:
        """Remove a file behind the back of the process, durably."""
        self._hardware.names.pop(name, None)
        self._hardware.durable_names.pop(name, None)

    # What may be looked at from outside

    def watch(self, watcher: Callable[[str, str], None] | None) -> None:
        """Tell ``watcher`` of each change before it happens, as (verb, name)."""
        self._hardware.watch = watcher

    def content(self, name: str) -> bytes:
        """What reads of that file show now."""
        return bytes(self._hardware.names[name].cached)

    def names(self) -> list[str]:
        """All files, by their whole names."""
        return sorted(self._hardware.names)

    def durable(self) -> dict[str, bytearray]:
        """What is sure to be there after a power cut, by whole names. To look at only."""
        names = self._hardware.durable_names
        return {name: names[name].platter for name in sorted(names)}

    def used_bytes(self) -> int:
        """What the files take."""
        return self._hardware.used_bytes()


class AttachedDisk:
    """``minibox.disk.Disk`` on a SimulatedDisk, until that crashes."""

    def __init__(self, hardware: _Hardware) -> None:
        self._hardware = hardware
        self._power_cycle = hardware.power_cycle
        self._stopped: str | None = None

    @property
    def directory(self) -> str:
        """See Disk; so are all methods."""
        return self._hardware.directory

    def lock(self) -> None:  # noqa: D102
        if self._hardware.locked:
            raise DirectoryRefused(directory=self.directory, reason="another process uses it")
        self._hardware.locked = True

    def names(self, folder: str = "") -> list[str]:  # noqa: D102
        start = f"{folder}/" if folder else ""
        inside = [
            each[len(start) :]
            for each in [*self.hardware.names, *self._hardware.folders]
            if each.startswith(start) and each != start
        ]
        return sorted({each for each in inside if each and "/" not in each})

    def make_folder(self, folder: str) -> None:  # noqa: D102
        self.changing("make_folder", folder).folders.add(folder)

    def create(self, name: str) -> "_AttachedFile":  # noqa: D102
        hardware = self.changing("create", name)
        if name in hardware.names:
            raise FileExistsError(errno.EEXIST, "exists", name)
        if name.rpartition("/")[0] not in hardware.folders:
            raise FileNotFoundError(errno.ENOENT, "no folder", name)
        hardware.names[name] = _Inode()
        return _AttachedFile(self, name, hardware.names[name])

    def open(self, name: str) -> "_AttachedFile":  # noqa: D102
        inode = self.hardware.names.get(name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no file", name)
        return _AttachedFile(self, name, inode)

    def rename(self, old: str, new: str) -> None:  # noqa: D102
        names = self.changing("rename", new).names
        names[new] = names.pop(old)

    def remove(self, name: str) -> None:  # noqa: D102
        self.changing("remove", name).names.pop(name, None)

    def sync_directory(self, folder: str = "") -> None:  # noqa: D102
        hardware = self.changing("sync_directory", folder)
        for name in sorted({*hardware.names, *hardware.durable_names}):
            if name.rpartition("/")[0] == folder:
                if name in hardware.names:
                    hardware.durable_names[name] = hardware.names[name]
                else:
                    del hardware.durable_names[name]

    def read_small(self, name: str) -> bytes | None:  # noqa: D102
        inode = self.hardware.names.get(name)
        return None if inode is None else bytes(inode.cached)

    def write_small(self, name: str, content: bytes) -> None:  # noqa: D102
        unfinished = f"{name}.new"
        self.remove(unfinished)
        file = self.create(unfinished)
        file.append([content])
        file.sync()
        self.rename(unfinished, name)
        self.sync_directory(name.rpartition("/")[0])

    def allocate(self, name: str, size: int) -> None:  # noqa: D102
        hardware = self.changing("allocate", name)
        if size > self.free_bytes():
            raise NoRoom(directory=self.directory)
        hardware.names.setdefault(name, _Inode()).allocated = size

    def free_bytes(self) -> int:  # noqa: D102
        return max(0, self.hardware.total_bytes - self._hardware.used_bytes())

    def total_bytes(self) -> int:  # noqa: D102
        return self.hardware.total_bytes

    @property
    def hardware(self) -> _Hardware:
        """The disk itself. A process that should be dead touches nothing: StoreStopped."""
        if self._power_cycle != self._hardware.power_cycle:
            raise StoreStopped(directory=self.directory, reason="the power was cut")
        return self._hardware

    def changing(self, verb: str, name: str) -> _Hardware:
        """The disk for one change, unless this is where the process is to end."""
        hardware = self.hardware
        if self._stopped is not None:
            raise StoreStopped(directory=self.directory, reason=self._stopped)
        if hardware.changes_until_end is not None:
            hardware.changes_until_end -= 1
            if hardware.changes_until_end < 0:
                (hardware.crash if hardware.ends_in_crash else hardware.end_power_cycle)()
                if hardware.on_end is not None:
                    hardware.on_end()
        hardware = self.hardware
        if hardware.watch is not None:
            hardware.watch(verb, name)
        return hardware

    def stop(self, reason: str) -> StoreStopped:
        """Refuse all further changes in this process."""
        self._stopped = reason
        return StoreStopped(directory=self.directory, reason=reason)


class _AttachedFile:
    def __init__(self, disk: AttachedDisk, name: str, inode: _Inode) -> None:
        self._disk = disk
        self._name = name
        self._inode = inode

    def append(self, parts: Sequence[Part]) -> int:
        self._disk.changing("append", self._name)
        content = b"".join(parts)
        if len(content) > self._disk.free_bytes():
            raise NoRoom(directory=self._disk.directory)
        offset = len(self._inode.cached)
        self._inode.cached += content
        if content:
            self._inode.unsynced.append(_Append(offset, content))
        return offset

    def read(self, offset: int, length: int) -> bytes:
        if self._name in self._disk.hardware.unreadable:
            raise OSError(errno.EIO, "unreadable", self._name)
        return bytes(self._inode.cached[offset : offset + length])

    def read_if_cached(self, offset: int, length: int) -> bytes | None:
        hardware = self._disk.hardware
        if self._name in hardware.unreadable or hardware.generator.random() < _EVEN:
            return None
        found = bytes(self._inode.cached[offset : offset + length])
        return found if len(found) == length else None

    def size(self) -> int:
        return len(self._inode.cached)

    def sync(self) -> None:
        hardware = self._disk.changing("sync", self._name)
        if hardware.sync_fails:
            hardware.sync_fails = False
            self._inode.settle(hardware.generator)
            raise self._disk.stop("Input/output error")
        for write in self._inode.unsynced:
            write.reach(self._inode.platter)
        self._inode.unsynced.clear()

    def truncate(self, size: int) -> None:
        self._disk.changing("truncate", self._name)
        del self._inode.cached[size:]
        self._inode.unsynced.append(_Cut(size))

    def forget_cache(self, offset: int = 0, length: int = 0) -> None:
        if self._disk.hardware.watch is not None:
            self._disk.hardware.watch("forget_cache", self._name)
        if not self._inode.unsynced:
            end = offset + length if length else None
            self._inode.cached[offset:end] = self._inode.platter[offset:end]
