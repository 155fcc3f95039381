"""A caller's home as the doors ask for it: finding entries, lists, and the deeds done on them."""

import base64
import binascii
from collections.abc import Iterator
from itertools import islice

import msgspec

from minibox.chunk import ChunkRef
from minibox.coordinator import holders, trash, tree, versions
from minibox.coordinator.authentication import Caller
from minibox.coordinator.trash import Discarded
from minibox.coordinator.tree import Entry
from minibox.coordinator.versions import Version
from minibox.errors import BadCursor, NotFound, ValidationFailed
from minibox.identity import from_text
from minibox.names import MAX_CHILD_KEY_BYTES, Name, fold, parse_path
from minibox.store import Reader, Store

PATH_PREFIX = "path:"
DEFAULT_PER_PAGE = 100
MAX_COUNTED = 10_000
MAX_SORTED = 100_000


class Seen(msgspec.Struct, frozen=True):
    """An entry and its path."""

    entry: Entry
    path: str


class Wanted(msgspec.Struct, frozen=True):
    """Which entries of a folder, in which order, from where, how many."""

    per_page: int
    page: int = 1
    after: bytes | None = None
    search: str = ""
    sort: str = "name"
    shape: str | None = None
    recursive: bool = False

    @property
    def in_store_order(self) -> bool:
        """Whether the rows as they stand are the answer."""
        return self.sort == "name" and not (self.search or self.shape or self.recursive)


class Listing(msgspec.Struct, frozen=True):
    """A page: entries with paths, how many there are (if counted), where the next page starts."""

    items: list[Seen]
    total: int | None
    next_after: bytes | None


class Homes:
    """Reads of what callers own. NotFound for everything else."""

    def __init__(self, store: Store, copies: int) -> None:
        self._store = store
        self._copies = copies

    def at(self, caller: Caller, path: str) -> Seen:
        """The entry at a path; NotFound, ValidationFailed."""
        names = parse_path(path)
        entry = self._store.read(lambda reader: tree.find(reader, caller.user.home, names))
        if not names:
            return Seen(entry, "/")
        return self.seen(entry)

    def named(self, caller: Caller, entry_id: str) -> Seen:
        """The entry of an id, or of ``path:/a/b``; NotFound."""
        if entry_id.startswith(PATH_PREFIX):
            return self.at(caller, entry_id.removeprefix(PATH_PREFIX))
        number = from_text("f", entry_id) or from_text("d", entry_id)
        if number is None:
            raise NotFound("file or folder")
        seen = self._store.read(lambda reader: _owned(reader, caller.user.home, number))
        if seen.entry.public_id != entry_id:
            raise NotFound("file or folder")
        return seen

    def file(self, caller: Caller, entry_id: str) -> Seen:
        """The file of an id; NotFound for folders too."""
        seen = self.named(caller, entry_id)
        if seen.entry.is_folder:
            raise NotFound("file")
        return seen

    def folder(self, caller: Caller, entry_id: str) -> Seen:
        """The folder of an id; NotFound for files too."""
        seen = self.named(caller, entry_id)
        if not seen.entry.is_folder:
            raise NotFound("folder")
        return seen

    def seen(self, entry: Entry) -> Seen:
        """The entry with its path."""
        return self._store.read(
            lambda reader: Seen(entry, tree.path_of(tree.ancestry(reader, entry)))
        )

    def listing(self, folder: Seen, wanted: Wanted) -> Listing:
        """A page of a folder's entries."""
        return self._store.read(lambda reader: _listing(reader, folder, wanted))

    def versions(self, file: Entry) -> list[Version]:
        """The versions of a file, newest first."""
        return self._store.read(lambda reader: list(versions.every(reader, file.id)))

    def version(self, file: Entry, number: int) -> Version:
        """One version; NotFound."""
        return self._store.read(lambda reader: versions.get(reader, file.id, number))

    def trash(self, caller: Caller) -> list[tuple[Discarded, Entry]]:
        """What the caller has deleted."""
        return self._store.read(lambda reader: list(trash.listed(reader, caller.user.home)))

    def copies(self, file: Entry) -> int:
        """Confirmed copies of the head's chunk that has the fewest."""
        if file.is_folder:
            return self._copies

        def fewest(reader: Reader) -> int:
            if file.chunks <= 1:
                chunks: Iterator[ChunkRef] = iter(versions.sole_chunk(file.sha256, file.size))
            else:
                head = versions.get(reader, file.id, file.head)
                chunks = versions.chunks_of(reader, file.id, head)
            return holders.fewest(reader, chunks, self._copies)

        return self._store.read(fewest)

    def holdings(self, file: Entry) -> list[tuple[ChunkRef, tuple[str, ...]]]:
        """Each chunk of the head with the nodes that hold it."""

        def look(reader: Reader) -> list[tuple[ChunkRef, tuple[str, ...]]]:
            head = versions.get(reader, file.id, file.head)
            found = []
            for chunk in versions.chunks_of(reader, file.id, head):
                copies = holders.of(reader, chunk.id)
                nodes = tuple(each.node for each in copies.holders) if copies else ()
                found.append((chunk, nodes))
            return found

        return self._store.read(look)


