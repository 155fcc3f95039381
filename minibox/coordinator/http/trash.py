"""The trash: list, restore, purge, empty."""

from minibox.coordinator import trash, tree
from minibox.coordinator.authentication import Caller
from minibox.coordinator.changes import Changes
from minibox.coordinator.homes import Homes, Seen
from minibox.coordinator.http.call import Call, Reply
from minibox.coordinator.http.deeds import answered, deed_of
from minibox.coordinator.http.entries import metadata, trash_facts
from minibox.coordinator.http.routing import Router
from minibox.coordinator.namespaces import Ledger
from minibox.errors import NotFound
from minibox.http_api import files as api
from minibox.http_api.accounts import Message
from minibox.identity import FreshIds, from_text
from minibox.world import Clock


class Trash:
    """The handlers of /api/trash."""

    def __init__(self, clock: Clock, homes: Homes, changes: Changes, copies: int) -> None:
        self._clock = clock
        self._homes = homes
        self._changes = changes
        self._copies = copies

    def bind(self, router: Router[Caller]) -> None:
        """Offer the routes."""
        router.bind(api.TRASH_LIST, self.list)
        router.bind(api.TRASH_EMPTY, self.empty)
        router.bind(api.TRASH_RESTORE, self.restore)
        router.bind(api.TRASH_PURGE, self.purge)

    async def list(self, call: Call[Caller, None, None]) -> api.TrashPage:
        """GET /api/trash."""
        items = [trash_facts(row, entry) for row, entry in self._homes.trash(call.caller)]
        return api.TrashPage(items, len(items))

    async def restore(self, call: Call[Caller, None, None]) -> Reply[api.Metadata]:
        """POST /api/trash/{trash_id}/restore."""
        number, deed = _number(call), deed_of(call, self._clock)

        def operation(ledger: Ledger, ids: FreshIds) -> api.Metadata:
            entry = trash.restore(ledger, ids, number)
            path = tree.path_of(tree.ancestry(ledger.writer, entry))
            return metadata(Seen(entry, path), deed.owner, self._copies, self._copies)

        return answered(await self._changes.in_ledger(deed, operation))

    async def purge(self, call: Call[Caller, None, None]) -> Reply[Message]:
        """DELETE /api/trash/{trash_id}."""
        number = _number(call)

        def operation(ledger: Ledger, _ids: FreshIds) -> Message:
            trash.purge(ledger, number)
            return Message("It is gone for ever.")

        deed = deed_of(call, self._clock)
        return answered(await self._changes.in_ledger(deed, operation, frees=True))

    async def empty(self, call: Call[Caller, None, None]) -> Message:
        """DELETE /api/trash: one transaction for each thing in it."""
        deed = deed_of(call, self._clock)
        gone = 0
        for row, _ in self._homes.trash(call.caller):

            def operation(ledger: Ledger, _ids: FreshIds, number: int = row.entry) -> Message:
                trash.purge(ledger, number)
                return Message("")

            await self._changes.in_ledger(deed, operation, frees=True)
            gone += 1
        return Message(f"The trash is empty; {gone} things are gone for ever.")


def _number(call: Call[Caller, None, None]) -> int:
    number = from_text("tr", call.params["trash_id"])
    if number is None:
        raise NotFound("deleted file or folder")
    return number
