"""Opening a disk's chunks after whatever happened: the index as it was, and the rest by replay.

If the index is missing, damaged, of another disk or ahead of the volumes, it is made anew from all
of them. In the last volume the content is checked too, as only there a crash may have left a header
without its content; what follows its last header is cut off.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from twisted.logger import Logger

from minibox.chunk import ChunkId
from minibox.errors import Busy, Failure, RecordDamaged, StoreFull
from minibox.node.held import held_after
from minibox.node.index import Index, OpenIndex, State, stored_state
from minibox.node.replay import Damaged, Found, replay
from minibox.node.volume import RECORD_HEADER_BYTES, VOLUME_HEADER_BYTES, Identity, Kind, Place
from minibox.node.volumes import Volumes
from minibox.store import Store
from minibox.world import Threads

RECORDS_PER_STEP = 4_000
ROWS_PER_CHECKPOINT = 200_000
MAX_CUT_BYTES = 64 * 1024 * 1024
"""A crash leaves at most one batch that was never acknowledged: more than that is damage."""

_log = Logger()


class Recovery(NamedTuple):
    """What was found at start. ``bad`` are copies whose content is not what their record says."""

    was_rebuilt: bool
    records: int
    damaged: tuple[Damaged, ...]
    bad: tuple[tuple[ChunkId, Place], ...]


async def recover(
    threads: Threads,
    volumes: Volumes,
    identity: Identity,
    open_index: OpenIndex,
    *,
    anew: bool = False,
) -> tuple[Index, Recovery]:
    """The index of the opened ``volumes``, complete, and what was found on the way.

    With ``anew`` the index is not trusted. Bad copies are in the index as they are found: the
    caller puts them into quarantine durably before its next checkpoint. Raises StoreStopped and
    what the ordered store raises.
    """
    store, state, was_rebuilt = await _open(volumes, identity, open_index, anew=anew)
    index = Index(store, state)
    damaged: list[Damaged] = []
    bad: list[tuple[ChunkId, Place]] = []
    records, end = 0, state.place
    last = volumes.end.volume
    steps = _replay_all(volumes, identity.salt, state.place)
    while step := await threads.run(_take, steps):
        for found in step:
            if isinstance(found, Damaged):
                damaged.append(found)
                continue
            records += 1
            before = index.get(found.record.chunk)
            index.set(found.record.chunk, before, held_after(before, found.record, found.place))
            stop = found.place.offset + RECORD_HEADER_BYTES + found.record.length
            fits = stop <= volumes.size(found.place.volume)
            end = Place(found.place.volume, stop) if fits else end
            if not found.is_whole and found.record.kind is Kind.CHUNK:
                bad.append((found.record.chunk, found.place))
        if index.waiting > ROWS_PER_CHECKPOINT and end.volume < last:
            await _checkpoint(index, end)
    cut = end.offset if end.volume == last else VOLUME_HEADER_BYTES
    if volumes.size(last) - cut <= MAX_CUT_BYTES:
        damaged = [each for each in damaged if each.volume != last or each.start < cut]
        await threads.run(volumes.cut, cut)
    index.reach(volumes.end)
    for each in damaged:
        _log.warn("volume damaged", volume=each.volume, start=each.start, stop=each.stop)
    return index, Recovery(was_rebuilt, records, tuple(damaged), tuple(bad))


async def _open(
    volumes: Volumes, identity: Identity, open_index: OpenIndex, *, anew: bool
) -> tuple[Store, State, bool]:
    """The index as its last checkpoint left it, or an empty one; whether that is to be filled."""
    blank = State(identity.disk)
    if not anew:
        try:
            store = await open_index(anew=False)
        except Failure as problem:  # the index is derived: whatever ails it, it can be made anew
            _log.warn("index unusable", problem=problem)
        else:
            state = _trusted_state(store, volumes, identity.disk)
            if state is not None:
                return store, state, False
            await store.close()
    return await open_index(anew=True), blank, volumes.end.volume > 0


def _trusted_state(store: Store, volumes: Volumes, disk: bytes) -> State | None:
    try:
        state = stored_state(store)
    except RecordDamaged as problem:
        _log.warn("index unusable", problem=problem)
        return None
    if state is None or state.disk != disk or not _is_within(volumes, state.place):
        return None
    return state


def _is_within(volumes: Volumes, place: Place) -> bool:
    return place.offset <= volumes.size(place.volume)


async def _checkpoint(index: Index, place: Place) -> None:
    index.reach(place)
    try:
        await index.checkpoint()
    except (StoreFull, Busy):
        _log.warn("no room for the index", waiting=index.waiting)


def _replay_all(volumes: Volumes, salt: bytes, start: Place) -> Iterator[Found | Damaged]:
    last = volumes.end.volume
    for number in volumes.numbers():
        if number >= start.volume:
            offset = start.offset if number == start.volume else 0
            file = volumes.file(number)
            yield from replay(file, number, salt, offset, check_content=number == last)


def _take(steps: Iterator[Found | Damaged]) -> list[Found | Damaged]:
    return list(islice(steps, RECORDS_PER_STEP))
