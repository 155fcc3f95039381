"""One simulated client's requests: each is traced, and comes to an answer, a refusal or doubt."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar, cast

import msgspec
from twisted.internet.defer import CancelledError, Deferred

from minibox.client.exchange import NeverSent
from minibox.client.http import Http
from minibox.errors import (
    BadRecord,
    Busy,
    CallTimeout,
    Failure,
    Internal,
    QuotaExceeded,
    RecordDamaged,
    StoreStopped,
    Unreachable,
)
from minibox.http_api.headers import IDEMPOTENCY_KEY
from minibox.http_api.problems import status_of
from minibox.http_api.route import Route
from minibox.simulation.cluster import SimulatedCluster
from minibox.simulation.promises import Broken

A = TypeVar("A")

LIMIT_SECONDS = 20.0
"""A client that waits for longer gives up and is in doubt."""
NO_ROOM = 507

Repeat = Callable[[], Awaitable[A]]
"""Makes a call anew, the same each time."""

_REPEATED_SHARE = 0.25
_TEMPORARY = (401, 503, NO_ROOM)
_DOUBTFUL = (Unreachable, CallTimeout, CancelledError, StoreStopped)
_NOTHING_BEGUN = (NeverSent, Busy)


class Refused(msgspec.Struct, frozen=True):
    """Nothing has changed, says the server."""

    failure: Failure


class Doubt(msgspec.Struct, frozen=True):
    """The answer was lost: it may have been done, or be done yet."""

    problem: BaseException


class Asking:
    """Sends the requests of one client."""

    def __init__(self, name: str, cluster: SimulatedCluster, http: Http, generator: Random) -> None:
        self.name = name
        self.http = http
        self._cluster = cluster
        self._generator = generator

    async def ask(self, label: str, asking: Awaitable[A]) -> A | Refused | Doubt:
        """What it came to. Broken where the refusal is one that must never be."""
        running: Deferred[A] = Deferred.fromCoroutine(cast("Any", asking))
        clock = self._cluster.simulation.clock
        giving_up = clock.callLater(LIMIT_SECONDS, running.cancel)
        outcome: A | Refused | Doubt
        try:
            outcome = await running
        except _NOTHING_BEGUN as failure:
            outcome = Refused(failure)
        except _DOUBTFUL as problem:
            outcome = Doubt(problem)
        except Failure as failure:
            self._judge(label, failure)
            outcome = Refused(failure)
        finally:
            if giving_up.active():
                giving_up.cancel()
        self._cluster.trace.event(self.name, label, _told(outcome))
        return outcome

    async def once(
        self, label: str, route: Route[Any, Any, A], params: dict[str, str], body: object = None
    ) -> A | Refused | Doubt:
        """A POST under a fresh idempotency key, again while in doubt, and sometimes once more.

        Broken (M3) when the same key gives two answers.
        """
        key = self._generator.randbytes(8).hex()

        def again() -> Awaitable[A]:
            return self.http.call(route, params, body=body, headers={IDEMPOTENCY_KEY: key})

        return await self.repeated(label, key, again)

    async def repeated(
        self, label: str, key: str, again: Repeat[A], tries: int = 6
    ) -> A | Refused | Doubt:
        """The same for any call that carries ``key`` each time that it is made anew."""
        outcome = await self.ask(label, again())
        was_in_doubt = False
        while isinstance(outcome, Doubt) and tries:
            tries -= 1
            was_in_doubt = True
            await self._cluster.pause(self._generator.uniform(0.1, 2.0))
            outcome = await self.ask(f"{label} again", again())
        if isinstance(outcome, Refused) and was_in_doubt:
            return Doubt(outcome.failure)
        if isinstance(outcome, (Refused, Doubt)):
            return outcome
        if self._generator.random() < _REPEATED_SHARE:
            second = await self.ask(f"{label} once more", again())
            if not isinstance(second, (Refused, Doubt)) and second != outcome:
                raise Broken("M3", f"{label} with key {key}: {outcome} and then {second}")
            if isinstance(second, Refused) and status_of(second.failure) not in _TEMPORARY:
                raise Broken("M3", f"{label} with key {key} was done and then {second.failure!r}")
        return outcome

    def _judge(self, label: str, failure: Failure) -> None:
        if isinstance(failure, (Internal, RecordDamaged, BadRecord)):
            raise Broken("X5", f"{self.name} {label}: {failure!r}")
        if status_of(failure) == NO_ROOM and not self._may_lack_room(failure):
            raise Broken("D7", f"{self.name} {label} found no room where there is room: {failure}")

    def _may_lack_room(self, failure: Failure) -> bool:
        if isinstance(failure, QuotaExceeded):
            return self._cluster.config.coordinator.default_quota_bytes is not None
        return self._cluster.may_be_full


def _told(outcome: object) -> str:
    match outcome:
        case Refused(failure=failure):
            return f"refused {failure.code}"
        case Doubt(problem=problem):
            return f"in doubt {type(problem).__name__}"
        case msgspec.Struct():
            facts = {name: getattr(outcome, name, None) for name in ("id", "version", "path")}
            return "ok " + " ".join(str(value) for value in facts.values() if value is not None)
        case bytes():
            return f"ok {len(outcome)} bytes"
        case _:
            return "ok"
