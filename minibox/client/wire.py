"""What the direct path's JSON says, as the values that minibox.transfer works with, and back."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable

from minibox.capability import Capability, Receipt
from minibox.chunk import ChunkId, ChunkRef
from minibox.codec import R, Record, decode, encode
from minibox.errors import BadRecord
from minibox.http_api.uploads import ChunkFacts, ManifestFacts, Plan
from minibox.identity import from_text
from minibox.transfer import Placed, Source


def text_of(record: Record) -> str:
    """A capability or receipt as it stands in JSON."""
    return urlsafe_b64encode(encode(record)).decode("ascii")


def record_of(kind: type[R], text: str) -> R:
    """The capability or receipt in ``text``; BadRecord."""
    try:
        packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as problem:
        raise BadRecord(kind=kind.kind, reason=str(problem)) from problem
    return decode(kind, packed)


def receipts_of(texts: Iterable[str]) -> list[Receipt]:
    """The receipts in ``texts``; BadRecord."""
    return [record_of(Receipt, text) for text in texts]


def chunk_of(facts: ChunkFacts) -> ChunkRef:
    """The chunk that ``facts`` name; BadRecord."""
    return ChunkRef(_chunk_id(facts.id), facts.length)


def facts_of(chunk: ChunkRef) -> ChunkFacts:
    """A chunk as it stands in JSON."""
    return ChunkFacts(chunk.id.hex(), chunk.length)


def upload_number(plan: Plan) -> int:
    """The upload's id as nodes know it; BadRecord."""
    number = from_text("u", plan.upload_id)
    if number is None:
        raise BadRecord(kind="upload", reason=f"{plan.upload_id!r} is no upload")
    return number


def placements_of(plan: Plan) -> dict[ChunkId, Placed]:
    """Where each chunk that is to be sent goes; BadRecord."""
    try:
        return {
            _chunk_id(each): Placed(
                record_of(Capability, plan.capabilities[each]), plan.placements[each]
            )
            for each in plan.missing
        }
    except KeyError as problem:
        raise BadRecord(kind="plan", reason=f"nothing is said of chunk {problem}") from problem


def sources_of(manifest: ManifestFacts) -> dict[ChunkId, Source]:
    """Who holds the chunks of a manifest, and the right to get each; BadRecord."""
    return {
        _chunk_id(each): Source(
            record_of(Capability, manifest.capabilities[each]), manifest.holders.get(each, ())
        )
        for each in dict.fromkeys(chunk.id for chunk in manifest.chunks)
        if each in manifest.capabilities
    }


def _chunk_id(text: str) -> ChunkId:
    try:
        made = bytes.fromhex(text)
    except ValueError as problem:
        raise BadRecord(kind="chunk", reason=str(problem)) from problem
    return ChunkId(made)
