"""A simulated client on the direct path: lease, chunks to nodes, commit under one key."""

from collections.abc import Awaitable
from random import Random

from minibox.chunk import ChunkRef, Cutter, chunk_id
from minibox.client.bodies import BytesBody
from minibox.client.wire import facts_of, placements_of, text_of, upload_number
from minibox.errors import ChunkMissing, Failure
from minibox.http_api import uploads as api
from minibox.http_api.files import Uploaded
from minibox.http_api.headers import IDEMPOTENCY_KEY
from minibox.manifest import EMPTY_SHA256
from minibox.rpc import Identity
from minibox.simulation.asking import Asking, Doubt, Refused
from minibox.transfer import Nodes, send_chunks
from minibox.transfer.sending import Outgoing
from minibox.world import World

_ROUNDS = 4
_DOOR_SHARE = 0.2
_HASTY_SHARE = 0.2


async def put_directly(
    asking: Asking, world: World, begin: api.Begin, content: bytes, key: str, generator: Random
) -> Uploaded | Refused | Doubt:
    """Stage ``content`` and commit it; what the commit came to."""
    pieces = _cut(content)
    chunks = tuple(facts_of(chunk) for chunk, _ in pieces)
    listed = generator.randrange(len(chunks) + 1)
    begin = api.Begin(
        path=begin.path, file_id=begin.file_id, base=begin.base, chunks=chunks[:listed]
    )
    plan = await asking.ask("begin", asking.http.call(api.BEGIN, body=begin))
    if isinstance(plan, (Refused, Doubt)):
        return Refused(plan.failure if isinstance(plan, Refused) else _as_failure(plan))
    nodes = Nodes(world, Identity("guest", ""), None)
    try:
        staging = _Staging(asking, nodes, plan.upload_id, generator)
        staging.add(plan)
        if listed < len(chunks):
            rest = api.Extend(chunks[listed:])
            params = {"upload_id": plan.upload_id}
            more = await asking.ask("extend", asking.http.call(api.EXTEND, params, body=rest))
            if isinstance(more, (Refused, Doubt)):
                return Refused(more.failure if isinstance(more, Refused) else _as_failure(more))
            staging.add(more)
        for _ in range(_ROUNDS):
            await staging.send(pieces)
            outcome = await staging.commit(key, content)
            if not (isinstance(outcome, Refused) and isinstance(outcome.failure, ChunkMissing)):
                return outcome
            await staging.look()
        return outcome
    finally:
        await nodes.close()


class _Staging:
    """One upload: what is still to be sent, and the receipts for what was."""

    def __init__(self, asking: Asking, nodes: Nodes, upload: str, generator: Random) -> None:
        self._asking = asking
        self._nodes = nodes
        self._generator = generator
        self._params = {"upload_id": upload}
        self._plans: list[api.Plan] = []
        self._receipts: list[str] = []

    def add(self, plan: api.Plan) -> None:
        """The server wants these."""
        self._plans.append(plan)
        self._nodes.know(plan.nodes)

    async def send(self, pieces: list[tuple[ChunkRef, bytes]]) -> None:
        """Send what is missing, to nodes or now and then through the door; failures are passed."""
        plans, self._plans = self._plans, []
        contents = {chunk.id: (chunk, content) for chunk, content in pieces}
        for plan in plans:
            placed = placements_of(plan)
            if self._generator.random() < _DOOR_SHARE:
                for chunk in placed:
                    await self._through_door(contents[chunk][1], chunk.hex())
                continue
            batch = [
                Outgoing(contents[each][0], (contents[each][1],), placed[each]) for each in placed
            ]
            sending = send_chunks(
                self._nodes, batch, upload=upload_number(plan), copies=plan.copies, ack=plan.ack
            )
            receipts = await self._asking.ask(f"sends {len(batch)} chunks", sending)
            if not isinstance(receipts, (Refused, Doubt)):
                self._receipts += [text_of(each) for each in receipts]

    async def commit(self, key: str, content: bytes) -> Uploaded | Refused | Doubt:
        """Name what is staged."""
        sha256 = chunk_id(content) if content else EMPTY_SHA256
        receipts = tuple(self._receipts)
        if self._generator.random() < _HASTY_SHARE:
            receipts = receipts[:1]  # fewer than it takes: the server has to see that
        body = api.Commit(receipts, sha256.hex())

        def again() -> Awaitable[Uploaded]:
            headers = {IDEMPOTENCY_KEY: key}
            return self._asking.http.call(api.COMMIT, self._params, body=body, headers=headers)

        return await self._asking.repeated(f"commit {len(content)}", key, again)

    async def look(self) -> None:
        """What do the nodes hold already? What they lack is planned anew."""
        state = await self._asking.ask("state", self._asking.http.call(api.STATE, self._params))
        if not isinstance(state, (Refused, Doubt)):
            self._receipts = list(state.receipts)
        plan = await self._asking.ask("renew", self._asking.http.call(api.RENEW, self._params))
        if not isinstance(plan, (Refused, Doubt)):
            self.add(plan)

    async def _through_door(self, content: bytes, chunk: str) -> None:
        sending = self._asking.http.send(
            api.PUT_CHUNK, {**self._params, "sha256": chunk}, lambda _: BytesBody(content)
        )
        stored = await self._asking.ask(f"puts chunk {chunk[:12]}", sending)
        if not isinstance(stored, (Refused, Doubt)):
            self._receipts += stored.receipts


def _cut(content: bytes) -> list[tuple[ChunkRef, bytes]]:
    cutter = Cutter()
    pieces = cutter.feed(content) + cutter.finish() if content else []
    return [(ChunkRef(chunk_id(piece), len(piece)), piece) for piece in pieces]


def _as_failure(doubt: Doubt) -> Failure:
    """Before the commit nothing can be in doubt but a lease."""
    return doubt.problem if isinstance(doubt.problem, Failure) else Failure()
