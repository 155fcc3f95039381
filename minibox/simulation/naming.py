"""Simulated people give names, take them away, and bring things back."""

from minibox.http_api import files as api
from minibox.http_api.accounts import Message
from minibox.simulation.asking import Doubt, Refused
from minibox.simulation.person import FOLDERS, NAMES, Person
from minibox.simulation.promises import Broken


class Naming(Person):
    """Folders, moves, copies, old versions, the trash."""

    async def make_folder(self) -> None:
        """A folder."""
        path = self._generator.choice(FOLDERS[1:]) + "/" + self._generator.choice(NAMES)
        began = self._cluster.now
        made = await self._asking.once("mkdir", api.MAKE_FOLDER, {}, api.MakeFolder(path=path))
        if not isinstance(made, (Refused, Doubt)):
            self._home.note(made)
            self._acknowledge("created", made.id, began, name=made.name)

    async def move(self) -> None:
        """Another name, another folder, or both."""
        entry = self._some(self._home.files if self._likely(0.8) else self._home.folders)
        if entry is None:
            return
        folder = self._some(self._home.folders) if self._likely(0.4) else None
        place = api.PlaceEntry(
            folder_id=folder,
            name=self._generator.choice(NAMES),
            on_conflict=self._generator.choice(("rename", "fail")),
        )
        began = self._cluster.now
        moved = await self._asking.once(f"move {entry}", api.MOVE, {"file_id": entry}, place)
        if not isinstance(moved, (Refused, Doubt)):
            self._home.note(moved)
            self._acknowledge("moved", moved.id, began, name=moved.name)

    async def copy(self) -> None:
        """A copy, which shares the chunks."""
        entry = self._some(self._home.files if self._likely(0.8) else self._home.folders)
        if entry is None:
            return
        place = api.PlaceEntry(name=self._generator.choice(NAMES), on_conflict="rename")
        began = self._cluster.now
        self._spread(entry)
        made = await self._asking.once(f"copy {entry}", api.COPY, {"file_id": entry}, place)
        if not isinstance(made, (Refused, Doubt)):
            self._home.note(made)
            self._acknowledge("created", made.id, began, head=made.version or 0, name=made.name)
            if made.sha256 is not None:
                self._promises.saw(made.id, made.version or 0, bytes.fromhex(made.sha256))

    async def restore_version(self) -> None:
        """An old content as the new head."""
        old = [key for key in self._promises.contents if key[0] in self._home.files]
        if not old:
            return
        file, number = self._generator.choice(old)
        began = self._cluster.now
        sha256 = self._promises.contents[file, number]
        self._promises.spread[sha256] = None
        params = {"file_id": file, "version": str(number)}
        made = await self._asking.once(f"restore {file}.{number}", api.VERSION_RESTORE, params)
        if isinstance(made, (Refused, Doubt)):
            return
        self._home.note(made)
        if bytes.fromhex(made.sha256 or "") != sha256:
            raise Broken("D5", f"{file}.{number} was restored as another content")
        fact = self._fact("updated", file, began, head=made.version or 0)
        self._promises.acknowledge(fact, sha256, key=self._generator.randbytes(8).hex())

    async def delete(self) -> None:
        """Into the trash, or away for ever."""
        is_file = self._likely(0.85)
        entry = self._some(self._home.files if is_file else self._home.folders)
        if entry is None:
            return
        permanent = self._likely(0.2)
        if permanent:
            self._promises.purge_asked[entry] = None
        began, query = self._cluster.now, api.DeleteQuery(permanent=permanent)
        route = api.DELETE_FILE if is_file else api.DELETE_FOLDER
        params = {"file_id" if is_file else "folder_id": entry}
        gone = await self._asking.ask(
            f"delete {entry}", self._http.call(route, params, query=query)
        )
        if isinstance(gone, (Refused, Doubt)):
            return
        self._forget(entry)
        self._acknowledge("purged" if permanent else "removed", entry, began)
        if gone.trash_id is not None:
            self._home.trash[gone.trash_id] = entry

    async def restore(self) -> None:
        """Back from the trash."""
        trash_id = self._some(self._home.trash)
        if trash_id is None:
            return
        began, params = self._cluster.now, {"trash_id": trash_id}
        back = await self._asking.once(f"untrash {trash_id}", api.TRASH_RESTORE, params)
        if not isinstance(back, Doubt):
            self._home.trash.pop(trash_id, None)
        if not isinstance(back, (Refused, Doubt)):
            self._home.note(back)
            self._acknowledge("restored", back.id, began, name=back.name)

    async def purge(self) -> None:
        """One thing in the trash goes for ever."""
        trash_id = self._some(self._home.trash)
        if trash_id is None:
            return
        entry, began = self._home.trash[trash_id], self._cluster.now
        self._promises.purge_asked[entry] = None
        purging = self._http.call(api.TRASH_PURGE, {"trash_id": trash_id})
        gone = await self._asking.ask(f"purge {trash_id}", purging)
        if isinstance(gone, Message):
            self._home.trash.pop(trash_id, None)
            self._acknowledge("purged", entry, began)
