"""The tree of names: which entry is called what, in which folder.

An entry's row is keyed by its parent and its folded name, so that a folder is one run of rows and
a look-up by path is one get a name. A second row leads from the entry's id to that key. An entry
keeps its id through renames and moves; a deleted entry moves, with all below it, under the
namespace's trash, where it is keyed by id.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from minibox.codec import Record
from minibox.errors import NameConflict, NotFound, ValidationFailed
from minibox.identity import FreshIds, to_text
from minibox.names import MAX_NAME_BYTES, MAX_PATH_DEPTH, Name, child_key, join_path
from minibox.store import Reader, Table, Writer

MAX_RENAME_TRIES = 10_000
_MAX_SUFFIX_BYTES = 32
"""What follows the last dot is kept behind a number, unless it is too long to be a file type."""


class Entry(Record, frozen=True):
    """A file or folder. Of a file, the head version's facts stand here too, for lists and reads.

    ``head`` is the head version's number. Times are Unix seconds; ``modified`` is the content's
    own. ``chunks`` counts the head's chunks: a file of one chunk has no manifest rows, its chunk's
    id is its ``sha256``.
    """

    kind = "entry"
    id: int
    parent: int
    name: str
    shape: Literal["file", "folder"]
    created: float
    modified: float
    head: int = 0
    size: int = 0
    sha256: bytes = b""
    content_type: str = ""
    chunks: int = 0
    tags: tuple[str, ...] = ()

    @property
    def is_folder(self) -> bool:
        """Whether it can have children."""
        return self.shape == "folder"

    @property
    def public_id(self) -> str:
        """The id as callers see it."""
        return to_text("d" if self.is_folder else "f", self.id)

    @property
    def etag(self) -> str:
        """What a base or an If-Match names: file id and version."""
        return f"{self.public_id}.{self.head}"


class Place(Record, frozen=True):
    """Where the row of an entry stands."""

    kind = "place"
    parent: int
    key: bytes


_ENTRIES = Table(b"e", Entry)
_PLACES = Table(b"p", Place)


def by_id(reader: Reader, entry_id: int) -> Entry | None:
    """The entry of that id, wherever it is (in the trash too)."""
    place = _PLACES.get(reader, entry_id)
    return None if place is None else _ENTRIES.get(reader, place.parent, place.key)


def child(reader: Reader, parent: int, name: str) -> Entry | None:
    """The entry in folder ``parent`` with this name or a twin of it."""
    return _ENTRIES.get(reader, parent, child_key(name))


def children(
    reader: Reader, parent: int, after: bytes | None = None
) -> Iterator[tuple[bytes, Entry]]:
    """The entries of a folder in the order of their folded names, with the key to go on after."""
    return _ENTRIES.scan(reader, parent, after=after)


def count_children(reader: Reader, parent: int, most: int) -> int:
    """How many entries the folder has, counted up to ``most``."""
    return _ENTRIES.count(reader, parent, most=most)


def has_children(reader: Reader, parent: int) -> bool:
    """Whether anything is in the folder."""
    return next(children(reader, parent), None) is not None


def below(reader: Reader, folder: Entry) -> Iterator[Entry]:
    """Every entry under ``folder``, parents before their children; without ``folder`` itself."""
    for _, entry in children(reader, folder.id):
        yield entry
        if entry.is_folder:
            yield from below(reader, entry)


def every(reader: Reader) -> Iterator[Entry]:
    """All entries of all trees, roots and trash included, for checks that walk everything."""
    for _, entry in _ENTRIES.scan(reader):
        yield entry


def find(reader: Reader, root: int, names: Sequence[Name]) -> Entry:
    """The entry at a path below the folder ``root``; NotFound."""
    entry = by_id(reader, root)
    for name in names:
        if entry is None or not entry.is_folder:
            raise NotFound("file or folder")
        entry = child(reader, entry.id, name)
    if entry is None:
        raise NotFound("file or folder")
    return entry


def ancestry(reader: Reader, entry: Entry) -> list[Entry]:
    """From the namespace's root (or its trash) down to ``entry``."""
    line = [entry]
    while line[-1].parent:
        above = by_id(reader, line[-1].parent)
        if above is None:
            raise NotFound("file or folder")
        line.append(above)
    line.reverse()
    return line


