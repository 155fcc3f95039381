"""Uploads under way: a lease that keeps staged chunks, and the bytes promised to it.

A lease's deadline is in coordinator memory, on the monotonic clock, and starts anew at a restart:
no wall-clock step and no restart loses an upload. Uploads through the HTTP door live in one request
and have no lease row at all.
"""

from collections.abc import Iterator, Sequence

import msgspec

from minibox.chunk import ChunkId, ChunkRef
from minibox.codec import Record
from minibox.coordinator.journal import Act
from minibox.coordinator.namespaces import Ledger
from minibox.errors import UploadExpired
from minibox.store import Reader, Rows, Table, Writer


class Lease(Record, frozen=True):
    """One upload: whose, into which namespace, how many bytes are promised, what it targets.

    ``listed`` chunks of ``size`` bytes altogether have been named so far, in the content's order;
    ``spent`` bytes have become contents of files already.
    """

    kind = "lease"
    upload: int
    user: int
    namespace: int
    reserved: int
    path: str = ""
    file: int = 0
    base: str | None = None
    listed: int = 0
    size: int = 0
    spent: int = 0


_LEASES = Table(b"l", Lease)
_PINS = Rows(b"ip")
_LISTED = Table(b"il", ChunkRef)
_SHOWN = Rows(b"ih")


def begin(writer: Writer, act: Act, lease: Lease) -> None:
    """Make the lease durable and promise it its bytes; QuotaExceeded."""
    ledger = Ledger(writer, act, lease.namespace)
    ledger.reserve(lease.reserved)
    ledger.close()
    _LEASES.put(writer, lease, lease.upload)


def get(reader: Reader, upload: int, user: int) -> Lease:
    """The lease of that upload of that user; UploadExpired."""
    lease = _LEASES.get(reader, upload)
    if lease is None or lease.user != user:
        raise UploadExpired
    return lease


def end_all(writer: Writer, now: float, user: int) -> None:
    """Give up every lease of a user."""
    for lease in list(every(writer)):
        if lease.user == user:
            give_up(writer, Act(user, now), lease.upload)


def every(reader: Reader) -> Iterator[Lease]:
    """All leases."""
    for _, lease in _LEASES.scan(reader):
        yield lease


def pin(writer: Writer, act: Act, lease: Lease, chunks: Sequence[ChunkRef]) -> Lease:
    """Keep these next chunks of the content while the lease lives; QuotaExceeded."""
    for place, each in enumerate(chunks, lease.listed):
        _PINS.add(writer, each.id, lease.upload)
        _LISTED.put(writer, each, lease.upload, place)
    size = lease.size + sum(each.length for each in chunks)
    reserved = max(lease.reserved, size - lease.spent)
    if reserved > lease.reserved:
        ledger = Ledger(writer, act, lease.namespace)
        ledger.reserve(reserved - lease.reserved)
        ledger.close()
    lease = msgspec.structs.replace(
        lease, reserved=reserved, listed=lease.listed + len(chunks), size=size
    )
    _LEASES.put(writer, lease, lease.upload)
    return lease


def listed(reader: Reader, upload: int) -> Iterator[ChunkRef]:
    """The chunks of the upload, in the content's order."""
    for _, chunk in _LISTED.scan(reader, upload):
        yield chunk


def is_pinned(reader: Reader, chunk: ChunkId) -> bool:
    """Whether any lease keeps the chunk."""
    return next(_PINS.scan(reader, chunk), None) is not None


def is_pinned_by(reader: Reader, chunk: ChunkId, upload: int) -> bool:
    """Whether this upload's lease keeps the chunk."""
    return _PINS.has(reader, chunk, upload)


def show(writer: Writer, upload: int, chunk: ChunkId) -> None:
    """A receipt under this upload has been seen: its owner has had the chunk's bytes."""
    _SHOWN.add(writer, upload, chunk)


def was_shown(reader: Reader, upload: int, chunk: ChunkId) -> bool:
    """Whether a receipt for the chunk was seen before the commit's own."""
    return _SHOWN.has(reader, upload, chunk)


def spend(writer: Writer, lease: Lease, size: int) -> None:
    """So many of the promised bytes have become a file's; whoever calls has charged them."""
    _LEASES.put(
        writer,
        msgspec.structs.replace(
            lease, reserved=max(0, lease.reserved - size), spent=lease.spent + size
        ),
        lease.upload,
    )


def end(writer: Writer, lease: Lease) -> None:
    """Remove the lease and its pins. Its promised bytes are released by whoever calls."""
    for place, each in enumerate(list(listed(writer, lease.upload))):
        _PINS.delete(writer, each.id, lease.upload)
        _LISTED.delete(writer, lease.upload, place)
    for chunk in list(_SHOWN.scan(writer, lease.upload)):
        _SHOWN.delete(writer, lease.upload, chunk)
    _LEASES.delete(writer, lease.upload)


def expire(writer: Writer, now: float, upload: int) -> None:
    """Give up a lease whose time is up, if it is still there."""
    lease = _LEASES.get(writer, upload)
    if lease is not None:
        give_up(writer, Act(lease.user, now), upload)


def give_up(writer: Writer, act: Act, upload: int) -> None:
    """End ``act.actor``'s lease without a commit and give its promised bytes back; UploadExpired.

    The lease is read here and now: one that has ended meanwhile gives nothing back twice.
    """
    lease = get(writer, upload, act.actor)
    end(writer, lease)
    ledger = Ledger(writer, act, lease.namespace)
    ledger.charge(0, released=lease.reserved)
    ledger.close()
