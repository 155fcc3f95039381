"""Layouts: the versions of the ring, the latest in force."""

from minibox.ring import Layout
from minibox.store import Reader, Table, Writer

_LAYOUTS = Table(b"y", Layout)


def latest(reader: Reader) -> Layout | None:
    """The layout in force; None before the first start."""
    for _, layout in _LAYOUTS.scan(reader, reverse=True):
        return layout
    return None


def adopt(writer: Writer, layout: Layout) -> None:
    """Put a layout in force."""
    _LAYOUTS.put(writer, layout, layout.number)
