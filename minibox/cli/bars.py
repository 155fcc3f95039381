"""A progress bar for what takes over a second, on a terminal; nothing in a pipe."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minibox.client.progress import Progress, Watcher

SHOW_AFTER_SECONDS = 1.0


@contextmanager
def progress_bar(label: str) -> Iterator["Watcher"]:
    """Gives what is to be told of progress."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    bar = _Bar(label)
    try:
        yield bar.show
    finally:
        bar.close()


class _Bar:
    """Imports what draws it only when it is first drawn."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._begun = time.monotonic()
        self._closed = False
        self._draw: object = None

    def show(self, progress: "Progress") -> None:
        if self._closed or time.monotonic() - self._begun < SHOW_AFTER_SECONDS:
            return
        from rich.console import Console  # noqa: PLC0415 - slow to import
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            TextColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Drawing  # noqa: PLC0415

        if not isinstance(self._draw, Drawing):
            self._draw = Drawing(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._draw.add_task(self._label, total=None)
            self._draw.start()
        files = f" ({progress.files_done} files)" if progress.files_done else ""
        self._draw.update(
            self._task,
            description=self._label + files,
            completed=progress.bytes_done,
            total=progress.bytes_total,
        )

    def close(self) -> None:
        self._closed = True
        stop = getattr(self._draw, "stop", None)
        if stop is not None:
            stop()