def cursor_text(after: bytes) -> str:
    """A place in a list as callers see it."""
    return base64.urlsafe_b64encode(after).decode()


def cursor_place(text: str) -> bytes:
    """The place that a cursor means; BadCursor."""
    try:
        place = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as problem:
        raise BadCursor from problem
    if not 0 < len(place) <= MAX_CHILD_KEY_BYTES:
        raise BadCursor
    return place


def _owned(reader: Reader, home: int, number: int) -> Seen:
    entry = tree.by_id(reader, number)
    line = tree.ancestry(reader, entry) if entry is not None else []
    if entry is None or line[0].id != home:
        raise NotFound("file or folder")
    return Seen(entry, tree.path_of(line))


def _listing(reader: Reader, folder: Seen, wanted: Wanted) -> Listing:
    prefix = folder.path.rstrip("/") + "/"
    if not wanted.in_store_order:
        return _sorted(reader, folder, prefix, wanted)
    skipped = (wanted.page - 1) * wanted.per_page
    rows = tree.children(reader, folder.entry.id, after=wanted.after)
    page = list(islice(rows, skipped, skipped + wanted.per_page + 1))
    more = len(page) > wanted.per_page
    page = page[: wanted.per_page]
    items = [Seen(entry, prefix + entry.name) for _, entry in page]
    total: int | None = None
    if wanted.after is None:
        total = skipped + len(page)
        if more or not page:
            counted = tree.count_children(reader, folder.entry.id, MAX_COUNTED)
            total = counted if counted < MAX_COUNTED else None
    return Listing(items, total, page[-1][0] if more else None)


def _sorted(reader: Reader, folder: Seen, prefix: str, wanted: Wanted) -> Listing:
    """Filtered, sorted or deep lists: gathered whole, and so only of folders of bounded size."""
    if wanted.after is not None:
        raise ValidationFailed("cursor", "it goes with the plain order of names; use page")
    search = fold(wanted.search)
    found = []
    for looked_at, seen in enumerate(_walk(reader, folder.entry, prefix, deep=wanted.recursive)):
        if looked_at >= MAX_SORTED:
            raise ValidationFailed("folder_id", f"it has more than {MAX_SORTED} entries to sort")
        if wanted.shape not in (None, seen.entry.shape):
            continue
        if search and search not in fold(seen.entry.name):
            continue
        found.append(seen)
    descending = wanted.sort.startswith("-")
    match wanted.sort.lstrip("-"):
        case "size":
            found.sort(key=lambda seen: seen.entry.size, reverse=descending)
        case "modified":
            found.sort(key=lambda seen: seen.entry.modified, reverse=descending)
        case _:
            found.sort(key=lambda seen: fold(seen.path), reverse=descending)
    start = (wanted.page - 1) * wanted.per_page
    return Listing(found[start : start + wanted.per_page], len(found), None)


def _walk(reader: Reader, folder: Entry, prefix: str, *, deep: bool) -> Iterator[Seen]:
    for _, entry in tree.children(reader, folder.id):
        yield Seen(entry, prefix + entry.name)
        if deep and entry.is_folder:
            yield from _walk(reader, entry, f"{prefix}{entry.name}/", deep=True)


def folder_and_name(path: str) -> tuple[tuple[Name, ...], Name]:
    """A path's folder and last name; ValidationFailed for the root."""
    names = parse_path(path)
    if not names:
        raise ValidationFailed("path", "it names the root")
    return names[:-1], names[-1]
