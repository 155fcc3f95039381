"""What must hold of the coordinator's records at any moment, whatever has happened. Pure reads.

Everything derived is computed again from what it derives from: references and quota from the
versions and leases, trees from their journals, debts from the holders.
"""

from collections import Counter
from collections.abc import Iterator
from unicodedata import normalize

import msgspec

from minibox.chunk import ChunkId
from minibox.coordinator import (
    holders,
    journal,
    namespaces,
    references,
    trash,
    tree,
    uploads,
    versions,
)
from minibox.coordinator.journal import Change
from minibox.coordinator.namespaces import Namespace
from minibox.coordinator.tree import Entry
from minibox.coordinator.versions import Version
from minibox.errors import Failure, RecordDamaged
from minibox.names import child_key, valid_name
from minibox.simulation.promises import Broken
from minibox.store import Reader


class Filed(msgspec.Struct, frozen=True):
    """A file with its versions, oldest first, and its namespace."""

    entry: Entry
    namespace: int
    versions: tuple[Version, ...]


class Records(msgspec.Struct, frozen=True):
    """What a walk over everything found."""

    namespaces: tuple[Namespace, ...]
    files: dict[int, Filed]
    changes: dict[int, tuple[Change, ...]]
    trees: dict[int, dict[int, Entry]]


def check_records(reader: Reader) -> Records:
    """All invariants of the records: M1, M4, M5, M6, M7. Broken; what was walked."""
    try:
        return _checked(reader)
    except RecordDamaged as damage:
        raise Broken("M7", f"a record is damaged and nothing damaged it: {damage}") from damage


def _checked(reader: Reader) -> Records:
    rows = tuple(namespaces.every(reader))
    trees = {row.id: _tree(reader, row) for row in rows}
    everything = {entry.id for entry in tree.every(reader)}
    known = {entry_id for entries in trees.values() for entry_id in entries}
    roots = {root for row in rows for root in (row.id, row.trash)}
    _expect(everything == known | roots, "M6", "there are entries in no tree")
    changes = {row.id: tuple(journal.changes(reader, row.id)) for row in rows}
    files: dict[int, Filed] = {}
    for row in rows:
        _check_journal(row, changes[row.id], trees[row.id])
        for entry in trees[row.id].values():
            if not entry.is_folder:
                files[entry.id] = Filed(entry, row.id, _versions(reader, entry))
    _check_references(reader, files)
    for row in rows:
        _check_quota(reader, row, [each for each in files.values() if each.namespace == row.id])
    _check_debts(reader)
    return Records(rows, files, changes, trees)


# M6: the tree is a tree


def _tree(reader: Reader, row: Namespace) -> dict[int, Entry]:
    """All entries below the root and below the trash, by id."""
    found: dict[int, Entry] = {}
    discarded = {deleted.entry for deleted, _ in trash.listed(reader, row.id)}
    for root in (row.id, row.trash):
        planted = tree.by_id(reader, root)
        names: set[tuple[int, str]] = set()
        _expect(planted is not None and planted.parent == 0, "M6", "a root is missing")
        for parent, key, entry in _below(reader, root):
            _expect(entry.id not in found, "M6", f"{entry.public_id} stands in two places")
            _expect(entry.parent == parent, "M6", f"{entry.public_id} names another parent")
            _expect(tree.by_id(reader, entry.id) == entry, "M6", f"{entry.public_id} is lost by id")
            in_trash_root = parent == row.trash
            wanted = entry.id.to_bytes(8, "big") if in_trash_root else child_key(entry.name)
            _expect(key == wanted, "M6", f"{entry.name!r} is keyed as another name")
            _expect(in_trash_root == (entry.id in discarded), "M6", "the trash list is wrong")
            try:
                is_valid = valid_name(entry.name) == entry.name
            except Failure:
                is_valid = False
            _expect(is_valid, "M6", f"{entry.name!r} is no name")
            twin = (parent, normalize("NFC", entry.name).casefold())
            _expect(in_trash_root or twin not in names, "M6", f"{entry.name!r} has a twin")
            names.add(twin)
            found[entry.id] = entry
    return found


def _below(reader: Reader, parent: int) -> Iterator[tuple[int, bytes, Entry]]:
    for key, entry in tree.children(reader, parent):
        yield parent, key, entry
        if entry.is_folder:
            yield from _below(reader, entry.id)


# M4: the journal


