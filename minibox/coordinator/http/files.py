"""Files: content in and out, metadata, lists, copies, moves, deletes."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any

from minibox.coordinator import folders, trash, tree
from minibox.coordinator.authentication import Caller
from minibox.coordinator.changes import Changes, Deed
from minibox.coordinator.commit import Committed, Conditions, Destination
from minibox.coordinator.homes import Homes, Seen, folder_and_name
from minibox.coordinator.http.call import Call, Reply
from minibox.coordinator.http.conditions import matches
from minibox.coordinator.http.deeds import answered, deed_of
from minibox.coordinator.http.download import Content, serve_content
from minibox.coordinator.http.entries import digest_of, metadata, seconds_of, type_for, uploaded
from minibox.coordinator.http.forms import FilePart, Form
from minibox.coordinator.http.lists import page_of
from minibox.coordinator.http.parsing import check_json_type, parse_json
from minibox.coordinator.http.routing import Router
from minibox.coordinator.inbound import Inbound, Target
from minibox.coordinator.namespaces import Ledger
from minibox.coordinator.outbound import Outbound
from minibox.coordinator.tree import Entry
from minibox.coordinator.versions import Version
from minibox.errors import NotFound, NothingToUpdate, ValidationFailed, VersionConflict
from minibox.http_api import files as api
from minibox.http_api import headers
from minibox.identity import FreshIds, to_text
from minibox.names import Name, valid_name
from minibox.world import Clock

UPLOADED = "The file is stored."
MAX_TAGS = 64
MAX_TAG_LENGTH = 64


class Files:
    """The handlers of /api/files; folders, versions and trash build on them."""

    def __init__(
        self,
        clock: Clock,
        homes: Homes,
        changes: Changes,
        inbound: Inbound,
        outbound: Outbound,
        copies: int,
    ) -> None:
        self._clock = clock
        self._homes = homes
        self._changes = changes
        self._inbound = inbound
        self._outbound = outbound
        self._copies = copies

    def bind(self, router: Router[Caller]) -> None:
        """Offer the routes; the hot ones skip Klein."""
        router.bind(api.PUT_CONTENT, self.put_content, hot=True)
        router.bind(api.GET_CONTENT, self.get_content, hot=True)
        router.bind(api.DELETE_CONTENT, self.delete_content)
        router.bind(api.UPLOAD, self.upload, hot=True)
        router.bind(api.BY_PATH, self.by_path)
        router.bind(api.LIST, self.list, hot=True)
        router.bind(api.DOWNLOAD, self.download, hot=True)
        router.bind(api.METADATA, self.metadata)
        router.bind(api.CHANGE_FILE, self.change)
        router.bind(api.DELETE_FILE, self.delete)
        router.bind(api.COPY, self.copy)
        router.bind(api.MOVE, self.move)
        router.bind(api.HEALTH, self.health)

    # Content

    async def upload(self, call: Call[Caller, None, None]) -> Reply[api.Uploaded]:
        """POST /api/files/upload."""
        form = Form(call.stream, call.content_type)
        part = await form.file()

        async def target() -> Target:
            await form.finish()
            return self._form_target(call, part, form.fields)

        return await self._take(call, part, None, target)

    async def put_content(self, call: Call[Caller, api.WriteQuery, None]) -> Reply[api.Uploaded]:
        """PUT /api/files/content/{path}."""
        folder, name = folder_and_name(call.params["path"])
        destination = Destination(call.caller.user.home, (*folder, name))
        target = _raw_target(call, destination, name)
        return await self._take(call, call.stream, call.stream.length, _known(target))

    async def change(self, call: Call[Caller, api.WriteQuery, None]) -> Reply[Any]:
        """PUT /api/files/{file_id}: JSON changes metadata, any other type the content."""
        seen = self._homes.file(call.caller, call.params["file_id"])
        destination = Destination(call.caller.user.home, file=seen.entry.id)
        name = Name(seen.entry.name)
        match (call.content_type or "").partition(";")[0].strip().lower():
            case headers.JSON:
                check_json_type(call.content_type)
                body = await call.stream.read_whole(headers.MAX_JSON_BYTES)
                return await self.change_entry(call, seen, parse_json(body, api.ChangeEntry))
            case headers.FORM:
                form = Form(call.stream, call.content_type)
                part = await form.file()

                async def target() -> Target:
                    await form.finish()
                    fields = {
                        "base": call.if_match or "",
                        "absent": call.if_none_match or "",
                        "on_conflict": "replace",
                        **form.fields,
                    }
                    return _described(destination, name, fields, part.content_type, _tag)

                return await self._take(call, part, None, target, status=200)
            case _:
                raw = _raw_target(call, destination, name)
                length = call.stream.length
                return await self._take(call, call.stream, length, _known(raw), status=200)

    async def get_content(self, call: Call[Caller, api.DownloadQuery, None]) -> None:
        """GET /api/files/content/{path}."""
        seen = self._homes.at(call.caller, call.params["path"])
        await self.serve(call, seen, call.query.version)

    async def download(self, call: Call[Caller, api.DownloadQuery, None]) -> None:
        """GET /api/files/{file_id}/download."""
        seen = self._homes.file(call.caller, call.params["file_id"])
        await self.serve(call, seen, call.query.version)

    async def serve(self, call: Call[Caller, Any, None], seen: Seen, number: int | None) -> None:
        """Send the content of a version, the head by default."""
        entry = seen.entry
        if entry.is_folder:
            raise NotFound("file")
        version = None if number is None else self._homes.version(entry, number)
        await serve_content(call.request, self._content(seen, version))

    # Metadata

    async def by_path(self, call: Call[Caller, api.PathQuery, None]) -> Reply[api.Metadata]:
        """GET /api/files/by-path."""
        return answered(self.shown(call, self._homes.at(call.caller, call.query.path)))

    async def list(self, call: Call[Caller, api.ListQuery, None]) -> api.EntryPage:
        """GET /api/files/list."""
        asked = call.query
        if asked.folder_id is not None:
            folder = self._homes.folder(call.caller, asked.folder_id)
        else:
            folder = self._homes.at(call.caller, asked.path or "/")
        return page_of(self._homes, folder, asked)

    async def metadata(self, call: Call[Caller, None, None]) -> Reply[api.Metadata]:
        """GET /api/files/{file_id}."""
        seen = self._homes.named(call.caller, call.params["file_id"])
        return answered(self.shown(call, seen))

    async def health(self, call: Call[Caller, None, None]) -> api.FileHealth:
        """GET /api/files/{file_id}/health."""
        entry = self._homes.file(call.caller, call.params["file_id"]).entry
        return api.FileHealth(
            file_id=entry.public_id,
            version=entry.head,
            copies=api.CopiesFacts(self._homes.copies(entry), self._copies),
            chunks=[
                api.ChunkHealth(chunk.id.hex(), chunk.length, nodes)
                for chunk, nodes in self._homes.holdings(entry)
            ],
        )

    def shown(self, call: Call[Caller, Any, Any], seen: Seen) -> api.Metadata:
        """All facts of one entry."""
        have = self._homes.copies(seen.entry)
        return metadata(seen, call.caller.user.username, have, self._copies)

    # Changes

    async def change_entry(
        self, call: Call[Caller, Any, Any], seen: Seen, asked: api.ChangeEntry
    ) -> Reply[api.Metadata]:
        """Rename, move and tag in one transaction; NothingToUpdate."""
        if asked.name is None and asked.tags is None and asked.folder_id is asked.path is None:
            raise NothingToUpdate
        parent = self._folder_asked(call.caller, asked.folder_id, asked.path)
        name = None if asked.name is None else valid_name(asked.name)
        if asked.tags is not None:
            _check_tags(asked.tags)

        def operation(ledger: Ledger, entry: Entry) -> Entry:
            if parent is not None or name is not None:
                entry = folders.move(
                    ledger,
                    entry,
                    folders.live_folder(ledger, parent or entry.parent),
                    name or Name(entry.name),
                )
            return entry if asked.tags is None else folders.retag(ledger, entry, asked.tags)

        return await self._change(call, seen, operation)

    async def move(self, call: Call[Caller, None, api.PlaceEntry]) -> Reply[api.Metadata]:
        """POST /api/files/{file_id}/move."""
        kept = self._changes.done(deed_of(call, self._clock))
        if kept is not None:
            return answered(kept)
        seen = self._homes.named(call.caller, call.params["file_id"])
        asked = call.body
        parent = self._folder_asked(call.caller, asked.folder_id, asked.path)
        name = None if asked.name is None else valid_name(asked.name)
        or_rename = asked.on_conflict == "rename"

        def operation(ledger: Ledger, entry: Entry) -> Entry:
            target = folders.live_folder(ledger, parent or entry.parent)
            return folders.move(
                ledger, entry, target, name or Name(entry.name), or_rename=or_rename
            )

        return await self._change(call, seen, operation)

    async def copy(self, call: Call[Caller, None, api.PlaceEntry]) -> Reply[api.Metadata]:
        """POST /api/files/{file_id}/copy."""
        asked, deed = call.body, deed_of(call, self._clock)
        kept = self._changes.done(deed)
        if kept is not None:
            return answered(kept)
        seen = self._homes.named(call.caller, call.params["file_id"])
        parent = self._folder_asked(call.caller, asked.folder_id, asked.path)
        name = valid_name(asked.name or seen.entry.name)

        def operation(ledger: Ledger, ids: FreshIds) -> api.Metadata:
            entry = folders.live(ledger.writer, ledger, seen.entry.id)
            target = folders.live_folder(ledger, parent or entry.parent)
            chosen = name
            if asked.on_conflict == "rename":
                chosen = tree.free_name(ledger.writer, target.id, name)
            return self._shown_in(ledger, folders.copy(ledger, ids, entry, target, chosen), deed)

        return answered(await self._changes.in_ledger(deed, operation))

    async def delete(self, call: Call[Caller, api.DeleteQuery, None]) -> Reply[api.Deleted]:
        """DELETE /api/files/{file_id}."""
        return await self.discard(call, self._homes.file(call.caller, call.params["file_id"]))

    async def delete_content(self, call: Call[Caller, api.DeleteQuery, None]) -> Reply[api.Deleted]:
        """DELETE /api/files/content/{path}."""
        return await self.discard(call, self._homes.at(call.caller, call.params["path"]))

    async def discard(
        self, call: Call[Caller, api.DeleteQuery, None], seen: Seen
    ) -> Reply[api.Deleted]:
        """Move an entry to the trash, or remove it for ever."""
        permanent = call.query.permanent

        def operation(ledger: Ledger, _ids: FreshIds) -> api.Deleted:
            entry = folders.live(ledger.writer, ledger, seen.entry.id)
            _check_match(call, entry)
            trash.discard(ledger, entry)
            if permanent:
                trash.purge(ledger, entry.id)
                return api.Deleted(f"{seen.path} is gone for ever.")
            return api.Deleted(f"{seen.path} is in the trash.", to_text("tr", entry.id))

        deed = deed_of(call, self._clock)
        return answered(await self._changes.in_ledger(deed, operation, frees=True))

    # Shared by the handlers

    async def _change(
        self,
        call: Call[Caller, Any, Any],
        seen: Seen,
        operation: Callable[[Ledger, Entry], Entry],
    ) -> Reply[api.Metadata]:
        deed = deed_of(call, self._clock)

        def changed(ledger: Ledger, _ids: FreshIds) -> api.Metadata:
            entry = folders.live(ledger.writer, ledger, seen.entry.id)
            _check_match(call, entry)
            return self._shown_in(ledger, operation(ledger, entry), deed)

        return answered(await self._changes.in_ledger(deed, changed))

    def _shown_in(self, ledger: Ledger, entry: Entry, deed: Deed) -> api.Metadata:
        """Facts as of this transaction; a rename or copy makes no copies of chunks."""
        path = tree.path_of(tree.ancestry(ledger.writer, entry))
        return metadata(Seen(entry, path), deed.owner, self._copies, self._copies)

    async def _take(
        self,
        call: Call[Caller, Any, None],
        parts: AsyncIterable[bytes],
        announced: int | None,
        target: Callable[[], Awaitable[Target]],
        status: int | None = None,
    ) -> Reply[api.Uploaded]:
        deed, want = deed_of(call, self._clock), self._copies

        def answer(committed: Committed) -> api.Uploaded:
            seen = Seen(committed.entry, committed.path)
            return uploaded(seen, deed.owner, committed.copies, want, UPLOADED)

        ack = call.ack
        least = None if ack is None else want if ack == "all" else min(ack, want)
        reply = await self._inbound.take(deed, parts, announced, least, target, answer)
        if status is None and call.route.method != "POST" and not isinstance(reply, bytes):
            status = 201 if reply.version == 1 else 200
        return answered(reply, status=status, shows_copies=True)

    def _form_target(
        self, call: Call[Caller, None, None], part: FilePart, fields: dict[str, str]
    ) -> Target:
        home = call.caller.user.home
        fields.setdefault("on_conflict", "replace" if fields.get("base") else "rename")
        fields.setdefault("absent", call.if_none_match or "")
        if fields.get("path"):
            names, name = folder_and_name(fields["path"])
            return _described(
                Destination(home, (*names, name)), name, fields, part.content_type, _tag
            )
        name = valid_name(fields.get("filename") or _base_name(part.filename), "filename")
        if fields.get("folder_id"):
            folder = self._homes.folder(call.caller, fields["folder_id"]).entry.id
            destination = Destination(folder, (name,))
        else:
            names, last = folder_and_name(fields.get("parent_path", "").rstrip("/") + f"/{name}")
            destination = Destination(home, (*names, last))
        return _described(destination, name, fields, part.content_type, _tag)

    def _folder_asked(self, caller: Caller, folder_id: str | None, path: str | None) -> int | None:
        if folder_id is not None:
            return self._homes.folder(caller, folder_id).entry.id
        if path is not None:
            seen = self._homes.at(caller, path)
            if not seen.entry.is_folder:
                raise NotFound("folder")
            return seen.entry.id
        return None

    def _content(self, seen: Seen, version: Version | None) -> Content:
        entry = seen.entry
        size, content_type, etag = entry.size, entry.content_type, entry.etag
        modified = entry.modified
        if version is not None:
            size, content_type = version.content.size, version.content.content_type
            modified = version.content.modified
            etag = f"{entry.public_id}.{version.number}"

        def source(start: int, stop: int) -> AsyncGenerator[bytes, None]:
            return self._outbound.read(entry, version, seen.path, start, stop)

        return Content(
            size=size,
            etag=f'"{etag}"',
            content_type=content_type,
            filename=entry.name,
            last_modified=int(modified),
            source=source,
        )


def _tag(text: str) -> str:
    """A version as an ETag or If-Match names it, without its quotes."""
    return text.strip().removeprefix("W/").strip('"')


def _check_match(call: Call[Caller, Any, Any], entry: Entry) -> None:
    """VersionConflict unless the entry is one that the call's If-Match names."""
    listed = call.if_match
    if listed is not None and not matches(listed, f'"{entry.etag}"', weak=False):
        raise VersionConflict(entry.etag)


