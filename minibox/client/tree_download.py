"""Get a whole folder: small files by the hundred from the nodes, large ones one by one."""

import os
from collections.abc import Sequence
from pathlib import Path

from minibox.chunk import ChunkId
from minibox.client.batching import MAX_BATCHED_BYTES, batches
from minibox.client.content import RemoteContent, Which
from minibox.client.direct import Direct
from minibox.client.downloading import download
from minibox.client.http import Http
from minibox.client.local import write_new
from minibox.client.pipeline import Pipeline
from minibox.client.progress import Watcher, unwatched
from minibox.client.remote_walk import pages_below
from minibox.client.tree_report import Tally, TreeReport
from minibox.client.wire import chunk_of, sources_of
from minibox.errors import ContentDamaged, NotFound, ValidationFailed
from minibox.http_api.files import EntryFacts
from minibox.http_api.uploads import (
    MANIFESTS,
    MAX_FILES_PER_CALL,
    ManifestFacts,
    ManyManifests,
)
from minibox.names import parse_path
from minibox.rpc import Part
from minibox.transfer import Source, fetch_chunks
from minibox.world import World

BATCHES_IN_FLIGHT = 4


class TreeDownload:
    """Gets what is in one remote folder into one local folder."""

    def __init__(self, world: World, http: Http, direct: Direct, watcher: Watcher) -> None:
        self._world = world
        self._http = http
        self._direct = direct
        self._tally = Tally(watcher)

    async def run(self, remote: str, root: Path) -> TreeReport:
        """``root`` has all that could be read of the folder; nothing there is removed.

        What failed is in the report. NotFound; Unreachable and the like end it.
        """
        threads = self._world.threads
        pipeline = Pipeline(BATCHES_IN_FLIGHT)
        await threads.run(_make_folder, root)
        try:
            small: list[tuple[EntryFacts, Path]] = []
            async for page in pages_below(self._http, remote):
                placed = await threads.run(self._place, page, remote, root)
                for each in placed:
                    if _size(each) > MAX_BATCHED_BYTES:
                        await pipeline.add(self._get_one(each))
                    else:
                        small.append(each)
                if len(small) >= MAX_FILES_PER_CALL:
                    *full, small = batches(small, _size, _name)
                    for batch in full:
                        await pipeline.add(self._get_batch(batch))
            for batch in batches(small, _size, _name):
                await pipeline.add(self._get_batch(batch))
            await pipeline.finish()
        finally:
            pipeline.abort()
        await threads.run(os.sync)
        return self._tally.report

    def _place(
        self, page: Sequence[EntryFacts], remote: str, root: Path
    ) -> list[tuple[EntryFacts, Path]]:
        """In a thread: make the folders; the files, each with where it goes."""
        files = []
        prefix = "/" + remote.strip("/")
        for entry in page:
            try:
                names = parse_path(entry.path.removeprefix(prefix.rstrip("/")))
                target = root.joinpath(*names)
                _make_folder(target if entry.type == "folder" else target.parent)
            except (ValidationFailed, OSError) as problem:
                self._tally.fail(entry.path, problem)
                continue
            if entry.type == "file":
                files.append((entry, target))
        return files

    async def _get_batch(self, batch: Sequence[tuple[EntryFacts, Path]]) -> None:
        asked = ManyManifests(tuple(entry.id for entry, _ in batch))
        answer = await self._http.call(MANIFESTS, body=asked)
        manifests = [each for each in answer.items if each is not None]
        here = {each for manifest in manifests for each in manifest.nodes.items()}
        works = bool(here) and await self._direct.works(dict(sorted(here)))
        found = await self._fetch(manifests) if works else {}
        ready, left = [], []
        for (entry, target), manifest in zip(batch, answer.items, strict=True):
            parts = None if manifest is None else _content(manifest, found)
            if manifest is None or parts is None:
                left.append((entry, target))
            else:
                tag = f"{manifest.file_id}.{manifest.version}"
                ready.append((target, parts, manifest.modified.timestamp(), tag))
        failed = await self._world.threads.run(_write_all, ready)
        for path, problem in failed:
            self._tally.fail(str(path), problem)
        size = sum(len(part) for _, parts, _, _ in ready for part in parts)
        self._tally.done(len(ready) - len(failed), size)
        for each in left:
            await self._get_one(each)

    async def _fetch(self, manifests: Sequence[ManifestFacts]) -> dict[ChunkId, list[Part]]:
        sources: dict[ChunkId, Source] = {}
        for each in manifests:
            sources.update(sources_of(each))
        chunks = [chunk_of(chunk) for each in manifests for chunk in each.chunks]
        return await fetch_chunks(
            self._world, self._direct.nodes, chunks, sources, report=lambda *_: None
        )

    async def _get_one(self, placed: tuple[EntryFacts, Path]) -> None:
        entry, target = placed
        which = which_of(entry)
        content = RemoteContent(self._world, self._http, self._direct, which)
        mtime = entry.modified.timestamp()
        try:
            await download(self._world, content, target, mtime=mtime, watcher=unwatched)
        except (ContentDamaged, NotFound, OSError) as problem:
            self._tally.fail(entry.path, problem)
        else:
            self._tally.done(1, which.size)


def which_of(entry: EntryFacts) -> Which:
    """The content that is the head of this file."""
    return Which(entry.id, entry.version or 1, entry.path, entry.size or 0, entry.sha256 or "")


def _content(manifest: ManifestFacts, found: dict[ChunkId, list[Part]]) -> list[Part] | None:
    """All parts of a small file, if all of its chunks were found."""
    parts: list[Part] = []
    for chunk in manifest.chunks:
        piece = found.get(chunk_of(chunk).id)
        if piece is None:
            return None
        parts += piece
    return parts if sum(map(len, parts)) == manifest.size else None


def _write_all(
    ready: Sequence[tuple[Path, list[Part], float, str]],
) -> list[tuple[Path, OSError]]:
    failed = []
    for target, parts, mtime, tag in ready:
        try:
            write_new(target, parts, mtime, tag)
        except OSError as problem:
            failed.append((target, problem))
    return failed


def _make_folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)


def _size(placed: tuple[EntryFacts, Path]) -> int:
    return placed[0].size or 0


def _name(placed: tuple[EntryFacts, Path]) -> str:
    return placed[0].path