def _check_journal(row: Namespace, changes: tuple[Change, ...], entries: dict[int, Entry]) -> None:
    numbers = [change.sequence for change in changes]
    _expect(numbers == list(range(1, row.sequence + 1)), "M4", f"the journal has gaps: {numbers}")
    replayed: dict[int, Entry] = {}
    for change in changes:
        before = replayed.get(change.before.id) if change.before is not None else None
        _expect(before == change.before, "M4", f"change {change.sequence} began from another entry")
        journal.replay(replayed, change)
    _expect_equal_trees(replayed, entries, "a replay from nothing")


def check_replay(snapshot: dict[int, Entry], after: int, records: Records, namespace: int) -> None:
    """A tree as it was at sequence ``after``, with the later changes, is the tree of now (M4)."""
    replayed = dict(snapshot)
    for change in records.changes[namespace][after:]:
        journal.replay(replayed, change)
    _expect_equal_trees(replayed, records.trees[namespace], f"a replay from {after}")


def _expect_equal_trees(one: dict[int, Entry], other: dict[int, Entry], what: str) -> None:
    if one == other:
        return
    differing = [each for each in {*one, *other} if one.get(each) != other.get(each)]
    first = min(differing)
    raise Broken("M4", f"{what} gives {one.get(first)}, the tree has {other.get(first)}")


# M1, M5: versions, references, quota


def _versions(reader: Reader, entry: Entry) -> tuple[Version, ...]:
    found = tuple(reversed(list(versions.every(reader, entry.id))))
    numbers = [version.number for version in found]
    _expect(
        numbers == list(range(1, entry.head + 1)),
        "M2",
        f"{entry.public_id} has head {entry.head} and versions {numbers}",
    )
    head = found[-1].content
    _expect(
        (head.sha256, head.size) == (entry.sha256, entry.size),
        "M1",
        f"{entry.public_id} shows another content than its head",
    )
    return found


def _check_references(reader: Reader, files: dict[int, Filed]) -> None:
    wanted: Counter[tuple[ChunkId, int, int]] = Counter()
    for file, filed in files.items():
        for version in filed.versions:
            chunks = list(versions.chunks_of(reader, file, version))
            size = sum(chunk.length for chunk in chunks)
            _expect(size == version.content.size, "M5", "a manifest doesn't make its content")
            _expect(len(chunks) == version.chunks, "M5", "a manifest has another count of chunks")
            for chunk in chunks:
                wanted[chunk.id, file, version.number] = 1
                copies = holders.of(reader, chunk.id)
                _expect(copies is not None, "D4", "a committed chunk has no holders' row")
    found = Counter(references.every(reader))
    _expect(found == wanted, "M5", f"references differ: {found - wanted} and {wanted - found}")
    referenced = {chunk for chunk, _, _ in wanted}
    for condemned, _ in references.condemned(reader):
        is_free = condemned not in referenced
        _expect(is_free, "R1", f"{condemned.hex()} is condemned and referenced")


def _check_quota(reader: Reader, row: Namespace, files: list[Filed]) -> None:
    used = sum(version.content.size for filed in files for version in filed.versions)
    old = used - sum(filed.entry.size for filed in files)
    leases = [lease for lease in uploads.every(reader) if lease.namespace == row.id]
    reserved = sum(lease.reserved for lease in leases)
    for lease in leases:
        listed = list(uploads.listed(reader, lease.upload))
        _expect(len(listed) == lease.listed, "M5", "a lease lists another count of chunks")
        _expect(sum(each.length for each in listed) == lease.size, "M5", "a lease's size is wrong")
    _expect(row.used == used, "M5", f"used is {row.used}, the versions have {used}")
    _expect(row.old_bytes == old, "M5", f"old bytes are {row.old_bytes}, the versions have {old}")
    _expect(row.reserved == reserved, "M5", f"reserved is {row.reserved}, not {reserved}")
    _expect(not row.limit or used + reserved <= row.limit, "M5", "the quota is exceeded")


def _check_debts(reader: Reader) -> None:
    owed = dict(holders.debts(reader))
    for chunk, copies in holders.every(reader):
        names = [holder.node for holder in copies.holders]
        _expect(len(set(names)) == len(names), "D2", "a node holds a chunk twice")
        is_accounted = (
            references.is_referenced(reader, chunk)
            or references.is_condemned(reader, chunk)
            or uploads.is_pinned(reader, chunk)
        )
        _expect(is_accounted, "R1", f"{chunk.hex()} would never be used nor removed")
        debt = owed.pop(chunk, None)
        if debt is not None:
            _expect(debt.have == len(names) < debt.want, "D2", f"a debt is wrong: {debt}, {names}")
    _expect(not owed, "D2", "there are debts of chunks that nobody knows")


def _expect(holds: object, invariant: str, detail: str) -> None:
    if not holds:
        raise Broken(invariant, detail)
