"""What one disk knows of its copy of one chunk, and how each record changes that.

The same rule runs when a record has been written and when it is replayed.
"""

from typing import NamedTuple, assert_never

from minibox.node.volume import Kind, Place, Record


class Held(NamedTuple):
    """A copy: where its record is, what it should be, and the highest sequence it was put under."""

    place: Place
    length: int
    crc: int
    sequence: int
    is_quarantined: bool = False


def held_after(before: Held | None, record: Record, place: Place) -> Held | None:
    """What is held of the record's chunk once ``record`` stands at ``place``; None for nothing.

    Touches, tombstones and quarantines name the copy that they are about: however volumes are
    compacted and in which order they are replayed, none of them reaches a copy made later.
    """
    match record.kind:
        case Kind.CHUNK:
            sequence = max(record.sequence, before.sequence if before else 0)
            return Held(place, record.length, record.crc, sequence)
        case _ if before is None or before.place != record.about:
            return before
        case Kind.TOUCH:
            return before._replace(sequence=max(record.sequence, before.sequence))
        case Kind.TOMBSTONE:
            return None if record.sequence > before.sequence else before
        case Kind.QUARANTINE:
            return before._replace(is_quarantined=True)
        case _:
            assert_never(record.kind)
