"""Which chunks a disk holds, and where: derived from the volumes, and made anew when it is gone.

The index is an ordered store that follows the volumes at a distance: what is newer than its last
checkpoint is in an overlay in memory. A checkpoint moves the overlay into the store together with
the place up to which the volumes are in it, in one transaction; after a crash the rest is replayed.
"""

import struct
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from isal.isal_zlib import crc32

from minibox.chunk import ChunkId, ChunkRef
from minibox.errors import RecordDamaged
from minibox.node.held import Held
from minibox.node.volume import NOWHERE, Place
from minibox.store import Reader, Store, Writer


class OpenIndex(Protocol):
    """Opens the ordered store of one disk's index. ``anew`` throws away what is there first."""

    async def __call__(self, *, anew: bool) -> Store:
        """The open store. Raises what ``minibox.store.open_lmdb`` raises."""


_CHUNK_PREFIX = b"\x01"
_QUARANTINE_PREFIX = b"\x02"
_QUARANTINES_END = b"\x03"
_STATE_KEY = b"\x04state"
_STATE = struct.Struct("<8sIQQQ")
_HELD = struct.Struct("<IQIIQB")
_CHECKSUM = struct.Struct("<I")


class State(NamedTuple):
    """What a checkpoint says of the index: everything before ``place`` in the volumes is in it."""

    disk: bytes
    place: Place = NOWHERE
    chunks: int = 0
    live_bytes: int = 0


class Index:
    """The chunks of one disk. Nothing here waits for the disk but ``checkpoint``."""

    def __init__(self, store: Store, state: State) -> None:
        self._store = store
        self._newer: dict[ChunkId, Held | None] = {}
        self._moving: dict[ChunkId, Held | None] = {}
        self._disk = state.disk
        self._place = state.place
        self.chunks = state.chunks
        """How many chunks are held, those in quarantine not counted."""
        self.live_bytes = state.live_bytes
        """Their lengths together."""
        self.is_damaged = False
        """Something in it could not be read: it should be made anew at the next start."""

    @property
    def waiting(self) -> int:
        """How many chunks the next checkpoint moves into the store."""
        return len(self._newer)

    def get(self, chunk: ChunkId) -> Held | None:
        """The copy of ``chunk``, quarantined or not."""
        for overlay in (self._newer, self._moving):
            if chunk in overlay:
                return overlay[chunk]
        key = _CHUNK_PREFIX + chunk
        try:
            return self._row(key, self._store.read(lambda reader: reader.get(key)))
        except RecordDamaged:
            return self._unreadable()

    def get_many(self, chunks: Sequence[ChunkId]) -> list[Held | None]:
        """The same for several, in their order, in one transaction."""
        newer, moving = self._newer, self._moving

        def look_up(reader: Reader) -> list[Held | None]:
            found: list[Held | None] = []
            for chunk in chunks:
                if chunk in newer:
                    found.append(newer[chunk])
                elif chunk in moving:
                    found.append(moving[chunk])
                else:
                    key = _CHUNK_PREFIX + chunk
                    found.append(self._row(key, reader.get(key)))
            return found

        try:
            return self._store.read(look_up)
        except RecordDamaged:
            return [self.get(chunk) for chunk in chunks]

    def set(self, chunk: ChunkId, before: Held | None, after: Held | None) -> None:
        """Note what is held of ``chunk`` now, and was before."""
        self._newer[chunk] = after
        if before is not None and not before.is_quarantined:
            self.chunks -= 1
            self.live_bytes -= before.length
        if after is not None and not after.is_quarantined:
            self.chunks += 1
            self.live_bytes += after.length

    def reach(self, place: Place) -> None:
        """Note that the volumes are followed up to ``place``."""
        self._place = place

    def refs(self, start: bytes, stop: bytes | None, limit: int) -> list[ChunkRef]:
        """Up to ``limit`` chunks that are held and not quarantined, by id from ``start`` on."""
        return [ChunkRef(chunk, held.length) for chunk, held in self._held(start, stop, limit)]

    def quarantined(self) -> list[ChunkId]:
        """All chunks whose copy is in quarantine, by id."""

        def scan(reader: Reader) -> list[ChunkId]:
            rows = reader.scan(_QUARANTINE_PREFIX, _QUARANTINES_END)
            return [ChunkId(key[len(_QUARANTINE_PREFIX) :]) for key, _ in rows]

        known = {*self._store.read(scan), *self._moving, *self._newer}
        held = ((chunk, self.get(chunk)) for chunk in sorted(known))
        return [chunk for chunk, each in held if each and each.is_quarantined]

    async def checkpoint(self) -> None:
        """Move the overlay into the store. On any failure it stays where it is."""
        state = State(self._disk, self._place, self.chunks, self.live_bytes)
        self._moving, self._newer = self._newer, {}
        moving = sorted(self._moving.items())

        def move(writer: Writer) -> None:
            for chunk, held in moving:
                key = _CHUNK_PREFIX + chunk
                if held is None:
                    writer.delete(key)
                else:
                    writer.put(key, _pack(key, held))
                    if held.is_quarantined:  # a list of suspects: ``quarantined`` asks each row
                        writer.put(_QUARANTINE_PREFIX + chunk, b"")
            writer.put(_STATE_KEY, _pack_state(state))

        try:
            await self._store.write(move)
        except BaseException:
            self._newer = {**self._moving, **self._newer}
            raise
        finally:
            self._moving = {}

    async def close(self) -> None:
        """Close the store; what is in the overlay will be replayed."""
        await self._store.close()

    def _held(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[ChunkId, Held]]:
        rows = self._rows(start, stop, limit)
        held = ((chunk, rows[chunk]) for chunk in sorted(rows))
        good = ((chunk, each) for chunk, each in held if each and not each.is_quarantined)
        return list(islice(good, limit))

    def _rows(self, start: bytes, stop: bytes | None, limit: int) -> dict[ChunkId, Held | None]:
        """Stored rows under the overlay, enough of them for ``limit`` that count."""
        overlay = {
            chunk: held
            for chunk, held in {**self._moving, **self._newer}.items()
            if chunk >= start and (stop is None or chunk < stop)
        }

        def scan(reader: Reader) -> dict[ChunkId, Held | None]:
            rows: dict[ChunkId, Held | None] = {}
            found = 0
            end = _QUARANTINE_PREFIX if stop is None else _CHUNK_PREFIX + stop
            for key, value in reader.scan(_CHUNK_PREFIX + start, end):
                chunk = ChunkId(key[len(_CHUNK_PREFIX) :])
                rows[chunk] = held = self._row(key, value)
                found += chunk not in overlay and held is not None and not held.is_quarantined
                if found == limit:
                    break
            return rows

        return {**self._store.read(scan), **overlay}

    def _row(self, key: bytes, value: bytes | None) -> Held | None:
        """The row; one that is damaged counts as a bad copy, which is repaired like any other."""
        return None if value is None else _unpack(key, value) or self._unreadable()

    def _unreadable(self) -> Held:
        self.is_damaged = True
        return Held(NOWHERE, 0, 0, 0, is_quarantined=True)


