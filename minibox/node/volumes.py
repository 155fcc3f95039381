"""The volumes of one data directory: appending to the last, reading from all. Calls block."""

import re
from collections.abc import Sequence

from minibox.disk import Disk, File, Part
from minibox.errors import DirectoryRefused, FormatTooNew
from minibox.node.volume import (
    FORMAT,
    VOLUME_HEADER_BYTES,
    Identity,
    Place,
    pack_volume_header,
    parse_volume_header,
)

FOLDER = "volumes"
MAX_OPEN_FILES = 256

_NAME = re.compile(r"(\d{8})\.vol")


class Volumes:
    """The volumes of a disk, in the order of their numbers.

    A new volume is created, given its header, synced, and its name synced, before the first record
    is appended: no receipt depends on a name that a power cut may take.
    """

    def __init__(self, disk: Disk, identity: Identity, volume_bytes: int) -> None:
        self._disk = disk
        self._identity = identity
        self._volume_bytes = volume_bytes
        self._sizes: dict[int, int] = {}
        self._files: dict[int, File] = {}
        self._last: File | None = None
        self.damaged_headers: list[int] = []
        """Volumes whose header does not verify; their records still do, by the marker's salt."""

    def open(self) -> None:
        """Find what is there, and make certain what a process that died has left unsynced.

        What is read from the last volume after this comes from the disk itself. Raises
        DirectoryRefused, FormatTooNew, NoRoom, StoreStopped.
        """
        self._disk.make_folder(FOLDER)
        matches = (_NAME.fullmatch(name) for name in self._disk.names(FOLDER))
        numbers = sorted(int(match[1]) for match in matches if match)
        if numbers:
            left = self._disk.open(_name(numbers[-1]))
            left.sync()
            self._disk.sync_directory(FOLDER)
            left.forget_cache()
        for number in numbers:
            file = self._disk.open(_name(number))
            if self._is_begun(number, file):
                self._sizes[number] = file.size()
                self._last = file
                if len(self._files) < MAX_OPEN_FILES:
                    self._files[number] = file

    @property
    def end(self) -> Place:
        """Where the next record would go: the end of the last volume, if there is one."""
        if not self._sizes:
            return Place(0, 0)
        number = max(self._sizes)
        return Place(number, self._sizes[number])

    @property
    def used_bytes(self) -> int:
        """The sizes of all volumes."""
        return sum(self._sizes.values())

    def numbers(self) -> list[int]:
        """The numbers of all volumes, ascending."""
        return sorted(self._sizes)

    def size(self, number: int) -> int:
        """The size of volume ``number``, 0 if there is none."""
        return self._sizes.get(number, 0)

    def file(self, number: int) -> File:
        """The file to read from. Raises OSError if it is gone."""
        file = self._files.get(number)
        if file is None:
            file = self._disk.open(_name(number))
            while len(self._files) >= MAX_OPEN_FILES:
                del self._files[next(iter(self._files))]
            self._files[number] = file
        return file

    def has_room_for(self, length: int) -> bool:
        """Whether the last volume takes ``length`` bytes more; an empty one takes anything."""
        size = self.end.offset
        if self._last is None:
            return False
        return size == VOLUME_HEADER_BYTES or size + length <= self._volume_bytes

    def begin(self) -> None:
        """Begin the next volume, durably. Raises NoRoom, StoreStopped."""
        number = self.end.volume + 1
        # What a failed attempt, or one cut short by a crash, left under that name has no record.
        self._disk.remove(_name(number))
        file = self._disk.create(_name(number))
        file.append([pack_volume_header(number, self._identity)])
        file.sync()
        self._disk.sync_directory(FOLDER)
        self._last = self._files[number] = file
        self._sizes[number] = VOLUME_HEADER_BYTES

    def append(self, parts: Sequence[Part], length: int) -> None:
        """Append records, durably on return. Raises NoRoom (nothing stays), StoreStopped."""
        if self._last is None:
            raise RuntimeError("append before begin")
        self._last.append(parts)
        self._last.sync()
        self._sizes[self.end.volume] += length

    def cut(self, end: int) -> None:
        """Cut the last volume off at ``end``, durably. Raises StoreStopped."""
        if self._last is not None and end < self._last.size():
            self._last.truncate(end)
            self._last.sync()
            self._sizes[self.end.volume] = end

    def _is_begun(self, number: int, file: File) -> bool:
        """Whether the volume may have records: a crash in ``begin`` leaves one that has none."""
        header = parse_volume_header(file.read(0, VOLUME_HEADER_BYTES))
        if header is None:
            if file.size() <= VOLUME_HEADER_BYTES:
                return False
            self.damaged_headers.append(number)
        elif header.format > FORMAT:
            raise FormatTooNew(directory=self._disk.directory, found=header.format, known=FORMAT)
        elif header.identity != self._identity or header.number != number:
            raise DirectoryRefused(
                directory=self._disk.directory, reason=f"{_name(number)} is of another disk"
            )
        return True


def _name(number: int) -> str:
    return f"{FOLDER}/{number:08}.vol"
