"""Simulated people read and look around, and know what they may not see."""

from minibox.errors import NotFound
from minibox.http_api import files as api
from minibox.simulation.asking import Doubt, Refused
from minibox.simulation.person import Person
from minibox.simulation.promises import Broken
from minibox.simulation.reading import Read, judge_read, read_of


class Looking(Person):
    """Downloads, metadata, lists."""

    async def read(self) -> None:
        """All or part of a head or of a version."""
        file = self._some(self._home.files)
        if file is None:
            return
        began = self._cluster.now
        at_least = self._promises.head_at_least(file, began)
        number, headers = None, {}
        if self._likely(0.3):
            known = [version for each, version in self._promises.contents if each == file]
            number = self._generator.choice(known) if known else None
        start = stop = None
        if self._likely(0.3):
            start = self._generator.randrange(5000)
            stop = start + self._generator.randrange(1, 400_000)
            headers["Range"] = f"bytes={start}-{stop - 1}"
        reading = self._read(file, number, headers)
        found = await self._asking.ask(f"download {file} {number or ''} {start or ''}", reading)
        if isinstance(found, (Refused, Doubt)):
            return
        judge_read(found, file, number, at_least, self._contents, self._promises)

    async def _read(self, file: str, number: int | None, headers: dict[str, str]) -> Read:
        reply = await self._http.receive(
            api.DOWNLOAD, {"file_id": file}, query=api.DownloadQuery(number), headers=headers
        )
        return await read_of(reply)

    async def look(self) -> None:
        """Metadata by id: never older than what was acknowledged."""
        file = self._some(self._home.files)
        if file is None:
            return
        at_least = self._promises.head_at_least(file, self._cluster.now)
        found = await self._asking.ask("look", self._http.call(api.METADATA, {"file_id": file}))
        if isinstance(found, Refused) and isinstance(found.failure, NotFound):
            self._forget(file)
        if isinstance(found, (Refused, Doubt)):
            return
        if (found.version or 0) < at_least:
            raise Broken("M2", f"{found.etag} was seen when version {at_least} was acknowledged")
        self._promises.saw(found.id, found.version or 0, bytes.fromhex(found.sha256 or ""))
        self._home.note(found)

    async def list(self) -> None:
        """All that is there; what was deleted by others is forgotten."""
        query = api.ListQuery(path="/", recursive=True, per_page=1000)
        page = await self._asking.ask("list", self._http.call(api.LIST, query=query))
        if isinstance(page, (Refused, Doubt)):
            return
        paths = [item.path for item in page.items]
        if len(set(paths)) != len(paths):
            raise Broken("M6", f"a path is listed twice: {paths}")
        here = {item.id for item in page.items if item.type == "file"}
        for file in list(self._home.files):
            if file not in here:
                self._forget(file)
        for item in page.items:
            if item.type == "file":
                self._promises.saw(item.id, item.version or 0, bytes.fromhex(item.sha256 or ""))
                self._home.files[item.id] = item.path
                self._home.heads[item.id] = item.etag or ""