def stored_state(store: Store) -> State | None:
    """What the last checkpoint says; None if there was none or it can't be read.

    Raises RecordDamaged.
    """
    value = store.read(lambda reader: reader.get(_STATE_KEY))
    if value is None or len(value) != _STATE.size + _CHECKSUM.size:
        return None
    if _CHECKSUM.unpack_from(value, _STATE.size)[0] != crc32(value[: _STATE.size]):
        return None
    disk, volume, offset, chunks, live_bytes = _STATE.unpack_from(value)
    return State(disk, Place(volume, offset), chunks, live_bytes)


def _pack_state(state: State) -> bytes:
    packed = _STATE.pack(state.disk, *state.place, state.chunks, state.live_bytes)
    return packed + _CHECKSUM.pack(crc32(packed))


def _pack(key: bytes, held: Held) -> bytes:
    (volume, offset), length, crc, sequence, is_quarantined = held
    packed = _HELD.pack(volume, offset, length, crc, sequence, is_quarantined)
    return packed + _CHECKSUM.pack(crc32(packed, crc32(key)))


def _unpack(key: bytes, value: bytes) -> Held | None:
    if len(value) == _HELD.size + _CHECKSUM.size:
        packed = value[: _HELD.size]
        if _CHECKSUM.unpack_from(value, _HELD.size)[0] == crc32(packed, crc32(key)):
            volume, offset, length, crc, sequence, is_quarantined = _HELD.unpack(packed)
            return Held(Place(volume, offset), length, crc, sequence, bool(is_quarantined))
    return None
