"""Which files of a tree travel together: few calls for many small ones, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from minibox.chunk import MIN_CHUNK_BYTES
from minibox.http_api.uploads import MAX_CHUNKS_PER_CALL, MAX_FILES_PER_CALL

T = TypeVar("T")

MAX_BATCHED_BYTES = 1024 * 1024
"""A larger file is put or got by itself."""
BATCH_BYTES = 8 * 1024 * 1024
BATCH_NAME_BYTES = 256 * 1024
"""Paths in one call: the answer repeats each a few times."""


def most_chunks(size: int) -> int:
    """No content of so many bytes has more chunks."""
    return -(-size // MIN_CHUNK_BYTES)


def batches(
    files: Iterable[T], size_of: Callable[[T], int], name_of: Callable[[T], str]
) -> Iterator[list[T]]:
    """The files in their order, in groups of bounded number, bytes, chunks and names."""
    batch: list[T] = []
    total, chunks, names = 0, 0, 0
    for file in files:
        size, name = size_of(file), len(name_of(file).encode(errors="surrogateescape"))
        more = most_chunks(size)
        if batch and (
            len(batch) >= MAX_FILES_PER_CALL
            or total + size > BATCH_BYTES
            or chunks + more > MAX_CHUNKS_PER_CALL
            or names + name > BATCH_NAME_BYTES
        ):
            yield batch
            batch, total, chunks, names = [], 0, 0, 0
        batch.append(file)
        total, chunks, names = total + size, chunks + more, names + name
    if batch:
        yield batch
