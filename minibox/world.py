"""What a process is given from outside: time, randomness, network, threads.

Production hands in the reactor's; the simulation hands in one virtual clock, a seeded generator,
in-memory transports and threads that run on the clock. Nothing else reaches out of the process.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.task import deferLater

P = ParamSpec("P")
T = TypeVar("T")


class Clock(Protocol):
    """Time. ``seconds`` is monotonic; ``wall`` is Unix time and may step."""

    def seconds(self) -> float:
        """Monotonic seconds since some moment."""

    def wall(self) -> float:
        """Unix time in seconds."""

    def callLater(  # noqa: N802
        self,
        delay: float,
        callable: Callable[..., object],
        *args: object,
        **kw: object,
    ) -> IDelayedCall:
        """Twisted's IReactorTime."""


class Endpoints(Protocol):
    """The network, by Twisted endpoint strings."""

    def to_connect(self, description: str) -> IStreamClientEndpoint:
        """An endpoint for the *server* string ``description`` of another process."""

    def to_listen(self, description: str) -> IStreamServerEndpoint:
        """An endpoint that listens on ``description``."""


class Threads(Protocol):
    """Where blocking work (disk, hashing, LMDB commits) runs."""

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call ``function`` off the reactor thread; the Deferred fires on the reactor thread."""


RandomBytes = Callable[[int], bytes]
"""As many unpredictable bytes as asked: ``secrets.token_bytes``, or a seeded generator."""


@dataclass(frozen=True)
class World:
    """Everything from outside, handed down from ``__main__`` or from the simulation."""

    clock: Clock
    random_bytes: RandomBytes
    endpoints: Endpoints
    threads: Threads


def sleep(clock: Clock, seconds: float) -> Deferred[None]:
    """Wait ``seconds`` on ``clock``; cancel the Deferred to wake early."""
    return deferLater(clock, seconds, lambda: None)  # type: ignore[arg-type]
