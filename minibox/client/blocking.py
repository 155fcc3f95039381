"""A minibox account from a script: the methods of Session, each returning when it is done."""

import io
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from minibox.client.authority import Credentials
from minibox.client.background import Background
from minibox.client.http import PATIENCE_SECONDS
from minibox.client.progress import Watcher, unwatched
from minibox.client.putting import Source
from minibox.client.reading import RemoteFile
from minibox.client.session import Session
from minibox.client.tree_report import TreeReport
from minibox.http_api.accounts import Profile, UserFacts
from minibox.http_api.cluster import ClusterFacts, LayoutFacts, NodeFacts, Ready
from minibox.http_api.files import (
    Deleted,
    EntryFacts,
    Metadata,
    OnConflict,
    TrashFacts,
    Uploaded,
    VersionFacts,
)

T = TypeVar("T")


class Client:
    """One account on one server, for scripts. Use it in ``with``, or :meth:`close` it.

    It works in a thread of its own: several may be used at once, beside any event loop. Callbacks
    for progress run in that thread. What Session raises comes out here.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        credentials: Credentials | None = None,
        on_credentials: Callable[[Credentials | None], None] = lambda _: None,
        device_id: str | None = None,
        resume_folder: Path | None = None,
        direct: bool = True,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        if token is not None:
            credentials = Credentials(token)
        self._background = Background()
        try:
            self._session = Session(
                self._background.world,
                url,
                username=username,
                password=password,
                credentials=credentials,
                on_credentials=on_credentials,
                device_id=device_id,
                resume_folder=resume_folder,
                direct=direct,
                patience_seconds=patience_seconds,
            )
        except BaseException:
            self._background.stop()
            raise
        self.admin = BlockingAdmin(self._session, self._background)

    def close(self) -> None:
        """End the connections and the thread."""
        try:
            self._wait(self._session.close)
        finally:
            self._background.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def credentials(self) -> Credentials | None:
        """As :attr:`Session.credentials`."""
        return self._session.credentials

    @property
    def url(self) -> str:
        """The server."""
        return self._session.url

    def register(self, username: str | None, password: str, email: str | None = None) -> UserFacts:
        """As :meth:`Session.register`."""
        return self._wait(lambda: self._session.register(username, password, email))

    def login(self, username: str, password: str) -> None:
        """As :meth:`Session.login`."""
        self._wait(lambda: self._session.login(username, password))

    def logout(self, *, all_devices: bool = False) -> None:
        """As :meth:`Session.logout`."""
        self._wait(lambda: self._session.logout(all_devices=all_devices))

    def whoami(self) -> Profile:
        """As :meth:`Session.whoami`."""
        return self._wait(self._session.whoami)

    def health(self) -> Ready:
        """As :meth:`Session.health`."""
        return self._wait(self._session.health)

    def ls(self, path: str = "/", *, recursive: bool = False) -> list[EntryFacts]:
        """As :meth:`Session.ls`."""
        return self._wait(lambda: self._session.ls(path, recursive=recursive))

    def stat(self, path: str) -> Metadata:
        """As :meth:`Session.stat`."""
        return self._wait(lambda: self._session.stat(path))

    def mkdir(self, path: str) -> Metadata:
        """As :meth:`Session.mkdir`."""
        return self._wait(lambda: self._session.mkdir(path))

    def mv(self, source: str, target: str) -> Metadata:
        """As :meth:`Session.mv`."""
        return self._wait(lambda: self._session.mv(source, target))

    def cp(self, source: str, target: str) -> Metadata:
        """As :meth:`Session.cp`."""
        return self._wait(lambda: self._session.cp(source, target))

    def rm(self, path: str, *, permanent: bool = False) -> Deleted:
        """As :meth:`Session.rm`."""
        return self._wait(lambda: self._session.rm(path, permanent=permanent))

    def put(
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
        """As :meth:`Session.put`."""
        return self._wait(
            lambda: self._session.put(
                source,
                path,
                on_conflict=on_conflict,
                base=base,
                mtime=mtime,
                content_type=content_type,
                progress=progress,
            )
        )

    def get(
        self,
        path: str,
        target: str | Path | BinaryIO,
        *,
        version: int | None = None,
        progress: Watcher = unwatched,
    ) -> Metadata:
        """As :meth:`Session.get`."""
        return self._wait(
            lambda: self._session.get(path, target, version=version, progress=progress)
        )

    def open(self, path: str, *, version: int | None = None) -> "Reader":
        """A seekable binary file. NotFound."""
        file = self._wait(lambda: self._session.open(path, version=version))
        return Reader(file, self._background)

    def cat(self, path: str, *, version: int | None = None) -> bytes:
        """As :meth:`Session.cat`."""
        return self._wait(lambda: self._session.cat(path, version=version))

    def put_tree(
        self,
        source: str | Path,
        path: str,
        *,
        on_conflict: OnConflict = "replace",
        progress: Watcher = unwatched,
    ) -> TreeReport:
        """As :meth:`Session.put_tree`."""
        return self._wait(
            lambda: self._session.put_tree(source, path, on_conflict=on_conflict, progress=progress)
        )

    def get_tree(
        self, path: str, target: str | Path, *, progress: Watcher = unwatched
    ) -> TreeReport:
        """As :meth:`Session.get_tree`."""
        return self._wait(lambda: self._session.get_tree(path, target, progress=progress))

    def versions(self, path: str) -> list[VersionFacts]:
        """As :meth:`Session.versions`."""
        return self._wait(lambda: self._session.versions(path))

    def restore(self, path: str, version: int) -> Metadata:
        """As :meth:`Session.restore`."""
        return self._wait(lambda: self._session.restore(path, version))

    def trash(self) -> list[TrashFacts]:
        """As :meth:`Session.trash`."""
        return self._wait(self._session.trash)

    def restore_trash(self, trash_id: str) -> Metadata:
        """As :meth:`Session.restore_trash`."""
        return self._wait(lambda: self._session.restore_trash(trash_id))

    def purge(self, trash_id: str) -> None:
        """As :meth:`Session.purge`."""
        self._wait(lambda: self._session.purge(trash_id))

    def empty_trash(self) -> None:
        """As :meth:`Session.empty_trash`."""
        self._wait(self._session.empty_trash)

    def _wait(self, work: Callable[[], Awaitable[T]]) -> T:
        return self._background.wait_for(work)


class BlockingAdmin:
    """The calls of role admin; others get Forbidden."""

    def __init__(self, session: Session, background: Background) -> None:
        self._admin = session.admin
        self._background = background

    def cluster(self) -> ClusterFacts:
        """Space, copies and warnings."""
        return self._background.wait_for(self._admin.cluster)

    def nodes(self) -> list[NodeFacts]:
        """The storage nodes."""
        return self._background.wait_for(self._admin.nodes)

    def layout(self) -> LayoutFacts:
        """The layout in force."""
        return self._background.wait_for(self._admin.layout)


class Reader(io.RawIOBase):
    """A remote file as any other binary file that is open for reading."""

    def __init__(self, file: RemoteFile, background: Background) -> None:
        super().__init__()
        self._file = file
        self._background = background

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def seekable(self) -> bool:
        """Any position can be read."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where the next read begins."""
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        """The next ``size`` bytes, fewer only at the end. ContentDamaged, Unreachable."""
        wanted = -1 if size is None else size
        return self._background.wait_for(lambda: self._file.read(wanted))

    def readall(self) -> bytes:
        """All that is left."""
        return self.read()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` as far as there is something."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
