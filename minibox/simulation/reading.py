"""Downloads of simulated clients, and whether what came is what was stored."""

from hashlib import sha256
from re import fullmatch

import msgspec

from minibox.client.exchange import Reply
from minibox.simulation.contents import Contents
from minibox.simulation.promises import Broken, Promises

MAX_BYTES = 1 << 26
PARTIAL = 206


class Read(msgspec.Struct, frozen=True):
    """What came, of which version; ``first`` is where in the content it begins, None for all."""

    etag: str
    body: bytes
    first: int | None

    @property
    def path(self) -> str:
        """For the trace."""
        return f"{self.etag} {len(self.body)} bytes from {self.first}"


async def read_of(reply: Reply) -> Read:
    """All of an answer. Unreachable where it ends too early."""
    body = await reply.read(MAX_BYTES)
    first = None
    if reply.status == PARTIAL:
        match = fullmatch(r"bytes (\d+)-\d+/\d+", reply.header("Content-Range") or "")
        if match is None:
            raise Broken("D5", "a partial answer doesn't say which part it is")
        first = int(match[1])
    return Read((reply.header("ETag") or "").strip('"'), body, first)


def judge_read(
    found: Read,
    file: str,
    number: int | None,
    at_least: int,
    contents: Contents,
    promises: Promises,
) -> None:
    """Whether these are the bytes of the version that the answer names, and that it may be that.

    ``at_least`` is the version that was acknowledged before the download began. Broken: D5, M2.
    """
    entry, _, version = found.etag.rpartition(".")
    if entry != file or (number is not None and int(version) != number):
        raise Broken("D5", f"{found.etag} came for {file} {number}")
    if number is None and int(version) < at_least:
        raise Broken("M2", f"{found.etag} was read when version {at_least} was acknowledged")
    if found.first is not None:
        known = promises.contents.get((file, int(version)))
        whole = contents.of(known) if known is not None else None
        if whole is not None and found.body != whole[found.first : found.first + len(found.body)]:
            raise Broken("D5", f"wrong bytes in a range of {found.etag}")
        return
    digest = sha256(found.body).digest()
    if contents.of(digest) is None:
        raise Broken("D5", f"{found.etag} gave bytes that nobody has stored")
    promises.saw(file, int(version), digest)
