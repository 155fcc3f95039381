"""The OpenAPI 3.1 document of the bound routes, made from the types that the handlers use."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import msgspec

from minibox.coordinator.http.call import Call, Caller, Reply
from minibox.coordinator.http.routing import Router
from minibox.errors import (
    Failure,
    Forbidden,
    Internal,
    Unauthenticated,
    ValidationFailed,
)
from minibox.http_api.headers import FORM, JSON, PROBLEM_JSON
from minibox.http_api.problems import Problem, status_of, title_of
from minibox.http_api.route import Route

API_VERSION = "1.0"
_PAGE = "docs.html"
_REFERENCE = "#/components/schemas/{name}"

OPENAPI: Route[None, None, bytes] = Route(
    name="openapi",
    method="GET",
    path="/api/openapi.json",
    summary="This description of the API",
    access="anyone",
    answer=bytes,
    media_type=JSON,
    tags=("about",),
)
DOCS: Route[None, None, bytes] = Route(
    name="docs",
    method="GET",
    path="/api/docs",
    summary="A page that shows the API",
    access="anyone",
    answer=bytes,
    media_type="text/html; charset=utf-8",
    tags=("about",),
)


def bind_description(router: Router[Any]) -> None:
    """Serve the description of all that is bound to ``router`` by now, and the page to read it."""
    routes = (*router.routes, OPENAPI, DOCS)
    page = files(__package__).joinpath(_PAGE).read_bytes()
    document = msgspec.json.encode(describe(routes))

    async def openapi(_call: Call[Caller, None, None]) -> bytes:
        return document

    async def docs(_call: Call[Caller, None, None]) -> Reply[bytes]:
        return Reply(page, headers={"Content-Security-Policy": PAGE_POLICY})

    router.bind(OPENAPI, openapi)
    router.bind(DOCS, docs)


PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def describe(routes: Sequence[Route[Any, Any, Any]]) -> dict[str, Any]:
    """The OpenAPI document of ``routes``."""
    types = _types_in(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    schema_of = {_key(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(route, schema_of)
        paths.setdefault(route.template, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "minibox", "version": API_VERSION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "app_token": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _types_in(routes: Iterable[Route[Any, Any, Any]]) -> list[Any]:
    found: dict[str, Any] = {_key(Problem): Problem}
    for route in routes:
        for kind in (route.body, route.answer):
            if kind is not None and kind is not bytes:
                found[_key(kind)] = kind
        if route.query is not None:
            for each in msgspec.structs.fields(route.query):
                found[_key(each.type)] = each.type
    return list(found.values())


def _key(kind: Any) -> str:  # noqa: ANN401  any annotation
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', '')}|{kind!r}"


def _operation(route: Route[Any, Any, Any], schema_of: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": list(route.tags),
        "parameters": [*_path_parameters(route), *_query_parameters(route, schema_of)],
        "responses": {**_successes(route, schema_of), **_refusals(route, schema_of)},
        "security": [] if route.access == "anyone" else [{"bearer": []}, {"app_token": []}],
    }
    content: dict[str, Any] = {}
    if route.body is not None:
        content[JSON] = {"schema": schema_of[_key(route.body)]}
    if route.form:
        content[FORM] = {"schema": _FORM_SCHEMA}
    if route.raw:
        content["application/octet-stream"] = {}
    if content:
        operation["requestBody"] = {"content": content, "required": route.streams}
    return operation


_FORM_SCHEMA = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}},
}


def _path_parameters(route: Route[Any, Any, Any]) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "in": "path", "required": True, "schema": {"type": "string"}}
        for each in route.parameters
    ]


def _query_parameters(
    route: Route[Any, Any, Any], schema_of: dict[str, Any]
) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    return [
        {
            "name": each.encode_name,
            "in": "query",
            "required": each.required,
            "schema": schema_of[_key(each.type)],
        }
        for each in msgspec.structs.fields(route.query)
    ]


def _successes(route: Route[Any, Any, Any], schema_of: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.media_type is not None:
        content[route.media_type] = {}
    elif route.answer is not None and route.answer is not bytes:
        content[JSON] = {"schema": schema_of[_key(route.answer)]}
    response = {"content": content} if content else {}
    return {
        str(status): {"description": HTTPStatus(status).phrase, **response}
        for status in (route.status, *route.statuses)
    }


def _refusals(route: Route[Any, Any, Any], schema_of: dict[str, Any]) -> dict[str, Any]:
    kinds: list[type[Failure]] = [*route.failures, Internal]
    if route.access != "anyone":
        kinds.append(Unauthenticated)
    if route.access == "admin":
        kinds.append(Forbidden)
    if route.query is not None or route.body is not None:
        kinds.append(ValidationFailed)
    by_status: dict[int, list[str]] = {}
    for kind in kinds:
        titles = by_status.setdefault(status_of(kind), [])
        if title_of(kind) not in titles:
            titles.append(title_of(kind))
    problem = {PROBLEM_JSON: {"schema": schema_of[_key(Problem)]}}
    return {
        str(status): {"description": "; ".join(by_status[status]), "content": problem}
        for status in sorted(by_status)
    }
