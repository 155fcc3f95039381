"""Namespaces: a tree with its own journal and quota. Each user's home is one.

A transaction opens the namespace's row once, records its changes and bytes on it, and writes it
back once: :class:`Ledger` is that row while a transaction holds it.
"""

from itertools import islice

import msgspec

from minibox.chunk import ChunkId
from minibox.codec import Record
from minibox.coordinator import journal, references, tree
from minibox.coordinator.journal import Act, Change, Verb
from minibox.coordinator.tree import Entry
from minibox.errors import NotFound, QuotaExceeded
from minibox.store import Reader, Table, Writer


class Namespace(Record, frozen=True):
    """``id`` is its root folder. ``sequence`` counts its changes.

    ``used`` are the bytes of all kept versions, trash included; ``old_bytes`` those of versions
    that are no head; ``reserved`` those promised to leases. A ``limit`` of 0 means no limit.
    """

    kind = "namespace"
    id: int
    trash: int
    owner: int
    limit: int
    sequence: int = 0
    used: int = 0
    old_bytes: int = 0
    reserved: int = 0


MAX_REFERRERS_LOOKED_AT = 16

_NAMESPACES = Table(b"n", Namespace)


def get(reader: Reader, namespace: int) -> Namespace:
    """The namespace of that root; NotFound."""
    row = _NAMESPACES.get(reader, namespace)
    if row is None:
        raise NotFound("namespace")
    return row


def every(reader: Reader) -> list[Namespace]:
    """All namespaces, for checks that walk everything."""
    return [row for _, row in _NAMESPACES.scan(reader)]


def found(writer: Writer, act: Act, *, root: int, trash: int, limit: int) -> Namespace:
    """A new namespace of ``act.actor`` with an empty tree and an empty trash."""
    tree.plant_root(writer, root, act.now)
    tree.plant_root(writer, trash, act.now)
    made = Namespace(id=root, trash=trash, owner=act.actor, limit=limit)
    _NAMESPACES.put(writer, made, root)
    return made


def remove(writer: Writer, namespace: int) -> None:
    """Remove an empty namespace with its roots and its journal."""
    row = get(writer, namespace)
    for root in (row.id, row.trash):
        entry = tree.by_id(writer, root)
        if entry is not None:
            tree.remove(writer, entry)
    journal.remove(writer, namespace)
    _NAMESPACES.delete(writer, namespace)


def has_chunk(reader: Reader, namespace: int, chunk: ChunkId) -> bool:
    """Whether a file of this namespace has the chunk: a hash alone gives no answer.

    Of a chunk that very many files share, only some are looked at: the answer may be a wrong no.
    """
    for file, _ in islice(references.referrers(reader, chunk), MAX_REFERRERS_LOOKED_AT):
        entry = tree.by_id(reader, file)
        if entry is not None and tree.ancestry(reader, entry)[0].id == namespace:
            return True
    return False


def room(namespace: Namespace, promised: int = 0) -> int | None:
    """Bytes left under the quota beside ``promised`` ones; None where there is no limit."""
    if not namespace.limit:
        return None
    return max(0, namespace.limit - namespace.used - namespace.reserved - promised)


class Ledger:
    """A namespace's row inside one transaction: ``open``, record, ``close``."""

    def __init__(self, writer: Writer, act: Act, namespace: int) -> None:
        self.writer = writer
        self.act = act
        self._row = get(writer, namespace)

    @property
    def namespace(self) -> Namespace:
        """The row as it is now in this transaction."""
        return self._row

    def record(self, verb: Verb, before: Entry | None, after: Entry | None) -> None:
        """Append a change to the journal."""
        sequence = self._row.sequence + 1
        self._row = msgspec.structs.replace(self._row, sequence=sequence)
        journal.append(self.writer, self._row.id, Change(sequence, verb, self.act, before, after))

    def charge(self, added: int, *, to_old: int = 0, released: int = 0) -> None:
        """Count ``added`` bytes as used; QuotaExceeded where used and reserved pass the limit.

        ``to_old`` of the used bytes have become old; ``released`` ones are no longer reserved.
        """
        row = self._row
        reserved = max(0, row.reserved - released)
        left = None if not row.limit else row.limit - row.used - reserved
        if added > 0 and left is not None and added > left:
            raise QuotaExceeded(limit=row.limit, available=max(0, left))
        self._row = msgspec.structs.replace(
            row, used=row.used + added, old_bytes=row.old_bytes + to_old, reserved=reserved
        )

    def reserve(self, size: int) -> None:
        """Promise ``size`` bytes to a lease; QuotaExceeded."""
        left = room(self._row)
        if left is not None and size > left:
            raise QuotaExceeded(limit=self._row.limit, available=left)
        self._row = msgspec.structs.replace(self._row, reserved=self._row.reserved + size)

    def limit(self, limit: int) -> None:
        """Set the quota."""
        self._row = msgspec.structs.replace(self._row, limit=limit)

    def close(self) -> None:
        """Write the row back."""
        _NAMESPACES.put(self.writer, self._row, self._row.id)
