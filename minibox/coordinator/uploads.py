"""Uploads under way: a lease that keeps staged chunks, and the bytes promised to it.

A lease's deadline is in coordinator memory, on the monotonic clock, and starts anew at a restart:
no wall-clock step and no restart loses an upload. Uploads through the HTTP door live in one request
and have no lease row at all.
"""

from collections.abc import Iterable, Iterator

import msgspec

from minibox.chunk import ChunkId, ChunkRef
from minibox.codec import Record
from minibox.coordinator.journal import Act
from minibox.coordinator.namespaces import Ledger
from minibox.errors import UploadExpired
from minibox.store import Reader, Rows, Table, Writer


class Lease(Record, frozen=True):
    """One upload: whose, into which namespace, how many bytes are promised, what it targets."""

    kind = "lease"
    upload: int
    user: int
    namespace: int
    reserved: int
    path: str = ""
    file: int = 0
    base: str = ""


_LEASES = Table(b"l", Lease)
_PINS = Rows(b"ip")
_PINNED = Table(b"il", ChunkRef)


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


def every(reader: Reader) -> Iterator[Lease]:
    """All leases."""
    for _, lease in _LEASES.scan(reader):
        yield lease


def pin(writer: Writer, act: Act, lease: Lease, chunks: Iterable[ChunkRef]) -> Lease:
    """Keep these chunks while the lease lives; promise more bytes if they pass what it has."""
    for each in chunks:
        _PINS.add(writer, each.id, lease.upload)
        _PINNED.put(writer, each, lease.upload, each.id)
    needed = sum(each.length for each in pinned(writer, lease.upload))
    if needed > lease.reserved:
        ledger = Ledger(writer, act, lease.namespace)
        ledger.reserve(needed - lease.reserved)
        ledger.close()
        lease = msgspec.structs.replace(lease, reserved=needed)
        _LEASES.put(writer, lease, lease.upload)
    return lease


def pinned(reader: Reader, upload: int) -> Iterator[ChunkRef]:
    """The chunks that the upload's lease keeps."""
    for _, chunk in _PINNED.scan(reader, upload):
        yield chunk


def is_pinned(reader: Reader, chunk: ChunkId) -> bool:
    """Whether any lease keeps the chunk."""
    return next(_PINS.scan(reader, chunk), None) is not None


def end(writer: Writer, lease: Lease) -> None:
    """Remove the lease and its pins. Its promised bytes are released by whoever calls."""
    for each in list(pinned(writer, lease.upload)):
        _PINS.delete(writer, each.id, lease.upload)
        _PINNED.delete(writer, lease.upload, each.id)
    _LEASES.delete(writer, lease.upload)


def expire(writer: Writer, act: Act, upload: int) -> None:
    """End a lease whose time is up and give its promised bytes back."""
    lease = _LEASES.get(writer, upload)
    if lease is None:
        return
    end(writer, lease)
    ledger = Ledger(writer, act, lease.namespace)
    ledger.charge(0, released=lease.reserved)
    ledger.close()
