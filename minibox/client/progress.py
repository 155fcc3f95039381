"""How far a transfer has come, for whoever watches it."""

from collections.abc import Callable

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """Bytes and files done; the totals are None while nobody knows them."""

    bytes_done: int
    bytes_total: int | None
    files_done: int = 0
    files_total: int | None = None


Watcher = Callable[[Progress], None]
"""Told often: it has to return at once."""


def unwatched(_: Progress) -> None:
    """Nobody watches."""
