"""Commit: the transaction that makes a name point at staged chunks.

In this order, all or nothing: the lease lives, enough nodes hold each chunk durably, the base is
the head, the quota has room; then version, manifest, references, holders, entry, journal. It rests
on frozen values alone: what is up, what was received, what time it is.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from minibox.chunk import ChunkId, ChunkRef
from minibox.coordinator import folders, holders, namespaces, tree, uploads, versions
from minibox.coordinator.holders import Holder, Standing
from minibox.coordinator.journal import Act
from minibox.coordinator.namespaces import Ledger
from minibox.coordinator.tree import Entry
from minibox.coordinator.versions import Content, Version
from minibox.errors import (
    ChunkMissing,
    NameConflict,
    NotFound,
    PreconditionFailed,
    VersionConflict,
)
from minibox.identity import FreshIds
from minibox.names import Name
from minibox.store import Writer

OnConflict = Literal["rename", "replace", "fail"]


class Destination(msgspec.Struct, frozen=True):
    """Where content goes: onto ``file`` if that is not 0, else to ``names`` below ``folder``."""

    folder: int
    names: tuple[Name, ...] = ()
    file: int = 0


class Conditions(msgspec.Struct, frozen=True):
    """What must hold of the head. ``base`` is an ETag.

    ``absent`` means create only, ``present`` replace only. With a ``base``, ``rename`` keeps the
    content beside a head that is another one: a conflict copy.
    """

    on_conflict: OnConflict = "replace"
    base: str | None = None
    absent: bool = False
    present: bool = False


class Staged(msgspec.Struct, frozen=True):
    """Chunks that wait for a name, and who has given receipts for each."""

    chunks: tuple[ChunkRef, ...]
    holders: Mapping[ChunkId, tuple[Holder, ...]]
    content: Content


class Safety(msgspec.Struct, frozen=True):
    """How many nodes must hold each chunk now, how many shall, and which are up."""

    ack: int
    copies: int
    standing: Standing


class Committed(msgspec.Struct, frozen=True):
    """The entry as it is now, its path, whether it is new, and the fewest copies of a chunk."""

    entry: Entry
    path: str
    is_new: bool
    copies: int


def commit(
    writer: Writer,
    act: Act,
    ids: FreshIds,
    namespace: int,
    destination: Destination,
    conditions: Conditions,
    staged: Staged,
    safety: Safety,
    upload: int = 0,
    *,
    ends_lease: bool = True,
) -> Committed:
    """Carry out one commit; ``upload`` names its lease, if it has one, which ends with it or stays.

    UploadExpired, ChunkMissing (the lease stays), VersionConflict, PreconditionFailed,
    NameConflict, NotFound, QuotaExceeded. After any of them nothing has changed.
    """
    lease = uploads.get(writer, upload, act.actor) if upload else None
    fewest = _confirm_holders(writer, act, namespace, staged, safety, upload)
    ledger = Ledger(writer, act, namespace)
    entry, parent, name = _find_target(writer, ledger, ids, destination, conditions)
    released = 0
    if lease is not None:
        released = lease.reserved if ends_lease else min(lease.reserved, staged.content.size)
    ledger.charge(staged.content.size, to_old=entry.size if entry else 0, released=released)
    made = _write_version(writer, ledger, ids, entry, parent, name, staged)
    ledger.close()
    if lease is not None and ends_lease:
        uploads.end(writer, lease)
    elif lease is not None:
        uploads.spend(writer, lease, staged.content.size)
    path = tree.path_of(tree.ancestry(writer, made))
    return Committed(made, path, is_new=entry is None, copies=fewest)


def _confirm_holders(
    writer: Writer, act: Act, namespace: int, staged: Staged, safety: Safety, upload: int
) -> int:
    """Write who holds the chunks; ChunkMissing names those that too few nodes hold durably.

    So does it name a chunk that the caller neither sent nor has: its hash alone gives no bytes.
    """
    missing, fewest = [], safety.copies
    for chunk in dict.fromkeys(staged.chunks):
        fresh = staged.holders.get(chunk.id, ())
        copies = holders.confirm(writer, chunk, fresh, safety.copies, act.now)
        have = holders.counted(copies.holders, safety.standing)
        is_his = (
            fresh
            or (upload and uploads.was_shown(writer, upload, chunk.id))
            or namespaces.has_chunk(writer, namespace, chunk.id)
        )
        if have < safety.ack or copies.length != chunk.length or not is_his:
            missing.append(chunk.id.hex())
        fewest = min(fewest, have)
    if missing:
        raise ChunkMissing(missing)
    return fewest


def _find_target(
    writer: Writer,
    ledger: Ledger,
    ids: FreshIds,
    destination: Destination,
    conditions: Conditions,
) -> tuple[Entry | None, int, Name]:
    """The file that gets the content, if it exists, and the folder and name to write under."""
    if destination.file:
        entry = tree.by_id(writer, destination.file)
        if entry is None or entry.is_folder or not folders.is_live(writer, ledger, entry):
            raise NotFound("file")
        return _judged(writer, entry, entry.parent, Name(entry.name), conditions, by_id=True)
    parent = folders.make_path(ledger, ids, destination.folder, destination.names[:-1])
    name = destination.names[-1]
    found = tree.child(writer, parent.id, name)
    return _judged(writer, found, parent.id, name, conditions, by_id=False)


def _judged(
    writer: Writer,
    entry: Entry | None,
    parent: int,
    name: Name,
    conditions: Conditions,
    *,
    by_id: bool,
) -> tuple[Entry | None, int, Name]:
    """The target, if the conditions let the content go onto ``entry`` or beside it."""
    base, renames = conditions.base, conditions.on_conflict == "rename"
    if entry is None:
        if conditions.present:
            raise PreconditionFailed
        if base and not renames:
            raise VersionConflict("")
        return None, parent, name
    if conditions.absent:
        raise PreconditionFailed(head=entry.etag)
    if base is not None and base == entry.etag and not entry.is_folder:
        return entry, parent, name
    if renames and (base is not None or not by_id):
        return None, parent, tree.free_name(writer, parent, name)
    if base is not None:
        raise VersionConflict(entry.etag)
    if entry.is_folder or (conditions.on_conflict == "fail" and not by_id):
        raise NameConflict(tree.path_of(tree.ancestry(writer, entry)))
    return entry, parent, name


def _write_version(
    writer: Writer,
    ledger: Ledger,
    ids: FreshIds,
    entry: Entry | None,
    parent: int,
    name: Name,
    staged: Staged,
) -> Entry:
    act, content = ledger.act, staged.content
    facts = entry or Entry(tree.free_id(writer, ids), parent, name, "file", act.now, act.now)
    made = msgspec.structs.replace(
        facts,
        modified=content.modified,
        head=facts.head + 1,
        size=content.size,
        sha256=content.sha256,
        content_type=content.content_type,
        chunks=len(staged.chunks),
    )
    if entry is None:
        tree.add(writer, made)
    else:
        tree.rewrite(writer, made)
    version = Version(made.head, content, len(staged.chunks), act.now, act.actor, act.device)
    versions.add(writer, made.id, version, staged.chunks)
    ledger.record("updated" if entry else "created", entry, made)
    return made
