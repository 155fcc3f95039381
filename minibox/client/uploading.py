"""Put one file by the direct path: cut, begin, stage, commit; and go on where a crash left it.

The chunk list is told to the coordinator in the order of the content, eight megabytes at a time,
while earlier chunks are on their way and later ones are being cut.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO

import msgspec
from twisted.internet.defer import CancelledError, Deferred

from minibox.client.cutting import CutFile, Piece
from minibox.client.direct import Direct
from minibox.client.http import Http
from minibox.client.progress import Progress, Watcher
from minibox.client.staging import Staging
from minibox.errors import (
    CallTimeout,
    ChecksumMismatch,
    ChunkMissing,
    Failure,
    NotEnoughNodes,
    NotFound,
    Unreachable,
    UploadExpired,
)
from minibox.http_api.files import OnConflict, Uploaded
from minibox.http_api.uploads import (
    ABORT,
    BEGIN,
    COMMIT,
    EXTEND,
    RENEW,
    STATE,
    Begin,
    ChunkFacts,
    Commit,
    Extend,
    Plan,
    UploadState,
)
from minibox.world import World

RENEW_SECONDS = 900.0
"""An upload that takes longer has its lease prolonged."""
RECEIPTS_PER_CALL = 3000
"""A call with more would be longer than a coordinator reads."""

_WORTH_RESUMING = (Unreachable, CallTimeout, NotEnoughNodes, CancelledError)


class Target(msgspec.Struct, frozen=True):
    """Where a content goes and what must hold of what is there."""

    path: str
    on_conflict: OnConflict = "replace"
    base: str | None = None
    mtime: float | None = None
    content_type: str | None = None


class DirectUpload:
    """One content on its way to ``target``. ``began`` is told the id of each upload begun for it.

    What a caller can't cure by trying again gives the upload up on the coordinator too; a cut
    connection leaves it there, to go on with.
    """

    def __init__(
        self,
        world: World,
        http: Http,
        direct: Direct,
        target: Target,
        watcher: Watcher,
        began: Callable[[str], None],
    ) -> None:
        self._world = world
        self._http = http
        self._direct = direct
        self._target = target
        self._watcher = watcher
        self._began = began
        self._upload_id: str | None = None

    async def run(self, file: BinaryIO, size: int | None, former: str | None) -> Uploaded:
        """The committed file. ``former`` is an upload of the same content that was cut off.

        VersionConflict, NameConflict, QuotaExceeded, NotEnoughNodes, ClusterFull, Unreachable,
        ChecksumMismatch where the content changed while it was read.
        """
        try:
            try:
                return await self._attempt(file, size, await self._state_of(former))
            except _Differs:
                await self._give_up()
            except ChunkMissing:  # a node was lost since: send what is missing now
                if not file.seekable():
                    raise
                former = self._upload_id
            file.seek(0)
            return await self._attempt(file, size, await self._state_of(former))
        except _WORTH_RESUMING:
            raise
        except Exception:
            await self._give_up()
            raise

    async def _attempt(
        self, file: BinaryIO, size: int | None, state: UploadState | None
    ) -> Uploaded:
        threads, cut = self._world.threads, CutFile(file)
        cutting = threads.run(cut.cut)
        line: _Line | None = None
        try:
            pieces = await cutting
            line = await self._open_line(pieces, size, state)
            while pieces:
                cutting = threads.run(cut.cut)
                await line.add(pieces)
                self._watcher(Progress(line.sent_bytes, size))
                pieces = await cutting
            await line.finish()
            self._watcher(Progress(cut.size, size))
            return await self._commit(cut.sha256, line)
        finally:
            if line is not None:
                line.abort()
            if not cutting.called:
                await _settled(cutting)

    async def _open_line(
        self, pieces: list[Piece], size: int | None, state: UploadState | None
    ) -> "_Line":
        if state is not None:
            self._upload_id = state.upload_id
            plan = await self._http.call(RENEW, {"upload_id": state.upload_id}, once=True)
            return _Line(self._world, self._http, self._direct, plan, state.chunks, state.receipts)
        chunks = tuple(each.facts for each in pieces)
        target = self._target
        begin = Begin(path=target.path, base=target.base, size=size, chunks=chunks)
        plan = await self._http.call(BEGIN, body=begin, once=True)
        self._upload_id = plan.upload_id
        self._began(plan.upload_id)
        return _Line(self._world, self._http, self._direct, plan, chunks, ())

    async def _commit(self, sha256: str, line: "_Line") -> Uploaded:
        target = self._target
        commit = Commit(
            receipts=line.receipts_left(),
            sha256=sha256,
            mtime=target.mtime,
            on_conflict=target.on_conflict,
            content_type=target.content_type,
        )
        made = await self._http.call(COMMIT, {"upload_id": line.upload_id}, body=commit, once=True)
        if made.sha256 != sha256:
            raise ChecksumMismatch(sha256, made.sha256 or "")
        return made

    async def _state_of(self, upload_id: str | None) -> UploadState | None:
        if upload_id is None:
            return None
        try:
            return await self._http.call(STATE, {"upload_id": upload_id})
        except (UploadExpired, NotFound):
            return None

    async def _give_up(self) -> None:
        upload_id, self._upload_id = self._upload_id, None
        if upload_id is not None:
            with suppress(Failure):
                await self._http.call(ABORT, {"upload_id": upload_id})


class _Line:
    """The chunk list as the coordinator has it, growing in the order of the content."""

    def __init__(
        self,
        world: World,
        http: Http,
        direct: Direct,
        plan: Plan,
        listed: tuple[ChunkFacts, ...],
        receipts: tuple[str, ...],
    ) -> None:
        self.upload_id = plan.upload_id
        self._clock = world.clock
        self._http = http
        self._plan = plan
        self._listed = listed
        self._place = 0
        self._staging = Staging(http, direct, plan)
        self._staging.receipts += receipts
        self._noted = 0
        self._renew_at = self._clock.seconds() + RENEW_SECONDS

    @property
    def sent_bytes(self) -> int:
        return self._staging.sent_bytes

    async def add(self, pieces: Sequence[Piece]) -> None:
        """The next chunks: list them unless they are, and begin to send what is missing."""
        chunks = tuple(each.facts for each in pieces)
        known = self._listed[self._place : self._place + len(chunks)]
        if known != chunks[: len(known)]:
            raise _Differs
        self._place += len(chunks)
        if known:
            await self._staging.send(pieces[: len(known)], self._plan)
        if len(known) < len(chunks):
            plan = await self._extend(chunks[len(known) :])
            await self._staging.send(pieces[len(known) :], plan)

    async def finish(self) -> None:
        """All chunks are durable on enough nodes."""
        if self._place < len(self._listed):
            raise _Differs
        await self._staging.finish()
        while len(self._staging.receipts) - self._noted > RECEIPTS_PER_CALL:
            await self._extend(())

    def receipts_left(self) -> tuple[str, ...]:
        """Those that the coordinator has not got yet."""
        return tuple(self._staging.receipts[self._noted :])

    def abort(self) -> None:
        self._staging.abort()

    async def _extend(self, chunks: tuple[ChunkFacts, ...]) -> Plan:
        if self._clock.seconds() >= self._renew_at:
            self._renew_at = self._clock.seconds() + RENEW_SECONDS
            await self._http.call(RENEW, {"upload_id": self.upload_id}, once=True)
        receipts: tuple[str, ...] = ()
        if len(self._staging.receipts) - self._noted > RECEIPTS_PER_CALL:
            receipts = self.receipts_left()[:RECEIPTS_PER_CALL]
        plan = await self._http.call(
            EXTEND, {"upload_id": self.upload_id}, body=Extend(chunks, receipts), once=True
        )
        self._noted += len(receipts)
        return plan


class _Differs(Exception):
    """The content is not the one that the former upload had begun."""


async def _settled(cutting: Deferred[list[Piece]]) -> None:
    """Wait for a thread that reads the file: nobody else may use it before."""
    with suppress(Exception):
        await cutting
