"""Under which uploads chunks came here lately.

Only whoever sent a chunk's bytes may be given a receipt for it again: that the chunk is here is no
answer for somebody who knows its hash alone. Kept in memory: after a restart a client sends again.
"""

from collections import OrderedDict

from minibox.chunk import ChunkId

MAX_REMEMBERED = 1 << 16


class Arrivals:
    """The latest arrivals, at most MAX_REMEMBERED."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, ChunkId], None] = OrderedDict()

    def note(self, upload: int, chunk: ChunkId) -> None:
        """The chunk's bytes have come under this upload and are durable here."""
        self._known[upload, chunk] = None
        self._known.move_to_end((upload, chunk))
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def came_under(self, upload: int, chunk: ChunkId) -> bool:
        """Whether the chunk's bytes have come under this upload."""
        return (upload, chunk) in self._known
