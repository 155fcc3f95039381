"""What became of a whole tree, and how far it has come."""

import msgspec

from minibox.client.local import Skipped
from minibox.client.progress import Progress, Watcher


class TreeReport(msgspec.Struct):
    """Files and bytes transferred; what was left out, and what failed, with the reasons."""

    files: int = 0
    bytes: int = 0
    skipped: list[Skipped] = []
    failed: list[Skipped] = []


class Tally:
    """A report in the making that tells a watcher."""

    def __init__(self, watcher: Watcher) -> None:
        self.report = TreeReport()
        self._watcher = watcher

    def done(self, files: int, size: int) -> None:
        """So many files of so many bytes altogether have arrived."""
        self.report.files += files
        self.report.bytes += size
        self._watcher(Progress(self.report.bytes, None, self.report.files))

    def skip(self, path: str, reason: str) -> None:
        """It was not tried."""
        self.report.skipped.append(Skipped(path, reason))

    def fail(self, path: str, reason: object) -> None:
        """It was tried in vain."""
        self.report.failed.append(Skipped(path, str(reason)))
