"""A minibox account from Python, async. Remote paths are the account's: ``/docs/a.txt``."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import urlsplit

from minibox.client.admin import Admin
from minibox.client.authority import Authority, Credentials
from minibox.client.content import RemoteContent, Which
from minibox.client.direct import Direct
from minibox.client.downloading import copy_to, download
from minibox.client.http import PATIENCE_SECONDS, Http
from minibox.client.progress import Watcher, unwatched
from minibox.client.putting import Putter, Source, open_source
from minibox.client.reading import RemoteFile
from minibox.client.remote_walk import pages, pages_below
from minibox.client.tree_download import TreeDownload, which_of
from minibox.client.tree_report import TreeReport
from minibox.client.tree_upload import TreeUpload
from minibox.client.unfinished import UnfinishedUploads
from minibox.client.uploading import Target
from minibox.errors import NotFound, ValidationFailed
from minibox.http_api.accounts import (
    LOGOUT,
    PROFILE,
    REGISTER,
    Login,
    Logout,
    Profile,
    Register,
    UserFacts,
)
from minibox.http_api.cluster import READY, Ready
from minibox.http_api.files import (
    BY_PATH,
    COPY,
    DELETE_CONTENT,
    MAKE_FOLDER,
    MOVE,
    TRASH_EMPTY,
    TRASH_LIST,
    TRASH_PURGE,
    TRASH_RESTORE,
    VERSION,
    VERSION_LIST,
    VERSION_RESTORE,
    Deleted,
    DeleteQuery,
    EntryFacts,
    MakeFolder,
    Metadata,
    OnConflict,
    PathQuery,
    PlaceEntry,
    TrashFacts,
    Uploaded,
    VersionFacts,
)
from minibox.names import join_path, parse_path
from minibox.world import World


class Session:
    """One account on one server. Use it in ``async with``, or :meth:`close` it.

    With a username and password it logs in when it first has to, and again when it must. With
    ``credentials`` it shows those; ``on_credentials`` is told whenever they change.
    ``resume_folder`` is where unfinished uploads are remembered. ``direct`` says whether chunks may
    go straight to the storage nodes. Everything raises the failures of :mod:`minibox.errors`.
    """

    def __init__(
        self,
        world: World,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        credentials: Credentials | None = None,
        on_credentials: Callable[[Credentials | None], None] = lambda _: None,
        device_id: str | None = None,
        resume_folder: Path | None = None,
        direct: bool = True,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._world = world
        self._username = username or (credentials.username if credentials else None) or ""
        self._authority = Authority(credentials, on_credentials)
        login = None
        if username is not None and password is not None:
            login = _login(username, password, device_id)
        self._device_id = device_id
        self._http = Http(
            world,
            url,
            self._authority,
            login=login,
            device_id=device_id,
            patience_seconds=patience_seconds,
        )
        host = urlsplit(self._http.url).hostname or ""
        self._direct = Direct(world, host, enabled=direct)
        unfinished = UnfinishedUploads(resume_folder) if resume_folder is not None else None
        self._putter = Putter(world, self._http, self._direct, unfinished)
        self.admin = Admin(self._http)

    async def close(self) -> None:
        """End all connections."""
        await self._direct.close()
        await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # The account

    @property
    def credentials(self) -> Credentials | None:
        """The tokens in use; None for a stranger."""
        return self._authority.credentials

    @property
    def url(self) -> str:
        """The server."""
        return self._http.url

    async def register(
        self, username: str | None, password: str, email: str | None = None
    ) -> UserFacts:
        """Make an account; log in to use it. AlreadyExists, RegistrationClosed."""
        asked = Register(password=password, username=username, email=email)
        return (await self._http.call(REGISTER, body=asked)).user

    async def login(self, username: str, password: str) -> None:
        """Open a session for a username or an address. BadCredentials, RateLimited."""
        await self._http.log_in(_login(username, password, self._device_id))
        self._username = username

    async def logout(self, *, all_devices: bool = False) -> None:
        """End this session, or all of the account; the tokens are worth nothing afterwards."""
        await self._http.call(LOGOUT, body=Logout(all_devices))
        self._authority.forget()

    async def whoami(self) -> Profile:
        """The account and its quota."""
        return await self._http.call(PROFILE)

    async def health(self) -> Ready:
        """Whether the cluster serves, for anyone who asks."""
        return await self._http.call(READY)

    # Names

    async def ls(self, path: str = "/", *, recursive: bool = False) -> list[EntryFacts]:
        """The entries of a folder, or of all below it. NotFound."""
        return [entry async for entry in self.entries(path, recursive=recursive)]

    async def entries(
        self, path: str = "/", *, recursive: bool = False
    ) -> AsyncIterator[EntryFacts]:
        """As :meth:`ls` for folders of any size."""
        listed = (pages_below if recursive else pages)(self._http, _normal(path))
        async for page in listed:
            for entry in page:
                yield entry

    async def stat(self, path: str) -> Metadata:
        """All facts of a file or folder. NotFound."""
        return await self._http.call(BY_PATH, query=PathQuery(_normal(path)))

    async def mkdir(self, path: str) -> Metadata:
        """Make a folder, and those above it that are missing. NameConflict."""
        return await self._http.call(MAKE_FOLDER, body=MakeFolder(path=_normal(path)), once=True)

    async def mv(self, source: str, target: str) -> Metadata:
        """Move or rename: into ``target`` where that is a folder. NotFound, NameConflict."""
        entry, place = await self._place(source, target)
        return await self._http.call(MOVE, {"file_id": entry.id}, body=place, once=True)

    async def cp(self, source: str, target: str) -> Metadata:
        """Copy a file or folder; no bytes move. As :meth:`mv`."""
        entry, place = await self._place(source, target)
        return await self._http.call(COPY, {"file_id": entry.id}, body=place, once=True)

    async def rm(self, path: str, *, permanent: bool = False) -> Deleted:
        """Delete a file, or a folder with all in it: to the trash unless ``permanent``."""
        query = DeleteQuery(permanent)
        return await self._http.call(DELETE_CONTENT, {"path": _normal(path)}, query=query)

    # Contents

    async def put(
        self,
        source: Source,
        path: str,
        *,
        on_conflict: OnConflict = "replace",
        base: str | None = None,
        mtime: float | None = None,
        content_type: str | None = None,
        progress: Watcher = unwatched,
    ) -> Uploaded:
        """The file at ``path`` has the content of ``source`` (a path, an open file, or bytes).

        Missing folders are made. ``base`` is the ETag that must be the head. The source's
        modification time is kept unless ``mtime`` gives another. VersionConflict, NameConflict,
        QuotaExceeded, NotEnoughNodes, ClusterFull; OSError of the source.
        """
        opened = await self._world.threads.run(open_source, source)
        target = Target(
            _normal(path),
            on_conflict,
            base,
            opened.mtime if mtime is None else mtime,
            content_type,
        )
        try:
            return await self._putter.put(opened, target, progress, self._username)
        finally:
            if opened.file is not source:
                opened.file.close()

    async def get(
        self,
        path: str,
        target: str | Path | BinaryIO,
        *,
        version: int | None = None,
        progress: Watcher = unwatched,
    ) -> Metadata:
        """``target`` (a path, a folder, or an open file) has the file's content afterwards.

        A path is replaced at once when all bytes are here, verified and synced; what an interrupted
        get left is gone on with. NotFound, ContentDamaged, ChecksumMismatch; OSError of the target.
        """
        facts, which = await self._which(path, version)
        content = RemoteContent(self._world, self._http, self._direct, which)
        if isinstance(target, (str, Path)):
            place = await self._world.threads.run(_file_in, Path(target), facts.name)
            mtime = facts.modified.timestamp()
            await download(self._world, content, place, mtime=mtime, watcher=progress)
        else:
            await copy_to(self._world, content, target, progress)
        return facts

    async def open(self, path: str, *, version: int | None = None) -> RemoteFile:
        """A seekable reader of the file as it is now. NotFound."""
        _, which = await self._which(path, version)
        return RemoteFile(RemoteContent(self._world, self._http, self._direct, which))

    async def cat(self, path: str, *, version: int | None = None) -> bytes:
        """The whole content. NotFound, ContentDamaged."""
        async with await self.open(path, version=version) as file:
            return await file.read()

    async def put_tree(
        self,
        source: str | Path,
        path: str,
        *,
        on_conflict: OnConflict = "replace",
        progress: Watcher = unwatched,
    ) -> TreeReport:
        """What is in the folder ``source`` is in the folder ``path`` too, made if missing.

        Symbolic links and special files are skipped; the report says so.
        """
        root = Path(source)
        if not await self._world.threads.run(root.is_dir):
            raise ValidationFailed("source", f"{root} is no folder")
        upload = TreeUpload(
            self._world,
            self._http,
            self._direct,
            self._putter,
            self._username,
            on_conflict,
            progress,
        )
        return await upload.run(root, _normal(path))

    async def get_tree(
        self, path: str, target: str | Path, *, progress: Watcher = unwatched
    ) -> TreeReport:
        """What is in the folder ``path`` is in the folder ``target`` too, made if missing."""
        entry = await self.stat(path)
        if entry.type != "folder":
            raise ValidationFailed("path", f"{entry.path} is a file")
        getting = TreeDownload(self._world, self._http, self._direct, progress)
        return await getting.run(entry.path, Path(target))

    # Versions and trash

    async def versions(self, path: str) -> list[VersionFacts]:
        """The versions of a file, newest first. NotFound."""
        entry = await self._file(path)
        return (await self._http.call(VERSION_LIST, {"file_id": entry.id})).items

    async def restore(self, path: str, version: int) -> Metadata:
        """A former version's content becomes the new head. NotFound, VersionExpired."""
        entry = await self._file(path)
        params = {"file_id": entry.id, "version": str(version)}
        return await self._http.call(VERSION_RESTORE, params, once=True)

    async def trash(self) -> list[TrashFacts]:
        """What was deleted and can be brought back."""
        return (await self._http.call(TRASH_LIST)).items

    async def restore_trash(self, trash_id: str) -> Metadata:
        """Bring something back to where it was. NotFound."""
        return await self._http.call(TRASH_RESTORE, {"trash_id": trash_id}, once=True)

    async def purge(self, trash_id: str) -> None:
        """Remove something in the trash for ever. NotFound."""
        await self._http.call(TRASH_PURGE, {"trash_id": trash_id})

    async def empty_trash(self) -> None:
        """Remove all that is in the trash for ever."""
        await self._http.call(TRASH_EMPTY)

    async def _file(self, path: str) -> Metadata:
        facts = await self.stat(path)
        if facts.type != "file":
            raise ValidationFailed("path", f"{facts.path} is a folder")
        return facts

    async def _which(self, path: str, version: int | None) -> tuple[Metadata, Which]:
        facts = await self._file(path)
        if version is None or version == facts.version:
            return facts, which_of(facts)
        params = {"file_id": facts.id, "version": str(version)}
        former = await self._http.call(VERSION, params)
        return facts, Which(facts.id, version, facts.path, former.size, former.sha256)

    async def _place(self, source: str, target: str) -> tuple[Metadata, PlaceEntry]:
        """What is moved or copied, and where to: a folder that exists, or a name in one."""
        entry = await self.stat(source)
        try:
            there = await self.stat(target)
        except NotFound:
            there = None
        if there is not None and there.type == "folder" and there.id != entry.id:
            return entry, PlaceEntry(path=there.path)
        names = parse_path(target)
        if not names:
            raise ValidationFailed("target", "the root can't be replaced")
        return entry, PlaceEntry(path=join_path(names[:-1]), name=names[-1])


def _normal(path: str) -> str:
    """``path`` as the server writes it; ValidationFailed."""
    return join_path(parse_path(path))


def _login(name: str, password: str, device_id: str | None) -> Login:
    return Login(password=password, username=name, device_id=device_id)


def _file_in(target: Path, name: str) -> Path:
    return target / name if target.is_dir() else target
