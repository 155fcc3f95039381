"""Checking and hashing passwords: slow on purpose, so in threads and only so many at once."""

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import DeferredSemaphore

from minibox import credentials
from minibox.errors import Busy
from minibox.world import World

AT_ONCE = 2
MAX_WAITING = 32

T = TypeVar("T")


class Passwords:
    """bcrypt at one cost, for one process."""

    def __init__(self, world: World, cost: int) -> None:
        self._world = world
        self._cost = cost
        self._places = DeferredSemaphore(AT_ONCE)
        self._nobody = credentials.unmatched_hash(cost)

    async def hashed(self, password: str) -> bytes:
        """What to store for a new password; Busy when too many wait."""
        salt = self._world.random_bytes(16)
        return await self._slowly(lambda: credentials.hash_password(password, self._cost, salt))

    async def matches(self, password: str, stored: bytes | None) -> bool:
        """Whether it is the password; an unknown user (None) takes as long. Busy as above."""
        expected = self._nobody if stored is None else stored
        right = await self._slowly(lambda: credentials.password_matches(password, expected))
        return right and stored is not None

    async def _slowly(self, work: Callable[[], T]) -> T:
        if len(self._places.waiting) >= MAX_WAITING:
            raise Busy
        await self._places.acquire()
        try:
            return await self._world.threads.run(work)
        finally:
            self._places.release()
