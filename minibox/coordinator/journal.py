"""The journal: every change of a namespace, in order, with the entry before and after.

A replay from nothing gives the tree, trash included; the tree at any sequence is a replay up to it.
"""

from collections.abc import Iterator
from typing import Literal

from minibox.codec import Record
from minibox.coordinator.tree import Entry
from minibox.store import Reader, Table, Writer

Verb = Literal["created", "updated", "moved", "removed", "restored", "purged"]


class Act(Record, frozen=True):
    """Who does something, from where, and when (Unix seconds)."""

    kind = "act"
    actor: int
    now: float
    device: str = ""


class Change(Record, frozen=True):
    """One change. ``before`` is absent when an entry is created, ``after`` when it is purged."""

    kind = "change"
    sequence: int
    verb: Verb
    act: Act
    before: Entry | None
    after: Entry | None


_CHANGES = Table(b"j", Change)


def append(writer: Writer, namespace: int, change: Change) -> None:
    """Write a change under the sequence that the namespace gave it."""
    _CHANGES.put(writer, change, namespace, change.sequence)


def changes(reader: Reader, namespace: int, after: int = 0) -> Iterator[Change]:
    """The changes of a namespace with a sequence above ``after``, in order."""
    place = after.to_bytes(8, "big")
    for _, change in _CHANGES.scan(reader, namespace, after=place):
        yield change


def remove(writer: Writer, namespace: int) -> None:
    """Remove the journal of a namespace that is gone."""
    for change in list(changes(writer, namespace)):
        _CHANGES.delete(writer, namespace, change.sequence)


def replay(entries: dict[int, Entry], change: Change) -> None:
    """Apply ``change`` to a tree held as entries by id. A purge takes all below it along."""
    if change.after is not None:
        entries[change.after.id] = change.after
    elif change.before is not None:
        _forget(entries, change.before.id)


def _forget(entries: dict[int, Entry], entry_id: int) -> None:
    entries.pop(entry_id, None)
    for child in [each.id for each in entries.values() if each.parent == entry_id]:
        _forget(entries, child)
