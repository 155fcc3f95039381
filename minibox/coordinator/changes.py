"""Changes on behalf of a caller: one queued transaction each, once for each idempotency key."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from minibox.coordinator import idempotency, lineage
from minibox.coordinator.journal import Act
from minibox.coordinator.namespaces import Ledger
from minibox.identity import FreshIds
from minibox.store import Store, Writer
from minibox.world import World

A = TypeVar("A", bound=msgspec.Struct)

FORGOTTEN_AT_ONCE = 2000

_encode = msgspec.json.encode


class Deed(msgspec.Struct, frozen=True):
    """Who changes which namespace. ``key`` is empty, or names the change for a day.

    ``request`` is a digest of what was asked under that key.
    """

    act: Act
    namespace: int
    owner: str
    key: bytes = b""
    request: bytes = b""


class Changes:
    """Carries deeds out."""

    def __init__(self, world: World, store: Store) -> None:
        self._world = world
        self._store = store
        self._looked_at: bytes | None = None

    def done(self, deed: Deed) -> bytes | None:
        """What the deed was answered if it was done already under its key. IdempotencyMismatch.

        For what ends by being done: whoever asks again finds neither lease nor trash row.
        """
        if not deed.key:
            return None
        return self._store.read(
            lambda reader: idempotency.kept(reader, deed.key, deed.request, deed.act.now)
        )

    def done_of(self, deeds: Sequence[Deed]) -> list[bytes | None]:
        """The same for many deeds, of which all have keys or none."""
        if not any(deed.key for deed in deeds):
            return [None] * len(deeds)
        return self._store.read(
            lambda reader: [
                idempotency.kept(reader, deed.key, deed.request, deed.act.now) for deed in deeds
            ]
        )

    async def forget_old(self) -> None:
        """Remove some of the answers whose day is over. Call it regularly."""
        after, now = self._looked_at, self._world.clock.wall()
        self._looked_at = await self._store.write(
            lambda writer: idempotency.forget_old(writer, now, after, FORGOTTEN_AT_ONCE),
            frees=True,
        )

    async def run(
        self, deed: Deed, operation: Callable[[Writer, FreshIds], A], *, frees: bool = False
    ) -> A | bytes:
        """The operation's answer, durable. With a key: its JSON, the first time's if it was done.

        IdempotencyMismatch when the key was used for another request.
        """
        ids = FreshIds(deed.act.now, self._world.random_bytes(16))

        def numbered(writer: Writer) -> A:
            answer = operation(writer, ids)
            lineage.next_sequence(writer)
            return answer

        def once(writer: Writer) -> bytes:
            return idempotency.once(
                writer, deed.key, deed.request, deed.act.now, lambda: _encode(numbered(writer))
            )

        if deed.key:
            return await self._store.write(once, frees=frees)
        return await self._store.write(numbered, frees=frees)

    async def in_ledger(
        self, deed: Deed, operation: Callable[[Ledger, FreshIds], A], *, frees: bool = False
    ) -> A | bytes:
        """The same for an operation on the namespace's open row, which is closed after it."""

        def opened(writer: Writer, ids: FreshIds) -> A:
            ledger = Ledger(writer, deed.act, deed.namespace)
            answer = operation(ledger, ids)
            ledger.close()
            return answer

        return await self.run(deed, opened, frees=frees)
