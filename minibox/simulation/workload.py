"""Simulated people: seeded requests through the real doors, and what they make of the answers."""

from collections.abc import Awaitable, Callable
from hashlib import sha256 as sha256_of
from random import Random

from minibox.client.bodies import BytesBody
from minibox.errors import NotFound, VersionConflict
from minibox.http_api import files as api
from minibox.http_api.accounts import Message
from minibox.http_api.headers import ACK, IDEMPOTENCY_KEY
from minibox.http_api.route import Route
from minibox.http_api.uploads import Begin
from minibox.identity import from_text
from minibox.simulation.asking import Asking, Doubt, Refused
from minibox.simulation.cluster import SimulatedCluster
from minibox.simulation.contents import Contents
from minibox.simulation.platters import check_acknowledged
from minibox.simulation.promises import Broken, Fact, Promises
from minibox.simulation.reading import Read, judge_read, read_of
from minibox.simulation.staging import put_directly

NAMES = ("a.txt", "A.TXT", "b.bin", "Übung.md", "übung.md", "c", "report 1.pdf", "x.tar.gz")
FOLDERS = ("", "/docs", "/docs/old", "/Pics")
SHORTEST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.6
_BOUNDARY = "simulated-boundary"


class Home:
    """What the clients of one user believe to exist. It may be out of date."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.files: dict[str, str] = {}
        self.heads: dict[str, str] = {}
        self.folders: dict[str, str] = {}
        self.trash: dict[str, str] = {}

    def note(self, entry: api.Metadata) -> None:
        """An answer told of this entry."""
        if entry.type == "folder":
            self.folders[entry.id] = entry.path
        else:
            self.files[entry.id] = entry.path
            self.heads[entry.id] = entry.etag or ""


class Person:
    """One client of one user."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        asking: Asking,
        home: Home,
        contents: Contents,
        promises: Promises,
        generator: Random,
    ) -> None:
        self._cluster = cluster
        self._asking = asking
        self._http = asking.http
        self._home = home
        self._contents = contents
        self._promises = promises
        self._generator = generator
        self._deeds: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.put, 9),
            (self.replace, 6),
            (self.upload_form, 4),
            (self.put_directly, 6),
            (self.abort_a_put, 2),
            (self.read, 9),
            (self.look, 4),
            (self.list, 2),
            (self.make_folder, 2),
            (self.move, 4),
            (self.copy, 3),
            (self.restore_version, 3),
            (self.delete, 3),
            (self.restore, 2),
            (self.purge, 1),
            (self.race, 2),
        ]

    async def act(self, deeds: int) -> None:
        """So many deeds, one after the other."""
        doings, weights = zip(*self._deeds, strict=True)
        for _ in range(deeds):
            [doing] = self._generator.choices(doings, weights)
            await doing()
            await self._cluster.pause(
                self._generator.uniform(SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            )

    # Content in

    async def put(self, content: bytes | None = None) -> None:
        """A new file, or a new version of one, at a path."""
        content = self._contents.make() if content is None else content
        query, base = api.WriteQuery(), None
        roll = self._generator.random()
        if roll < 0.15:  # noqa: PLR2004 - shares of a die
            query = api.WriteQuery(on_conflict="rename")
        elif roll < 0.25:  # noqa: PLR2004
            query = api.WriteQuery(on_conflict="fail")
        path = self._path()
        await self._put(api.PUT_CONTENT, {"path": path}, content, query, base)

    async def replace(self) -> None:
        """A new version of a known file, mostly over the version that was seen."""
        file = self._some(self._home.files)
        if file is None:
            return
        base = self._home.heads.get(file) if self._generator.random() < 0.7 else None  # noqa: PLR2004
        query = api.WriteQuery(base=base or None)
        content = self._contents.make()
        await self._put(api.CHANGE_FILE, {"file_id": file}, content, query, base)

    async def race(self) -> None:
        """Two commits over one base at the same time."""
        file = self._some(self._home.heads)
        if file is None:
            return
        base = self._home.heads[file]
        query = api.WriteQuery(base=base)
        rivals = [
            self._cluster.together(
                self._put(
                    api.CHANGE_FILE, {"file_id": file}, self._contents.make(small=True), query, base
                )
            )
            for _ in range(2)
        ]
        for rival in rivals:
            await rival

    async def _put(
        self,
        route: Route[api.WriteQuery, None, api.Uploaded],
        params: dict[str, str],
        content: bytes,
        query: api.WriteQuery,
        base: str | None,
    ) -> None:
        began = self._cluster.now
        sha256 = _sha(content)
        headers = {"Content-Type": "application/octet-stream"}
        if self._generator.random() < 0.1:  # noqa: PLR2004 - a share
            headers[ACK] = self._generator.choice(("2", "all"))
        sending = self._http.send(
            route, params, lambda _: BytesBody(content), query=query, headers=headers
        )
        label = f"{route.name} {next(iter(params.values()))} {len(content)}"
        outcome = await self._asking.ask(label, sending)
        key = self._generator.randbytes(8).hex()
        self._stored(outcome, sha256, began, key=key, base=base, path=params.get("path"))

    async def upload_form(self) -> None:
        """A form, under an idempotency key."""
        content, began = self._contents.make(small=self._generator.random() < 0.5), self._cluster.now  # noqa: PLR2004
        key = self._generator.randbytes(8).hex()
        mode = self._generator.choice(("rename", "replace", "fail"))
        body = _form({"path": self._path(), "on_conflict": mode}, content)
        headers = {IDEMPOTENCY_KEY: key, "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}

        def again() -> Awaitable[api.Uploaded]:
            return self._http.send(api.UPLOAD, {}, lambda _: BytesBody(body), headers=headers)

        outcome = await self._asking.repeated(f"upload {len(content)}", key, again)
        self._stored(outcome, _sha(content), began, key=key)

    async def put_directly(self) -> None:
        """Chunks to the nodes, then a commit under an idempotency key."""
        content, began = self._contents.make(), self._cluster.now
        key = self._generator.randbytes(8).hex()
        file = self._some(self._home.heads) if self._generator.random() < 0.4 else None  # noqa: PLR2004
        base = self._home.heads[file] if file is not None else None
        begin = Begin(path=None if file else self._path(), file_id=file, base=base)
        world = self._cluster.client_world(self._asking.name)
        outcome = await put_directly(
            self._asking, world, begin, content, key, self._generator
        )
        self._stored(outcome, _sha(content), began, key=key, base=base)

    async def abort_a_put(self) -> None:
        """The client goes away in the middle."""
        content = self._contents.make()
        self._promises.doubt([_sha(content)])
        sending = self._cluster.together(
            self._http.send(api.PUT_CONTENT, {"path": self._path()}, lambda _: BytesBody(content))
        )
        sending.addErrback(lambda _: None)
        await self._cluster.pause(self._generator.uniform(0, 0.03))
        self._cluster.trace.event(self._asking.name, "aborts a put", len(content))
        sending.cancel()

    # Content out

    async def read(self) -> None:
        """All or part of a head or of a version."""
        file = self._some(self._home.files)
        if file is None:
            return
        began = self._cluster.now
        at_least = self._promises.head_at_least(file, began)
        number, headers = None, {}
        if self._generator.random() < 0.3:  # noqa: PLR2004
            known = [version for each, version in self._promises.contents if each == file]
            number = self._generator.choice(known) if known else None
        start = stop = None
        if self._generator.random() < 0.3:  # noqa: PLR2004
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

    # Names

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
        entry = self._some(self._home.files if self._generator.random() < 0.8 else self._home.folders)  # noqa: PLR2004
        if entry is None:
            return
        folder = self._some(self._home.folders) if self._generator.random() < 0.4 else None  # noqa: PLR2004
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
        entry = self._some(self._home.files if self._generator.random() < 0.8 else self._home.folders)  # noqa: PLR2004
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
        is_file = self._generator.random() < 0.85  # noqa: PLR2004
        entry = self._some(self._home.files if is_file else self._home.folders)
        if entry is None:
            return
        permanent = self._generator.random() < 0.2  # noqa: PLR2004
        if permanent:
            self._promises.purge_asked[entry] = None
        began, query = self._cluster.now, api.DeleteQuery(permanent=permanent)
        route = api.DELETE_FILE if is_file else api.DELETE_FOLDER
        params = {"file_id" if is_file else "folder_id": entry}
        gone = await self._asking.ask(f"delete {entry}", self._http.call(route, params, query=query))
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

    # Shared

    def _stored(
        self,
        outcome: "api.Uploaded | Refused | Doubt",
        sha256: bytes,
        began: float,
        *,
        key: str,
        base: str | None = None,
        path: str | None = None,
    ) -> None:
        if isinstance(outcome, Doubt):
            self._promises.doubt([sha256])
            return
        if isinstance(outcome, Refused):
            self._promises.refused.setdefault(sha256, outcome.failure.code)
            failure = outcome.failure
            if isinstance(failure, VersionConflict) and base is not None:
                if failure.head == base:
                    raise Broken("M1", f"{base} is the head and was refused as a base")
                entry = base.rpartition(".")[0]
                if failure.head.startswith(f"{entry}."):
                    self._home.heads[entry] = failure.head
            return
        if outcome.sha256 != sha256.hex():
            raise Broken("D5", f"{outcome.etag} is said to have another content than was sent")
        self._home.note(outcome)
        version = outcome.version or 0
        self._promises.sent_once[sha256] = None
        fact = self._fact(
            "created" if version == 1 else "updated", outcome.id, began, head=version
        )
        self._promises.acknowledge(fact, sha256, key=key, base=base)
        check_acknowledged(self._cluster, from_text("f", outcome.id) or 0, version)

    def _acknowledge(
        self, verb: str, entry: str, began: float, *, head: int = 0, name: str = ""
    ) -> None:
        self._promises.acknowledge(self._fact(verb, entry, began, head=head, name=name), key="")

    def _fact(
        self, verb: str, entry: str, began: float, *, head: int = 0, name: str = ""
    ) -> Fact:
        now = self._cluster.now
        return Fact(self._home.user, verb, entry, began, now, head, name)  # type: ignore[arg-type]

    def _forget(self, entry: str) -> None:
        for known in (self._home.files, self._home.heads, self._home.folders):
            known.pop(entry, None)

    def _spread(self, entry: str) -> None:
        """Contents of the entry, or of all if it is a folder, may be in other files from now on."""
        for (file, _), sha256 in list(self._promises.contents.items()):
            if file == entry or not entry.startswith("f"):
                self._promises.spread[sha256] = None
        if not entry.startswith("f"):
            self._promises.spread.update(dict.fromkeys(self._promises.in_doubt))

    def _some(self, known: dict[str, str]) -> str | None:
        return self._generator.choice(list(known)) if known else None

    def _path(self) -> str:
        if self._home.files and self._generator.random() < 0.3:  # noqa: PLR2004
            return self._generator.choice(list(self._home.files.values()))
        return f"{self._generator.choice(FOLDERS)}/{self._generator.choice(NAMES)}"


def _sha(content: bytes) -> bytes:
    return sha256_of(content).digest()


def _form(fields: dict[str, str], content: bytes) -> bytes:
    head = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    file = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return (head + file).encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
