"""Group commit: all operations that wait are written together and made durable once.

One group is in flight at a time. Its answers, refusals too, leave when it is durable: a refusal may
rest on what a sibling in the same group wrote. They are delivered while the next group is written.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from minibox.errors import Busy, NoRoom, StoreFull, StoreStopped
from minibox.store.interface import Writer

T = TypeVar("T")

MAX_GROUP_OPERATIONS = 512
"""Bounds how long the first of a group waits for the last."""

MAX_WAITING_OPERATIONS = 16_384
"""Some seconds of writing: who comes later is better told to come again."""

_log = Logger()


class Operation(Generic[T]):
    """One queued function and what became of it."""

    __slots__ = ("answer", "error", "frees", "function", "value")

    def __init__(self, function: Callable[[Writer], T], *, frees: bool) -> None:
        self.function = function
        self.frees = frees
        self.answer: Deferred[T] = Deferred()
        self.value: T | None = None
        self.error: Exception | None = None

    def attempt(self, writer: Writer) -> bool:
        """Run it in its own transaction; True if what it wrote stays."""
        try:
            self.value = self.function(writer)
            if isinstance(self.value, (Deferred, CoroutineType)):
                raise TypeError("an operation can't wait")  # noqa: TRY301 - like any bug of it
        except Exception as problem:  # noqa: BLE001 - delivered to the caller, whatever it is
            self.error = problem
            return False
        return True

    def deliver(self) -> None:
        """Tell the caller."""
        if self.error is None:
            self.answer.callback(cast("T", self.value))
        else:
            self.answer.errback(self.error)


Group = list[Operation[Any]]


class Groups:
    """The queue of a store.

    ``commit`` runs the operations of a group in order, each isolated, and makes them durable. It
    raises NoRoom if nothing of the group was kept for lack of room; anything else that it raises
    stops the store.
    """

    def __init__(self, commit: Callable[[Group], Awaitable[None]], directory: str) -> None:
        self._commit = commit
        self._directory = directory
        self._waiting: deque[Operation[Any]] = deque()
        self._draining = False
        self._closed = False
        self._at_rest: list[Deferred[None]] = []
        self._stopped_by: str | None = None
        self.failed: Deferred[StoreStopped] = Deferred()

    def write(self, function: Callable[[Writer], T], *, frees: bool) -> Deferred[T]:
        """Queue an operation; see :meth:`minibox.store.Store.write`."""
        if self._closed:
            raise RuntimeError("the store is closed")
        operation = Operation(function, frees=frees)
        if len(self._waiting) >= MAX_WAITING_OPERATIONS:
            operation.answer.errback(Busy())
            return operation.answer
        self._waiting.append(operation)
        if not self._draining:
            self._draining = True
            Deferred.fromCoroutine(self._drain())
        return operation.answer

    async def close(self) -> None:
        """Take nothing more and wait until all that is queued has been answered."""
        self._closed = True
        if self._draining:
            at_rest: Deferred[None] = Deferred()
            self._at_rest.append(at_rest)
            await at_rest

    async def _drain(self) -> None:
        landed: Group = []
        while self._waiting or landed:
            group = self._next_group()
            landing = Deferred.fromCoroutine(self._land(group))
            for operation in landed:
                operation.deliver()
            await landing
            landed = group
        self._draining = False
        waiters, self._at_rest = self._at_rest, []
        for waiter in waiters:
            waiter.callback(None)

    def _next_group(self) -> Group:
        size = min(len(self._waiting), MAX_GROUP_OPERATIONS)
        return [self._waiting.popleft() for _ in range(size)]

    async def _land(self, group: Group) -> None:
        """Every operation of ``group`` has its outcome afterwards."""
        if not group:
            return
        if self._stopped_by is None:
            try:
                await self._commit(group)
            except NoRoom:
                for operation in group:
                    operation.error = StoreFull()
            except Exception as problem:  # noqa: BLE001 - whatever it was, nothing is certain now
                self._stop(problem)
        if self._stopped_by is not None:
            for operation in group:
                operation.error = self._stopped(self._stopped_by)

    def _stop(self, problem: Exception) -> None:
        self._stopped_by = str(problem) or type(problem).__name__
        _log.critical(
            "store_stopped {directory}: {reason}",
            directory=self._directory,
            reason=self._stopped_by,
        )
        self.failed.callback(self._stopped(self._stopped_by))

    def _stopped(self, reason: str) -> StoreStopped:
        return StoreStopped(directory=self._directory, reason=reason)
