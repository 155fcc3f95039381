"""Chunks of one upload on their way: to nodes, or through the door where nodes can't be reached."""

from collections.abc import Sequence

from minibox.capability import Receipt
from minibox.chunk import ChunkId
from minibox.client.bodies import BytesBody
from minibox.client.cutting import Piece
from minibox.client.direct import Direct
from minibox.client.http import Http
from minibox.client.pipeline import Pipeline
from minibox.client.wire import placements_of, text_of, upload_number
from minibox.errors import BadCapability, NotEnoughNodes
from minibox.http_api.uploads import PUT_CHUNK, RENEW, Plan
from minibox.transfer import Placed, send_chunks
from minibox.transfer.sending import Outgoing

BATCHES_IN_FLIGHT = 3


class Staging:
    """Sends what plans ask for, several batches at a time, and gathers the receipts."""

    def __init__(self, http: Http, direct: Direct, plan: Plan) -> None:
        self.upload_id = plan.upload_id
        self.receipts: list[str] = []
        self.sent_bytes = 0
        self._http = http
        self._direct = direct
        self._plan = plan
        self._pipeline = Pipeline(BATCHES_IN_FLIGHT)

    async def send(self, pieces: Sequence[Piece], plan: Plan) -> None:
        """Begin to send those of ``pieces`` that ``plan`` misses; waits while much is under way.

        Raises what went wrong with former ones.
        """
        placed = placements_of(plan)
        fresh = {each.chunk.id: each for each in pieces if each.chunk.id in placed}
        await self._pipeline.add(self._send(list(fresh.values()), placed))

    async def finish(self) -> None:
        """All that was begun is stored durably on enough nodes. NotEnoughNodes, ClusterFull."""
        await self._pipeline.finish()

    def abort(self) -> None:
        """Stop what is under way."""
        self._pipeline.abort()

    async def _send(self, pieces: Sequence[Piece], placed: dict[ChunkId, Placed]) -> None:
        if not pieces:
            return
        if await self._direct.works(self._plan.nodes):
            try:
                receipts = await self._to_nodes(pieces, placed)
            except NotEnoughNodes:
                await self._direct.doubt(self._plan.nodes)
                receipts = await self._through_door(pieces)
        else:
            receipts = await self._through_door(pieces)
        self.receipts += receipts
        self.sent_bytes += sum(each.chunk.length for each in pieces)

    async def _to_nodes(self, pieces: Sequence[Piece], placed: dict[ChunkId, Placed]) -> list[str]:
        try:
            receipts = await self._put(pieces, placed)
        except BadCapability:  # it took too long to get here: they live for minutes
            fresh = await self._http.call(RENEW, {"upload_id": self.upload_id}, once=True)
            placed = placements_of(fresh)
            left = [each for each in pieces if each.chunk.id in placed]
            receipts = await self._put(left, placed)
        return [text_of(each) for each in receipts]

    async def _put(self, pieces: Sequence[Piece], placed: dict[ChunkId, Placed]) -> list[Receipt]:
        batch = [Outgoing(each.chunk, (each.content,), placed[each.chunk.id]) for each in pieces]
        plan = self._plan
        return await send_chunks(
            self._direct.nodes,
            batch,
            upload=upload_number(plan),
            copies=plan.copies,
            ack=plan.ack,
        )

    async def _through_door(self, pieces: Sequence[Piece]) -> list[str]:
        receipts: list[str] = []
        for each in pieces:
            content = each.content
            stored = await self._http.send(
                PUT_CHUNK,
                {"upload_id": self.upload_id, "sha256": each.chunk.id.hex()},
                lambda _, content=content: BytesBody(content),  # type: ignore[misc]
                is_repeatable=True,
            )
            receipts += stored.receipts
        return receipts