def path_of(line: Sequence[Entry]) -> str:
    """The path that an ancestry spells."""
    return join_path(tuple(Name(each.name) for each in line[1:]))


def height(reader: Reader, entry: Entry) -> int:
    """How many levels are below the entry: 0 for a file and an empty folder."""
    if not entry.is_folder:
        return 0
    levels = (1 + height(reader, each) for _, each in children(reader, entry.id))
    return max(levels, default=0)


def check_depth(names: int) -> None:
    """Refuse a path of more than MAX_PATH_DEPTH names: ValidationFailed."""
    if names > MAX_PATH_DEPTH:
        raise ValidationFailed("path", f"a path has at most {MAX_PATH_DEPTH} names")


def free_id(reader: Reader, ids: FreshIds) -> int:
    """An id that no entry has."""
    while True:
        made = ids.make()
        if _PLACES.get(reader, made) is None:
            return made


def plant_root(writer: Writer, entry_id: int, now: float) -> Entry:
    """A new root folder: of a home, or of its trash."""
    root = Entry(entry_id, 0, "", "folder", now, now)
    _write(writer, root, entry_id.to_bytes(8, "big"))
    return root


def add(writer: Writer, entry: Entry) -> None:
    """Write a new entry; NameConflict where its folder has the name or a twin of it."""
    taken = child(writer, entry.parent, entry.name)
    if taken is not None:
        raise NameConflict(taken.name)
    _write(writer, entry, child_key(entry.name))


def rewrite(writer: Writer, entry: Entry) -> None:
    """Write the entry's new facts where it stands."""
    place = _PLACES.get(writer, entry.id)
    if place is None or place.parent != entry.parent:
        raise NotFound("file or folder")
    _ENTRIES.put(writer, entry, place.parent, place.key)


def move(writer: Writer, entry: Entry, parent: Entry, name: Name) -> Entry:
    """The entry under its new parent and name.

    NameConflict; ValidationFailed for a cycle and for a tree that would be too deep.
    """
    if parent.id != entry.parent:
        line = ancestry(writer, parent)
        if any(above.id == entry.id for above in line):
            raise ValidationFailed("path", "a folder can't be moved into itself")
        check_depth(len(line) + height(writer, entry))
    taken = child(writer, parent.id, name)
    if taken is not None and taken.id != entry.id:
        raise NameConflict(taken.name)
    return _moved(writer, entry, parent.id, name, child_key(name))


def bury(writer: Writer, entry: Entry, trash_root: int) -> Entry:
    """Move the entry, with all below it, under the trash, where names may repeat."""
    return _moved(writer, entry, trash_root, Name(entry.name), entry.id.to_bytes(8, "big"))


def remove(writer: Writer, entry: Entry) -> None:
    """Remove the rows of an entry that has nothing below it any more."""
    place = _PLACES.get(writer, entry.id)
    if place is not None:
        _ENTRIES.delete(writer, place.parent, place.key)
        _PLACES.delete(writer, entry.id)


def free_name(reader: Reader, parent: int, name: Name) -> Name:
    """``name``, or the first of ``name (1)``, ``name (2)`` … that the folder does not have."""
    if child(reader, parent, name) is None:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > _MAX_SUFFIX_BYTES:
        stem, dot, suffix = name, "", ""
    for number in range(1, MAX_RENAME_TRIES):
        tail = f" ({number}){dot}{suffix}"
        tried = Name(_shortened(stem, MAX_NAME_BYTES - len(tail.encode())) + tail)
        if child(reader, parent, tried) is None:
            return tried
    raise NameConflict(name)


def _shortened(stem: str, limit: int) -> str:
    return stem.encode()[:limit].decode(errors="ignore")


def _moved(writer: Writer, entry: Entry, parent: int, name: Name, key: bytes) -> Entry:
    remove(writer, entry)
    moved = msgspec.structs.replace(entry, parent=parent, name=name)
    _write(writer, moved, key)
    return moved


def _write(writer: Writer, entry: Entry, key: bytes) -> None:
    _ENTRIES.put(writer, entry, entry.parent, key)
    _PLACES.put(writer, Place(entry.parent, key), entry.id)
