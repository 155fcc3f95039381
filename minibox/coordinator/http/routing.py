"""Routes bound to handlers: Klein finds the route, this does everything around the handler.

A handler gets a checked Call and returns its answer, or raises a Failure; decoding, access,
encoding, problem documents, disconnects and bugs are handled here, once.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic

import msgspec
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure as Reason
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WrongMethod

from minibox.coordinator.http.body import ClientGone
from minibox.coordinator.http.call import A, B, C, Call, Q, Reply
from minibox.coordinator.http.parsing import check_json_type, parse_json, parse_query
from minibox.coordinator.http.request import Request
from minibox.coordinator.http.site import Shortcut
from minibox.errors import Failure, Forbidden, Internal, MethodNotAllowed, NotFound
from minibox.http_api.headers import JSON, MAX_JSON_BYTES
from minibox.http_api.route import Route

Handler = Callable[[Call[C, Q, B]], Awaitable[A | Reply[A] | None]]
Authenticate = Callable[[Request], Awaitable[C]]
Endpoint = Callable[[Request, Mapping[str, str]], None]

_JSON = JSON.encode()
_NO_STORE = (b"no-store",)
_encode = msgspec.json.Encoder().encode


class Router(Generic[C]):
    """All routes of one HTTP door. ``authenticate`` says who asks, or raises Unauthenticated."""

    def __init__(self, authenticate: Authenticate[C]) -> None:
        self._authenticate = authenticate
        self._app = Klein()
        self._app.url_map.merge_slashes = False
        self._app.handle_errors(HTTPException)(_unrouted)
        self._routes: list[Route[Any, Any, Any]] = []
        self._shortcuts: list[Shortcut] = []

    @property
    def routes(self) -> tuple[Route[Any, Any, Any], ...]:
        """The routes bound so far, in order."""
        return tuple(self._routes)

    @property
    def shortcuts(self) -> tuple[Shortcut, ...]:
        """What the Site tries before it asks Klein."""
        return tuple(self._shortcuts)

    def resource(self) -> Resource:
        """The resource that answers every path: bound routes, and 404 or 405 problems."""
        made: Resource = self._app.resource()
        return made

    def bind(
        self, route: Route[Q, B, A], handler: Handler[C, Q, B, A], *, hot: bool = False
    ) -> None:
        """Let ``handler`` answer ``route``. A ``hot`` route of one parameter skips Klein."""

        def endpoint(request: Request, params: Mapping[str, str]) -> None:
            self._start(request, route, handler, params)

        def klein_endpoint(_request: Request, **params: str) -> Resource:
            return _Taken(endpoint, params)

        klein_endpoint.__name__ = route.name
        template = route.path
        for each in route.parameters:
            written, rule = (
                ("{%s:path}", "<path:%s>") if each.holds_slashes else ("{%s}", "<string:%s>")
            )
            template = template.replace(written % each.name, rule % each.name)
        self._app.route(template, methods=[route.method], endpoint=route.name)(klein_endpoint)
        self._routes.append(route)
        if hot:
            self._shortcuts.append(_shortcut(route, endpoint))

    def _start(
        self,
        request: Request,
        route: Route[Q, B, A],
        handler: Handler[C, Q, B, A],
        params: Mapping[str, str],
    ) -> None:
        running = Deferred.fromCoroutine(self._serve(request, route, handler, params))
        if running.called:
            return
        if route.method == "GET":
            # What only reads may stop when nobody waits for it any more; what changes something
            # goes on, so that a change is never half done because a client left.
            request.when_gone(running.cancel)

    async def _serve(
        self,
        request: Request,
        route: Route[Q, B, A],
        handler: Handler[C, Q, B, A],
        params: Mapping[str, str],
    ) -> None:
        try:
            reply = await handler(await self._call(request, route, params))
            if not request.is_answered:
                _answer(request, route, reply)
            elif not request.is_gone and not request.finished:
                request.finish()  # type: ignore[no-untyped-call]
        except Failure as failure:
            request.refuse(failure)
        except (CancelledError, ClientGone):
            if not request.is_gone:
                _broke(request)
        except Exception:  # noqa: BLE001  the last frame of the task: a bug is logged, answered 500
            _broke(request)

    async def _call(
        self, request: Request, route: Route[Q, B, A], params: Mapping[str, str]
    ) -> Call[C, Q, B]:
        caller: Any = None
        if route.access != "anyone":
            caller = await self._authenticate(request)
            if route.access == "admin" and not caller.is_admin:
                raise Forbidden
        query: Any = None
        if route.query is not None:
            query = parse_query(request.query_string, route.query)
        body: Any = None
        if route.body is not None:
            if request.body.length != 0:
                check_json_type(request.header(b"Content-Type"))
            body = parse_json(await request.body.read_whole(MAX_JSON_BYTES), route.body)
        return Call(request, route, caller, params, query, body)


class _Taken(Resource):
    """Tells Klein that the request will be answered later, by somebody else."""

    isLeaf = True  # noqa: N815

    def __init__(self, endpoint: Endpoint, params: Mapping[str, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._endpoint = endpoint
        self._params = params

    def render(self, request: Any) -> int:  # noqa: ANN401  IResource says IRequest; ours is Request
        self._endpoint(request, self._params)
        return NOT_DONE_YET


def _unrouted(request: IRequest, failure: Reason) -> Resource:  # noqa: ARG001  Klein's signature
    problem = failure.value
    refusal: Failure = NotFound(what="address")
    if isinstance(problem, WrongMethod):
        refusal = MethodNotAllowed(allowed=", ".join(sorted(problem.valid_methods or ())))
    return _Taken(lambda taken, _params: taken.refuse(refusal), {})


def _shortcut(route: Route[Any, Any, Any], endpoint: Endpoint) -> Shortcut:
    if len(route.parameters) > 1:
        raise ValueError(f"{route.name}: a hot route has at most one parameter")
    method = route.method.encode()
    methods = {method, b"HEAD"} if method == b"GET" else {method}
    before, brace, after = route.path.partition("{")
    prefix = before.encode()
    if not brace:

        def take_exact(request: Request) -> bool:
            if request.path != prefix or request.method not in methods:
                return False
            endpoint(request, {})
            return True

        return take_exact

    parameter = route.parameters[0]
    suffix = after.partition("}")[2].encode()
    start, end = len(before), len(suffix)

    def take(request: Request) -> bool:
        if not request.path.startswith(prefix) or request.method not in methods:
            return False
        if end and not request.path.endswith(suffix):
            return False
        text = request.path_text
        value = text[start : len(text) - end]
        if not value or (not parameter.holds_slashes and "/" in value):
            return False
        endpoint(request, {parameter.name: value})
        return True

    return take


def _answer(request: Request, route: Route[Q, B, A], given: A | Reply[A] | None) -> None:
    if request.is_gone:
        return
    reply: Reply[A] = given if isinstance(given, Reply) else Reply(given)
    for name, value in reply.headers.items():
        request.responseHeaders.setRawHeaders(name, [value])
    if reply.answer is None:
        request.respond(reply.status or 204, b"", None)
        return
    if isinstance(reply.answer, bytes):
        media_type = reply.content_type or route.media_type or "application/octet-stream"
        request.responseHeaders.setRawHeaders(b"Content-Type", [media_type])
        request.respond(reply.status or route.status, reply.answer, None)
        return
    if not request.responseHeaders.hasHeader(b"Cache-Control"):
        request.responseHeaders.setRawHeaders(b"Cache-Control", _NO_STORE)
    request.respond(reply.status or route.status, _encode(reply.answer), _JSON)


def _broke(request: Request) -> None:
    reason = Reason()  # type: ignore[no-untyped-call]
    request.log_bug(reason)
    request.refuse(Internal(request_id=request.request_id))
