"""What a store promises, whatever it is made of. ``tests/contracts/test_store.py`` holds it to it.

An operation is a function of a :class:`Writer`. It runs in another thread than its caller, so it
closes over frozen values (and ``now``) only, never over live state of the reactor thread; what it
wants to tell, it returns. It doesn't wait for anything.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from minibox.errors import StoreStopped

T = TypeVar("T")

MAX_KEY_BYTES = 511


class Reader(Protocol):
    """One state of the store. Ends with the function that it was given to."""

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``; None if there is none."""

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start ≤ key < stop, by key; descending if ``reverse``.

        Each step looks at the state as it is then: an operation may change rows while it scans,
        also the one that it is at.
        """


class Writer(Reader, Protocol):
    """One operation: sees its own changes and those of the operations before it."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set ``key``, which has 1 to 511 bytes."""

    def delete(self, key: bytes) -> bool:
        """Remove ``key``; True if it was there."""


class Store(Protocol):
    """One writer, any number of readers, no state between."""

    @property
    def failed(self) -> Deferred[StoreStopped]:
        """Fires when a commit could not be made durable: the process has to stop."""

    def read(self, function: Callable[[Reader], T]) -> T:
        """What ``function`` returns about the last committed state. Short: it blocks the caller.

        Raises RecordDamaged if a page of the store itself can't be used.
        """

    def write(self, function: Callable[[Writer], T], *, frees: bool = False) -> Deferred[T]:
        """Queue an operation; fires with what ``function`` returned, once that is durable.

        What ``function`` raises undoes its own changes and no other's, and is delivered only after
        the operations it may have looked at are durable as well. Operations take effect in the
        order of these calls, also when their callers don't wait any more. ``frees`` marks those
        that make room in the long run: they run while a full disk refuses all others.

        Fails with StoreFull (nothing changed), StoreStopped (nothing is acknowledged any more),
        Busy (too much is queued).
        """

    async def close(self) -> None:
        """Finish what is queued and let go of the directory. Nothing may be written after."""
