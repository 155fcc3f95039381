"""The trash of a namespace: deleted entries wait whole under its trash root until purged."""

from collections.abc import Iterator

from minibox.codec import Record
from minibox.coordinator import folders, tree, versions
from minibox.coordinator.namespaces import Ledger
from minibox.coordinator.tree import Entry
from minibox.errors import NotFound
from minibox.identity import FreshIds
from minibox.names import Name
from minibox.store import Reader, Table


class Discarded(Record, frozen=True):
    """One deletion: the entry, where it was, when it went, and the bytes of all its versions."""

    kind = "discarded"
    entry: int
    path: str
    at: float
    size: int


_DISCARDED = Table(b"t", Discarded)


def discard(ledger: Ledger, entry: Entry) -> Discarded:
    """Move an entry with all below it to the trash."""
    writer = ledger.writer
    path = tree.path_of(tree.ancestry(writer, entry))
    size = sum(_kept_bytes(writer, each) for each in _whole(writer, entry))
    buried = tree.bury(writer, entry, ledger.namespace.trash)
    ledger.record("removed", entry, buried)
    row = Discarded(entry.id, path, ledger.act.now, size)
    _DISCARDED.put(writer, row, ledger.namespace.id, entry.id)
    return row


def listed(reader: Reader, namespace: int) -> Iterator[tuple[Discarded, Entry]]:
    """What is in the trash, oldest id first."""
    for _, row in _DISCARDED.scan(reader, namespace):
        entry = tree.by_id(reader, row.entry)
        if entry is not None:
            yield row, entry


def total_bytes(reader: Reader, namespace: int) -> int:
    """Bytes of all versions in the trash."""
    return sum(row.size for _, row in _DISCARDED.scan(reader, namespace))


def restore(ledger: Ledger, ids: FreshIds, entry_id: int) -> Entry:
    """Bring an entry back to where it was; a taken name gets a number.

    NotFound; NameConflict where a file stands where a folder of its path was.
    """
    row, entry = _discarded(ledger, entry_id)
    names = [Name(each) for each in row.path.removeprefix("/").split("/")]
    parent = folders.make_path(ledger, ids, ledger.namespace.id, names[:-1])
    name = tree.free_name(ledger.writer, parent.id, names[-1])
    restored = tree.move(ledger.writer, entry, parent, name)
    ledger.record("restored", entry, restored)
    _DISCARDED.delete(ledger.writer, ledger.namespace.id, entry_id)
    return restored


def purge(ledger: Ledger, entry_id: int) -> None:
    """Remove an entry of the trash for ever, with all below it and all versions. NotFound."""
    _, entry = _discarded(ledger, entry_id)
    for each in reversed(list(_whole(ledger.writer, entry))):
        _remove_versions(ledger, each)
        tree.remove(ledger.writer, each)
    ledger.record("purged", entry, None)
    _DISCARDED.delete(ledger.writer, ledger.namespace.id, entry_id)


def _discarded(ledger: Ledger, entry_id: int) -> tuple[Discarded, Entry]:
    row = _DISCARDED.get(ledger.writer, ledger.namespace.id, entry_id)
    entry = tree.by_id(ledger.writer, entry_id)
    if row is None or entry is None:
        raise NotFound("deleted file or folder")
    return row, entry


def _whole(reader: Reader, entry: Entry) -> Iterator[Entry]:
    yield entry
    if entry.is_folder:
        yield from tree.below(reader, entry)


def _kept_bytes(reader: Reader, entry: Entry) -> int:
    if entry.is_folder:
        return 0
    return sum(each.content.size for each in versions.every(reader, entry.id))


def _remove_versions(ledger: Ledger, entry: Entry) -> None:
    if entry.is_folder:
        return
    for version in list(versions.every(ledger.writer, entry.id)):
        size = version.content.size
        is_head = version.number == entry.head
        versions.remove(ledger.writer, entry.id, version, ledger.act.now)
        ledger.charge(-size, to_old=0 if is_head else -size)
