"""Whether a failed call is made again, and when: a function of what happened so far."""

import msgspec

from minibox.client.exchange import NeverSent
from minibox.errors import Busy, Failure, Starting, Unreachable

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0
STRANGER_PATIENCE_SECONDS = 1.0
"""A server that has never answered is more likely mistyped than restarting."""


class Attempt(msgspec.Struct, frozen=True):
    """A call that failed.

    ``number`` counts from 1; ``elapsed_seconds`` since the first began. ``is_repeatable``: doing
    it twice is doing it once. ``retry_after`` is what the server asked for.
    """

    number: int
    elapsed_seconds: float
    failure: Failure
    is_repeatable: bool
    is_known_server: bool
    retry_after: float | None = None


def pause_before_next(attempt: Attempt, patience_seconds: float) -> float | None:
    """Seconds to wait before the next attempt; None when the failure stands."""
    if not _may_help(attempt):
        return None
    patience = patience_seconds
    if isinstance(attempt.failure, NeverSent) and not attempt.is_known_server:
        patience = min(patience, STRANGER_PATIENCE_SECONDS)
    pause = min(FIRST_PAUSE_SECONDS * 2 ** (attempt.number - 1), MAX_PAUSE_SECONDS)
    if attempt.retry_after is not None:
        pause = max(pause, attempt.retry_after)
    return pause if attempt.elapsed_seconds + pause <= patience else None


def _may_help(attempt: Attempt) -> bool:
    match attempt.failure:
        case NeverSent() | Busy() | Starting():  # nothing was begun
            return True
        case Unreachable():
            return attempt.is_repeatable
        case _:
            return False
