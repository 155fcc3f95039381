"""Versions of a file: list, read, restore."""

from typing import Any

from minibox.coordinator import folders, tree
from minibox.coordinator.authentication import Caller
from minibox.coordinator.changes import Changes
from minibox.coordinator.homes import Homes, Seen
from minibox.coordinator.http.call import Call, Reply
from minibox.coordinator.http.deeds import answered, deed_of
from minibox.coordinator.http.entries import metadata, version_facts
from minibox.coordinator.http.files import Files
from minibox.coordinator.http.routing import Router
from minibox.coordinator.namespaces import Ledger
from minibox.errors import NotFound
from minibox.http_api import files as api
from minibox.identity import FreshIds
from minibox.world import Clock

_MAX_DIGITS = 18


class Versions:
    """The handlers of /api/files/{file_id}/versions."""

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
        router.bind(api.VERSION_LIST, self.list)
        router.bind(api.VERSION, self.show)
        router.bind(api.VERSION_DOWNLOAD, self.download)
        router.bind(api.VERSION_RESTORE, self.restore)

    async def list(self, call: Call[Caller, None, None]) -> api.VersionPage:
        """GET /api/files/{file_id}/versions."""
        entry = self._homes.file(call.caller, call.params["file_id"]).entry
        items = [version_facts(entry, each) for each in self._homes.versions(entry)]
        return api.VersionPage(items, len(items))

    async def show(self, call: Call[Caller, None, None]) -> api.VersionFacts:
        """GET /api/files/{file_id}/versions/{version}."""
        entry = self._homes.file(call.caller, call.params["file_id"]).entry
        return version_facts(entry, self._homes.version(entry, _number(call)))

    async def download(self, call: Call[Caller, None, None]) -> None:
        """GET /api/files/{file_id}/versions/{version}/download."""
        seen = self._homes.file(call.caller, call.params["file_id"])
        await self._files.serve(call, seen, _number(call))

    async def restore(self, call: Call[Caller, None, None]) -> Reply[api.Metadata]:
        """POST /api/files/{file_id}/versions/{version}/restore."""
        number, deed = _number(call), deed_of(call, self._clock)
        kept = self._changes.done(deed)
        if kept is not None:
            return answered(kept)
        seen = self._homes.file(call.caller, call.params["file_id"])

        def operation(ledger: Ledger, _ids: FreshIds) -> api.Metadata:
            entry = folders.live(ledger.writer, ledger, seen.entry.id)
            restored = folders.restore_version(ledger, entry, number)
            path = tree.path_of(tree.ancestry(ledger.writer, restored))
            return metadata(Seen(restored, path), deed.owner, self._copies, self._copies)

        return answered(await self._changes.in_ledger(deed, operation))


def _number(call: Call[Caller, Any, Any]) -> int:
    text = call.params["version"]
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise NotFound("version")
    return int(text)
