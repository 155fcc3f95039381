"""Uploads that were begun and not committed, remembered so that a crash sends nothing twice."""

import hashlib
from pathlib import Path

import msgspec

from minibox.client.local import write_private

_KEEP = 256
"""At most so many are remembered; the oldest go first."""


class Intent(msgspec.Struct, frozen=True):
    """What was to be uploaded where. A source that has changed since is another intent."""

    url: str
    username: str
    source: str
    size: int
    mtime_ns: int
    remote: str


class Unfinished(msgspec.Struct, frozen=True):
    """An upload under way."""

    intent: Intent
    upload_id: str


class UnfinishedUploads:
    """A folder with one small file for each. What can't be read there was never remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, intent: Intent) -> str | None:
        """The id of the upload that was begun for exactly this."""
        try:
            kept = msgspec.json.decode(self._path(intent).read_bytes(), type=Unfinished)
        except (OSError, msgspec.DecodeError):
            return None
        return kept.upload_id if kept.intent == intent else None

    def remember(self, intent: Intent, upload_id: str) -> None:
        """Note an upload that has begun. OSError."""
        write_private(self._path(intent), msgspec.json.encode(Unfinished(intent, upload_id)))
        kept = sorted(self._folder.glob("*.json"), key=_age)
        for old in kept[:-_KEEP]:
            old.unlink(missing_ok=True)

    def forget(self, intent: Intent) -> None:
        """It is committed, or given up."""
        self._path(intent).unlink(missing_ok=True)

    def _path(self, intent: Intent) -> Path:
        where = msgspec.json.encode((intent.url, intent.username, intent.source, intent.remote))
        return self._folder / f"{hashlib.sha256(where).hexdigest()[:32]}.json"


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
