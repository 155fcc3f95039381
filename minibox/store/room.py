"""Room for deleting on a full disk.

LMDB copies each page that it changes, so deleting needs room before it gives any. A ballast file
holds that room: it is let go when a write fails for lack of space, and made again when space is
back. Without it, and when the map is nearly used up, only operations that free may run.
"""

import contextlib
import os
from pathlib import Path

import lmdb

MAX_RESERVE_BYTES = 64 * 1024 * 1024
_DISK_FRACTION = 20
_MAP_FRACTION = 16
_META_PAGES = 2


class Room:
    """How much can still be written. Used by one thread at a time."""

    def __init__(self, environment: lmdb.Environment, directory: Path) -> None:
        disk = os.statvfs(directory)
        self._environment = environment
        self._directory = directory
        self._ballast = directory / "ballast"
        self._reserve_bytes = min(
            MAX_RESERVE_BYTES, disk.f_blocks * disk.f_frsize // _DISK_FRACTION
        )
        map_bytes = environment.info()["map_size"]
        self._map_reserve_bytes = min(self._reserve_bytes, map_bytes // _MAP_FRACTION)
        self._holds_ballast = self._make_ballast()

    def may_grow(self) -> bool:
        """Whether operations that free nothing may run now; makes the ballast anew if it can."""
        info, tree = self._environment.info(), self._environment.stat()
        pages = info["last_pgno"] + 1
        used = tree["branch_pages"] + tree["leaf_pages"] + tree["overflow_pages"]
        reusable_bytes = (pages - _META_PAGES - used) * tree["psize"]
        map_left_bytes = info["map_size"] - pages * tree["psize"]
        if map_left_bytes + reusable_bytes < self._map_reserve_bytes:
            return False
        if self._holds_ballast:
            return True
        free_bytes = self.free_bytes()
        if free_bytes >= 2 * self._reserve_bytes and self._make_ballast():
            self._holds_ballast = True
            return True
        # What was deleted becomes free pages in the file, not free space on the disk. The first
        # half of it stays in reserve for the next deletes.
        return free_bytes + reusable_bytes >= 2 * self._reserve_bytes

    def ran_out(self) -> None:
        """A write did not fit: let go of the ballast."""
        self._holds_ballast = False
        self._ballast.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Space left on the disk."""
        disk = os.statvfs(self._directory)
        return disk.f_bavail * disk.f_frsize

    def _make_ballast(self) -> bool:
        try:
            descriptor = os.open(self._ballast, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._reserve_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                self._ballast.unlink()
            return False
        return True