def _check_tags(tags: tuple[str, ...]) -> None:
    """Few and short: they stand in every line of a list."""
    if len(tags) > MAX_TAGS:
        raise ValidationFailed("tags", f"give at most {MAX_TAGS}")
    for tag in tags:
        valid_name(tag, "tags")
        if len(tag) > MAX_TAG_LENGTH:
            raise ValidationFailed("tags", f"a tag has at most {MAX_TAG_LENGTH} characters")


def _known(target: Target) -> Callable[[], Awaitable[Target]]:
    async def give() -> Target:
        return target

    return give


def _raw_target(
    call: Call[Caller, api.WriteQuery, None], destination: Destination, name: Name
) -> Target:
    asked = call.query
    fields = {
        "on_conflict": asked.on_conflict,
        "base": asked.base or call.if_match or "",
        "absent": call.if_none_match or "",
        "sha256": asked.sha256 or "",
        "mtime": asked.mtime or "",
    }
    return _described(destination, name, fields, call.content_type, _tag)


def _described(
    destination: Destination,
    name: Name,
    fields: dict[str, str],
    content_type: str | None,
    tag: Callable[[str], str],
) -> Target:
    on_conflict = fields.get("on_conflict", "replace")
    if on_conflict not in ("rename", "replace", "fail"):
        raise ValidationFailed("on_conflict", "give rename, replace or fail")
    base = fields.get("base", "")
    conditions = Conditions(
        on_conflict=on_conflict,  # type: ignore[arg-type]  # checked above
        base=tag(base) if base and base != "*" else None,
        absent=fields.get("absent", "") == "*",
        present=base == "*",
    )
    return Target(
        destination,
        conditions,
        type_for(name, content_type),
        modified=seconds_of(fields["mtime"]) if fields.get("mtime") else None,
        sha256=digest_of(fields["sha256"]) if fields.get("sha256") else None,
    )


def _base_name(filename: str) -> str:
    """What a browser calls the file: some send a whole path."""
    return filename.replace("\\", "/").rpartition("/")[2]
