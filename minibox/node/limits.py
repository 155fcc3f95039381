"""Sizes and times of one disk's store."""

from typing import NamedTuple


class Limits(NamedTuple):
    """What an owner may tune; the defaults suit any disk."""

    volume_bytes: int = 1 << 30
    """A volume is followed by the next one before it would grow past this."""
    batch_bytes: int = 32 << 20
    """What is written and synced at once at most, and so what a crash can leave half written."""
    reserve_bytes: int | None = None
    """What new chunks leave free; None: 5 % of the disk, at most 1 GiB."""
    ballast_bytes: int = 4 << 20
    """A file that goes when the disk is so full that not even a delete could be written."""
    inline_bytes: int = 64 << 10
    """Chunks up to this length are read without a thread if the system has them in memory."""
    checkpoint_seconds: float = 5.0
    checkpoint_rows: int = 20_000
    checkpoint_bytes: int = 256 << 20
    """So much is replayed after a crash at most, and its content read again."""

    def reserve(self, total_bytes: int) -> int:
        """What new chunks leave free on a disk of that capacity."""
        return min(1 << 30, total_bytes // 20) if self.reserve_bytes is None else self.reserve_bytes
