"""One HTTP request and its answer, under deadlines, with failures that callers can act on."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web._newclient import RequestNotSent
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from minibox.client.bodies import IncomingBody
from minibox.client.deadlines import Watch
from minibox.endpoint_strings import escape
from minibox.errors import CallTimeout, Failure, Unreachable, ValidationFailed
from minibox.world import World

MAX_CONNECTIONS = 8
"""Kept open to one server between calls."""
IDLE_SECONDS = 20
"""A connection unused for so long is closed here, before a server would do it in our face."""


class NeverSent(Unreachable):
    """The connection could not be made: the server knows nothing of the request."""


class Reply:
    """An answer whose body is still to be read, or closed."""

    def __init__(self, response: IResponse, body: IncomingBody) -> None:
        self.status: int = response.code
        self._headers: Headers = response.headers
        self._body = body

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        values = self._headers.getRawHeaders(name)
        return values[0] if values else None

    def parts(self) -> AsyncIterator[bytes]:
        """The body's parts as they come; Unreachable, CallTimeout."""
        return self._body.parts()

    async def read(self, limit: int) -> bytes:
        """The whole body of at most ``limit`` bytes; BadRecord, Unreachable, CallTimeout."""
        return await self._body.read(limit)

    def close(self) -> None:
        """Nothing more of it is wanted."""
        self._body.close()


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, world: World) -> None:
        self._world = world

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802
        kind = {b"http": "tcp", b"https": "tls"}[uri.scheme]
        host = escape(uri.host.decode("ascii"))
        return self._world.endpoints.to_connect(f"{kind}:{host}:{uri.port}")


class Exchanges:
    """Requests to one server over persistent connections of one world."""

    def __init__(self, world: World, url: str) -> None:
        self._clock = world.clock
        self.url = checked_url(url)
        self._pool = HTTPConnectionPool(world.clock, persistent=True)  # type: ignore[no-untyped-call]
        self._pool.maxPersistentPerHost = MAX_CONNECTIONS
        self._pool.cachedConnectionTimeout = IDLE_SECONDS
        agent = Agent.usingEndpointFactory(  # type: ignore[no-untyped-call]
            world.clock, _Endpoints(world), self._pool
        )
        self._client = HTTPClient(agent)

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Callable[[Callable[[int], None]], IBodyProducer] | None = None,
        *,
        silence_seconds: float,
        total_seconds: float | None,
    ) -> Reply:
        """The answer, as soon as its headers are here.

        ``body`` makes the producer from what wants to hear of bytes sent. The deadlines go on while
        the body of the answer is read. NeverSent, Unreachable, CallTimeout.
        """
        label = f"{method} {path.partition('?')[0]}"
        incoming: IncomingBody | None = None

        def expired() -> None:
            if incoming is not None:
                incoming.fail(CallTimeout(label))
            else:
                asked.cancel()

        asked: Deferred[Any] = Deferred()
        watch = Watch(self._clock, expired, silence_seconds, total_seconds)
        try:
            asked = self._client.request(
                method,
                self.url + path,
                headers=Headers({name: [value] for name, value in headers.items()}),
                data=None if body is None else body(lambda _: watch.progressed()),
                allow_redirects=False,
                unbuffered=True,
                reactor=self._clock,  # type: ignore[arg-type]
            )
            response: IResponse = await asked
        except Exception as problem:
            watch.stop()
            if watch.has_expired:
                raise CallTimeout(label) from problem
            raise _declared(problem, self.url) from problem
        watch.progressed()
        incoming = IncomingBody(self.url, watch.progressed, watch.stop)
        response.deliverBody(incoming)  # type: ignore[no-untyped-call]
        return Reply(response, incoming)

    async def close(self) -> None:
        """End the connections that are kept."""
        await self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]


def checked_url(url: str) -> str:
    """``url`` without a last slash; ValidationFailed unless it is an http or https address."""
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username is not None:
        raise ValidationFailed("url", f"{url!r} is no server; write it like http://127.0.0.1:8000")
    return url.rstrip("/")


def _declared(problem: BaseException, peer: str) -> BaseException:
    """What Twisted's HTTP client raised, as a failure; a bug stays what it is."""
    causes = _causes(problem)
    for cause in causes:
        if isinstance(cause, (Failure, CancelledError)):
            return cause
    if isinstance(problem, (ConnectError, DNSLookupError, RequestNotSent)):
        return NeverSent(peer, _sentence(problem))
    if len(causes) > 1 or isinstance(problem, (ConnectionError, OSError)) or _is_cut(problem):
        return Unreachable(peer, _sentence(causes[-1]))
    return problem


def _causes(problem: BaseException) -> list[BaseException]:
    """The exception, and those that Twisted keeps in its ``reasons``, outermost first."""
    found = [problem]
    for reason in getattr(problem, "reasons", ()):
        found += _causes(reason.value)
    return found


def _is_cut(problem: BaseException) -> bool:
    return type(problem).__module__.startswith(("twisted.internet.error", "twisted.web"))


def _sentence(problem: BaseException) -> str:
    text = str(problem).strip().rstrip(".")
    return text or type(problem).__name__
