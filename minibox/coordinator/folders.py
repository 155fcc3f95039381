"""What people do with entries by name: make folders, rename, move, copy, restore a version."""

from collections.abc import Sequence

import msgspec

from minibox.coordinator import tree, versions
from minibox.coordinator.namespaces import Ledger
from minibox.coordinator.tree import Entry
from minibox.coordinator.versions import Version
from minibox.errors import NameConflict, NotFound, ValidationFailed
from minibox.identity import FreshIds
from minibox.names import Name
from minibox.store import Reader, Writer


def is_live(reader: Reader, ledger: Ledger, entry: Entry) -> bool:
    """Whether the entry is in this namespace's tree, not in its trash or in another's."""
    return tree.ancestry(reader, entry)[0].id == ledger.namespace.id


def live(reader: Reader, ledger: Ledger, entry_id: int) -> Entry:
    """The entry of that id in this namespace's tree, its root excepted; NotFound."""
    entry = tree.by_id(reader, entry_id)
    if entry is None or not entry.parent or not is_live(reader, ledger, entry):
        raise NotFound("file or folder")
    return entry


def live_folder(ledger: Ledger, entry_id: int) -> Entry:
    """The folder of that id in this namespace's tree, its root included; NotFound."""
    entry = tree.by_id(ledger.writer, entry_id)
    if entry is None or not entry.is_folder or not is_live(ledger.writer, ledger, entry):
        raise NotFound("folder")
    return entry


def make(ledger: Ledger, ids: FreshIds, parent: Entry, name: Name) -> Entry:
    """A new folder; NameConflict."""
    act = ledger.act
    made = Entry(tree.free_id(ledger.writer, ids), parent.id, name, "folder", act.now, act.now)
    tree.add(ledger.writer, made)
    ledger.record("created", None, made)
    return made


def make_path(ledger: Ledger, ids: FreshIds, root: int, names: Sequence[Name]) -> Entry:
    """The folder at ``names`` below ``root``, with all that is missing on the way made.

    What is put into it has a valid path. NotFound unless ``root`` is a folder of this namespace's
    tree; NameConflict where a file stands in the way; ValidationFailed where it gets too deep.
    """
    folder = live_folder(ledger, root)
    above = 1 if root == ledger.namespace.id else len(tree.ancestry(ledger.writer, folder))
    tree.check_depth(above + len(names))
    for name in names:
        found = tree.child(ledger.writer, folder.id, name)
        if found is not None and not found.is_folder:
            raise NameConflict(tree.path_of(tree.ancestry(ledger.writer, found)))
        folder = found or make(ledger, ids, folder, name)
    return folder


def move(
    ledger: Ledger, entry: Entry, parent: Entry, name: Name, *, or_rename: bool = False
) -> Entry:
    """Rename or move an entry; NameConflict unless ``or_rename`` finds it a free name."""
    if or_rename:
        twin = tree.child(ledger.writer, parent.id, name)
        if twin is not None and twin.id != entry.id:
            name = tree.free_name(ledger.writer, parent.id, name)
    moved = tree.move(ledger.writer, entry, parent, name)
    if moved != entry:
        ledger.record("moved", entry, moved)
    return moved


def retag(ledger: Ledger, entry: Entry, tags: tuple[str, ...]) -> Entry:
    """Set the tags of an entry."""
    tagged = msgspec.structs.replace(entry, tags=tags)
    tree.rewrite(ledger.writer, tagged)
    ledger.record("updated", entry, tagged)
    return tagged


def copy(ledger: Ledger, ids: FreshIds, entry: Entry, parent: Entry, name: Name) -> Entry:
    """A copy of the entry, and of all below it, that shares the chunks; NameConflict."""
    if any(above.id == entry.id for above in tree.ancestry(ledger.writer, parent)):
        raise ValidationFailed("path", "a folder can't be copied into itself")
    tree.check_depth(len(tree.ancestry(ledger.writer, parent)) + tree.height(ledger.writer, entry))
    return _copy(ledger, ids, entry, parent.id, name)


def restore_version(ledger: Ledger, entry: Entry, number: int) -> Entry:
    """The content of version ``number`` as a new head; NotFound."""
    former = versions.get(ledger.writer, entry.id, number)
    ledger.charge(former.content.size, to_old=entry.size)
    restored = _with_content(ledger.writer, ledger, entry, entry.id, former)
    tree.rewrite(ledger.writer, restored)
    ledger.record("updated", entry, restored)
    return restored


def _copy(ledger: Ledger, ids: FreshIds, entry: Entry, parent: int, name: Name) -> Entry:
    act, writer = ledger.act, ledger.writer
    blank = Entry(
        tree.free_id(writer, ids),
        parent,
        name,
        entry.shape,
        act.now,
        entry.modified,
        tags=entry.tags,
    )
    if entry.is_folder:
        tree.add(writer, blank)
        ledger.record("created", None, blank)
        for _, child in list(tree.children(writer, entry.id)):
            _copy(ledger, ids, child, blank.id, Name(child.name))
        return blank
    head = versions.get(writer, entry.id, entry.head)
    ledger.charge(head.content.size)
    made = _with_content(writer, ledger, blank, entry.id, head)
    tree.add(writer, made)
    ledger.record("created", None, made)
    return made


def _with_content(
    writer: Writer, ledger: Ledger, entry: Entry, source: int, former: Version
) -> Entry:
    """``entry`` with the next version number, whose content is that of ``former`` of ``source``."""
    act = ledger.act
    chunks = tuple(versions.chunks_of(writer, source, former))
    version = Version(entry.head + 1, former.content, former.chunks, act.now, act.actor, act.device)
    versions.add(writer, entry.id, version, chunks)
    return msgspec.structs.replace(
        entry,
        head=version.number,
        modified=former.content.modified,
        size=former.content.size,
        sha256=former.content.sha256,
        content_type=former.content.content_type,
        chunks=former.chunks,
    )
