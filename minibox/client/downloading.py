"""Get one file: verified bytes into a file beside the target, which it then replaces.

In this order: what an earlier attempt left is verified, the rest is appended, the SHA-256 of the
whole is checked, the file is synced, renamed, and its folder synced.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from twisted.internet.defer import Deferred

from minibox.client.content import RemoteContent
from minibox.client.local import PartFile
from minibox.client.progress import Progress, Watcher
from minibox.errors import ChecksumMismatch
from minibox.rpc import Part
from minibox.world import Threads, World

WRITE_BYTES = 2 * 1024 * 1024
"""So much is gathered before a thread writes it."""


async def download(
    world: World,
    content: RemoteContent,
    target: Path,
    *,
    mtime: float | None,
    watcher: Watcher,
) -> None:
    """``target`` has the content afterwards, durably, or is as it was.

    ChecksumMismatch where the chunks don't make the file; what a read raises; OSError.
    """
    which, threads = content.which, world.threads
    rival_tag = world.random_bytes(8).hex()
    file = await threads.run(PartFile, target, which.sha256[:16], rival_tag)
    try:
        if file.had_bytes:
            async for chunks in content.chunks():
                if not await threads.run(file.keep_good, chunks):
                    break
        await threads.run(file.begin)
        await _pour(threads, content, file.write, watcher, start=file.size)
        actual = await threads.run(file.finish, which.sha256, mtime)
    finally:
        await threads.run(file.close)
    if actual != which.sha256:
        raise ChecksumMismatch(which.sha256, actual)


async def copy_to(world: World, content: RemoteContent, file: BinaryIO, watcher: Watcher) -> None:
    """Write the content to an open file, which may block: threads do it."""
    await _pour(world.threads, content, file.writelines, watcher, start=0)


async def _pour(
    threads: Threads,
    content: RemoteContent,
    write: Callable[[list[Part]], None],
    watcher: Watcher,
    *,
    start: int,
) -> None:
    """Read on while a thread writes what came before."""
    size = content.which.size
    writing: Deferred[None] | None = None
    gathered: list[Part] = []
    gathered_bytes, done = 0, start
    parts = content.parts(start, size)
    try:
        async for more in parts:
            gathered += more
            gathered_bytes += sum(map(len, more))
            if gathered_bytes >= WRITE_BYTES:
                if writing is not None:
                    await writing
                writing = threads.run(write, gathered)
                done += gathered_bytes
                gathered, gathered_bytes = [], 0
                watcher(Progress(done, size))
        if writing is not None:
            await writing
            writing = None
        if gathered:
            await threads.run(write, gathered)
        watcher(Progress(size, size))
    finally:
        if writing is not None:
            writing.addErrback(lambda _: None)
        await parts.aclose()  # type: ignore[attr-defined]
