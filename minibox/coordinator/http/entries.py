"""Entries as the API shows them."""

from datetime import UTC, datetime
from functools import lru_cache
from mimetypes import guess_type
from typing import Any

from minibox.coordinator.homes import Seen
from minibox.coordinator.trash import Discarded
from minibox.coordinator.tree import Entry
from minibox.coordinator.versions import Version
from minibox.errors import ValidationFailed
from minibox.http_api.files import (
    CopiesFacts,
    EntryFacts,
    Metadata,
    TrashFacts,
    Uploaded,
    VersionFacts,
)
from minibox.identity import to_text

UNKNOWN_TYPE = "application/octet-stream"
_SHA256_HEX_DIGITS = 64


def moment(seconds: float) -> datetime:
    """Unix seconds as the API writes times."""
    return datetime.fromtimestamp(seconds, UTC)


def seconds_of(text: str) -> float:
    """Unix seconds of a time that a caller gave: a number, or RFC 3339; ValidationFailed."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            seconds = float("nan")
    return checked_seconds(seconds)


def checked_seconds(seconds: float) -> float:
    """Unix seconds that can be shown as a date; ValidationFailed."""
    if not -6e10 < seconds < 2e11:  # noqa: PLR2004  the years that datetime can show
        raise ValidationFailed("mtime", "give Unix seconds or an RFC 3339 time")
    return seconds


def digest_of(text: str) -> bytes:
    """The SHA-256 that a caller gave in hex; ValidationFailed."""
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(text) != _SHA256_HEX_DIGITS or not digest:
        raise ValidationFailed("sha256", "give 64 hexadecimal digits")
    return digest


def type_for(name: str, declared: str | None) -> str:
    """The media type to keep: what was declared, unless that says nothing, else by the name."""
    stated = (declared or "").partition(";")[0].strip().lower()
    if stated and stated not in (UNKNOWN_TYPE, "application/x-www-form-urlencoded"):
        return (declared or "").strip()[:255]
    return guess_type(name)[0] or UNKNOWN_TYPE


def facts(seen: Seen) -> EntryFacts:
    """One line of a list."""
    entry = seen.entry
    public_id, parent = entry.public_id, _folder_id(entry.parent)
    created, modified = moment(entry.created), moment(entry.modified)
    if entry.is_folder:
        return EntryFacts(
            public_id, "folder", entry.name, seen.path, parent, created, modified, entry.tags
        )
    return EntryFacts(
        public_id,
        "file",
        entry.name,
        seen.path,
        parent,
        created,
        modified,
        entry.tags,
        entry.size,
        entry.head,
        f"{public_id}.{entry.head}",
        entry.sha256.hex(),
        entry.content_type,
    )


@lru_cache(1024)
def _folder_id(number: int) -> str:
    """The parent of an entry, mostly the same for a whole list."""
    return to_text("d", number) if number else ""


def metadata(seen: Seen, owner: str, have: int, want: int) -> Metadata:
    """All facts of one entry."""
    return Metadata(**_all(seen, owner, have, want))


def uploaded(seen: Seen, owner: str, have: int, want: int, message: str) -> Uploaded:
    """A file whose content was just committed."""
    entry = seen.entry
    return Uploaded(
        **_all(seen, owner, have, want),
        file_id=entry.public_id,
        filename=entry.name,
        upload_date=moment(entry.created),
        message=message,
    )


def version_facts(entry: Entry, version: Version) -> VersionFacts:
    """One line of a version list."""
    content = version.content
    return VersionFacts(
        version=version.number,
        size=content.size,
        sha256=content.sha256.hex(),
        content_type=content.content_type,
        created=moment(version.committed),
        modified=moment(content.modified),
        author=to_text("usr", version.author),
        is_head=version.number == entry.head,
        device_id=version.device or None,
    )


def trash_facts(row: Discarded, entry: Entry) -> TrashFacts:
    """One line of the trash."""
    return TrashFacts(
        trash_id=to_text("tr", entry.id),
        id=entry.public_id,
        type=entry.shape,
        name=entry.name,
        path=row.path,
        deleted=moment(row.at),
        size=row.size,
    )


def _all(seen: Seen, owner: str, have: int, want: int) -> dict[str, Any]:
    line = facts(seen)
    known: dict[str, Any] = {name: getattr(line, name) for name in line.__struct_fields__}
    known["owner"] = owner
    if not seen.entry.is_folder:
        known["copies"] = CopiesFacts(have, want)
    return known
