"""What commands print: JSON for programs, lines and tables for people."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import click
import msgspec

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""Every command that prints has it."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "�")


def print_json(value: object) -> None:
    """One JSON document, indented."""
    packed = msgspec.json.encode(value)
    click.echo(msgspec.json.format(packed, indent=2))


def print_lines(lines: Iterable[str]) -> None:
    """Lines of text from outside: no control character of a name reaches the terminal."""
    for line in lines:
        click.echo(printable(line))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns under their heads; numbers to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    numeric = [
        bool(cells) and all(_is_number(row[place]) for row in cells) for place in range(len(head))
    ]
    for row in ([*head], *cells):
        columns = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        click.echo("  ".join(columns).rstrip())


def printable(text: str) -> str:
    """``text`` without anything that a terminal would obey."""
    return text.translate(_CONTROLS).encode(errors="replace").decode()


def size_text(size: int | None) -> str:
    """Bytes in a unit that people read."""
    if size is None:
        return "-"
    value = float(size)
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            return f"{int(value)} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    raise AssertionError(size)


def time_text(moment: datetime) -> str:
    """In this machine's zone, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def count_text(number: int, what: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _is_number(cell: str) -> bool:
    return cell == "-" or cell[:1].isdigit()
