"""Typed calls to a coordinator: a Route, its query and body in; its answer or its Failure out."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import DeferredLock
from twisted.web.iweb import IBodyProducer

from minibox.client.authority import Authority
from minibox.client.bodies import BytesBody
from minibox.client.exchange import Exchanges, Reply
from minibox.client.retrying import Attempt, pause_before_next
from minibox.errors import BadRecord, Failure, TokenExpired, TokenRevoked, Unauthenticated
from minibox.http_api.accounts import LOGIN, REFRESH, Login, Refresh
from minibox.http_api.headers import DEVICE_ID, IDEMPOTENCY_KEY, JSON
from minibox.http_api.problems import failure_of
from minibox.http_api.route import Route
from minibox.services import jittered
from minibox.world import World, sleep

A = TypeVar("A")

CALL_SECONDS = 60.0
"""The whole of a call whose bodies are JSON."""
SILENCE_SECONDS = 30.0
"""No byte sent and none received for so long ends any call."""
PATIENCE_SECONDS = 15.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_PROBLEM_BYTES = 64 * 1024
_KEY_BYTES = 16
_SPENT = (TokenExpired, TokenRevoked, Unauthenticated)

Body = Callable[[Callable[[int], None]], IBodyProducer]
"""Makes the producer of a request body, anew for each attempt, from what hears of bytes sent."""


class Http:
    """Calls to the coordinator at ``url``: tried again where that is safe, with fresh tokens."""

    def __init__(
        self,
        world: World,
        url: str,
        authority: Authority,
        *,
        login: Login | None = None,
        device_id: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._exchanges = Exchanges(world, url)
        self._clock = world.clock
        self._random_bytes = world.random_bytes
        self._jittered = jittered(world.random_bytes, 0.5)
        self._authority = authority
        self._login = login
        self._device_id = device_id
        self._patience_seconds = patience_seconds
        self._renewing = DeferredLock()
        self._is_known_server = False

    @property
    def url(self) -> str:
        """The server."""
        return self._exchanges.url

    async def call(
        self,
        route: Route[Any, Any, A],
        params: Mapping[str, str] | None = None,
        *,
        query: object = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        once: bool = False,
    ) -> A:
        """What ``route`` answers, or the Failure of its problem document.

        With ``once`` the call carries an idempotency key, so that it may be repeated when its
        answer was lost. BadRecord for an answer that is not the declared one; Unreachable;
        CallTimeout.
        """
        extra = dict(headers or {})
        if body is not None:
            extra["Content-Type"] = JSON
        if once:
            extra[IDEMPOTENCY_KEY] = self._random_bytes(_KEY_BYTES).hex()
        content = None if body is None else msgspec.json.encode(body)
        producer: Body | None = None if content is None else (lambda _: BytesBody(content))
        is_repeatable = once or route.method == "GET"

        async def attempt(showing: Mapping[str, str]) -> A:
            reply = await self._exchanges.send(
                route.method,
                route.url(params, query),
                {**extra, **showing},
                producer,
                silence_seconds=CALL_SECONDS,
                total_seconds=CALL_SECONDS,
            )
            return await self._answer(route, reply)

        return await self._persist(route, attempt, is_repeatable=is_repeatable)

    async def send(
        self,
        route: Route[Any, Any, A],
        params: Mapping[str, str] | None,
        body: Body,
        *,
        query: object = None,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool = False,
    ) -> A:
        """As :meth:`call` with a streamed body; ended by silence alone."""

        async def attempt(showing: Mapping[str, str]) -> A:
            reply = await self._exchanges.send(
                route.method,
                route.url(params, query),
                {**(headers or {}), **showing},
                body,
                silence_seconds=SILENCE_SECONDS,
                total_seconds=None,
            )
            return await self._answer(route, reply)

        return await self._persist(route, attempt, is_repeatable=is_repeatable)

    async def receive(
        self,
        route: Route[Any, Any, Any],
        params: Mapping[str, str],
        *,
        query: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """The answer with its body still to be read, in parts; ended by silence alone."""

        async def attempt(showing: Mapping[str, str]) -> Reply:
            reply = await self._exchanges.send(
                route.method,
                route.url(params, query),
                {**(headers or {}), **showing},
                silence_seconds=SILENCE_SECONDS,
                total_seconds=None,
            )
            if not 200 <= reply.status < 300:  # noqa: PLR2004 - HTTP's successes
                raise await self._refusal(reply)
            return reply

        return await self._persist(route, attempt, is_repeatable=True)

    async def log_in(self, login: Login) -> None:
        """Open a session and show its tokens from now on. BadCredentials, AccountDisabled."""
        self._authority.accept(await self.call(LOGIN, body=login))

    async def close(self) -> None:
        """End the connections."""
        await self._exchanges.close()

    async def _answer(self, route: Route[Any, Any, A], reply: Reply) -> A:
        if reply.status not in (route.status, *route.statuses):
            raise await self._refusal(reply)
        content = await reply.read(MAX_ANSWER_BYTES)
        if route.answer is None:
            return None  # type: ignore[return-value]
        try:
            return msgspec.json.decode(content, type=route.answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            if reply.status != route.status:
                raise _Refused(failure_of(reply.status, content), None) from problem
            raise BadRecord(kind=route.name, reason=str(problem)) from problem

    async def _refusal(self, reply: Reply) -> "_Refused":
        failure = failure_of(reply.status, await reply.read(MAX_PROBLEM_BYTES))
        seconds = reply.header("Retry-After") or ""
        asked = float(seconds) if seconds.isascii() and seconds.isdigit() else None
        return _Refused(failure, asked)

    async def _persist(
        self,
        route: Route[Any, Any, Any],
        attempt: Callable[[Mapping[str, str]], Awaitable[A]],
        *,
        is_repeatable: bool,
    ) -> A:
        """Attempt until it succeeds or trying again would not help."""
        began = self._clock.seconds()
        number, has_renewed = 0, False
        if self._authority.credentials is None and self._login is not None and _asks_who(route):
            await self._renew(None)
        while True:
            number += 1
            shown = self._authority.credentials
            retry_after: float | None = None
            try:
                answer = await attempt(self._showing(route))
            except _Refused as refused:
                self._is_known_server = True
                failure, retry_after = refused.failure, refused.retry_after
            except Failure as problem:
                failure = problem
            else:
                self._is_known_server = True
                return answer
            if isinstance(failure, _SPENT):
                if has_renewed or not _asks_who(route) or not self._can_renew():
                    raise failure
                has_renewed = True
                await self._renew(shown.access_token if shown else None)
                continue
            elapsed = self._clock.seconds() - began
            tried = Attempt(
                number, elapsed, failure, is_repeatable, self._is_known_server, retry_after
            )
            pause = pause_before_next(tried, self._patience_seconds)
            if pause is None:
                raise failure
            await sleep(self._clock, self._jittered(pause))

    def _showing(self, route: Route[Any, Any, Any]) -> dict[str, str]:
        device = {} if self._device_id is None else {DEVICE_ID: self._device_id}
        return {**device, **(self._authority.headers() if _asks_who(route) else {})}

    def _can_renew(self) -> bool:
        credentials = self._authority.credentials
        has_refresh = credentials is not None and credentials.refresh_token is not None
        return has_refresh or self._login is not None

    async def _renew(self, spent: str | None) -> None:
        """Get new tokens, unless another call has done so since ``spent`` was shown."""
        await self._renewing.acquire()
        try:
            credentials = self._authority.credentials
            if credentials is not None and credentials.access_token != spent:
                return
            if credentials is not None and credentials.refresh_token is not None:
                try:
                    asked = Refresh(credentials.refresh_token)
                    self._authority.accept(await self.call(REFRESH, body=asked))
                except _SPENT:
                    if self._login is None:
                        raise
                else:
                    return
            if self._login is not None:
                await self.log_in(self._login)
        finally:
            self._renewing.release()


def _asks_who(route: Route[Any, Any, Any]) -> bool:
    return route.access != "anyone"


class _Refused(Exception):
    """A problem document, with the seconds that the server asked to wait."""

    def __init__(self, failure: Failure, retry_after: float | None) -> None:
        super().__init__(failure)
        self.failure = failure
        self.retry_after = retry_after
