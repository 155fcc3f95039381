"""Folders: make, show, list, change, delete."""

from typing import Any

from minibox.coordinator import folders, tree
from minibox.coordinator.authentication import Caller
from minibox.coordinator.changes import Changes
from minibox.coordinator.homes import Homes, Seen, folder_and_name
from minibox.coordinator.http.call import Call, Reply
from minibox.coordinator.http.deeds import answered, deed_of
from minibox.coordinator.http.entries import metadata
from minibox.coordinator.http.files import Files
from minibox.coordinator.http.lists import page_of
from minibox.coordinator.http.routing import Router
from minibox.coordinator.namespaces import Ledger
from minibox.errors import NotFound, ValidationFailed
from minibox.http_api import files as api
from minibox.identity import FreshIds
from minibox.names import Name, valid_name
from minibox.world import Clock


class Folders:
    """The handlers of /api/folders."""

    def __init__(
        self, clock: Clock, homes: Homes, changes: Changes, files: Files, copies: int
    ) -> None:
        self._clock = clock
        self._homes = homes
        self._changes = changes
        self._files = files
        self._copies = copies

    def bind(self, router: Router[Caller]) -> None:
        """Offer the routes."""
        router.bind(api.MAKE_FOLDER, self.make)
        router.bind(api.FOLDER, self.show)
        router.bind(api.CHANGE_FOLDER, self.change)
        router.bind(api.DELETE_FOLDER, self.delete)
        router.bind(api.CHILDREN, self.children)

    async def make(self, call: Call[Caller, None, api.MakeFolder]) -> Reply[api.Metadata]:
        """POST /api/folders."""
        deed = deed_of(call, self._clock)
        kept = self._changes.done(deed)
        if kept is not None:
            return answered(kept)
        base, names, name = self._place(call)

        def operation(ledger: Ledger, ids: FreshIds) -> api.Metadata:
            parent = folders.make_path(ledger, ids, base, names)
            made = folders.make(ledger, ids, parent, name)
            path = tree.path_of(tree.ancestry(ledger.writer, made))
            return metadata(Seen(made, path), deed.owner, self._copies, self._copies)

        return answered(await self._changes.in_ledger(deed, operation))

    async def show(self, call: Call[Caller, None, None]) -> api.Metadata:
        """GET /api/folders/{folder_id}."""
        return self._files.shown(call, self._folder(call))

    async def children(self, call: Call[Caller, api.ListQuery, None]) -> api.EntryPage:
        """GET /api/folders/{folder_id}/children."""
        return page_of(self._homes, self._folder(call), call.query)

    async def change(self, call: Call[Caller, None, api.ChangeEntry]) -> Reply[api.Metadata]:
        """PATCH /api/folders/{folder_id}."""
        return await self._files.change_entry(call, self._folder(call), call.body)

    async def delete(self, call: Call[Caller, api.DeleteQuery, None]) -> Reply[api.Deleted]:
        """DELETE /api/folders/{folder_id}."""
        return await self._files.discard(call, self._folder(call))

    def _folder(self, call: Call[Caller, Any, Any]) -> Seen:
        folder_id = call.params["folder_id"]
        if folder_id == "root":
            return self._homes.at(call.caller, "/")
        return self._homes.folder(call.caller, folder_id)

    def _place(
        self, call: Call[Caller, None, api.MakeFolder]
    ) -> tuple[int, tuple[Name, ...], Name]:
        """The folder to start from, the folders on the way, and the new one's name."""
        asked, home = call.body, call.caller.user.home
        if asked.path is not None:
            return home, *folder_and_name(asked.path)
        if asked.name is None:
            raise ValidationFailed("name", "give a path, or a name")
        name = valid_name(asked.name)
        if asked.parent_id is not None:
            return self._homes.folder(call.caller, asked.parent_id).entry.id, (), name
        parent = self._homes.at(call.caller, asked.parent_path or "/")
        if not parent.entry.is_folder:
            raise NotFound("folder")
        return parent.entry.id, (), name
