"""Queries and JSON bodies to the values that a route names, or ValidationFailed with the field."""

import re
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from minibox.errors import TypeNotAllowed, ValidationFailed
from minibox.http_api.headers import JSON, MAX_FIELDS

T = TypeVar("T")

_AT = re.compile(r" - at `\$?\.?(?P<field>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]*)`")
_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]*)`")


def parse_query(query_string: bytes, kind: type[T]) -> T:
    """The query string as a ``kind``. Values are texts: numbers and booleans are read from them."""
    values: dict[str, str | list[str]] = {}
    if query_string:
        listed = {
            field.encode_name
            for field in msgspec.structs.fields(kind)  # type: ignore[arg-type]  # a Struct
            if _is_list(field.type)
        }
        for name, value in _pairs(query_string):
            if name in listed:
                several = values.setdefault(name, [])
                if isinstance(several, list):
                    several.append(value)
            elif name in values:
                raise ValidationFailed(field=name, reason="it stands twice")
            else:
                values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as problem:
        raise _refused(str(problem), "query") from None


def parse_json(content: bytes, kind: type[T]) -> T:
    """A JSON body as a ``kind``; no body at all counts as ``{}``."""
    try:
        return msgspec.json.decode(content or b"{}", type=kind, strict=True)
    except msgspec.ValidationError as problem:
        raise _refused(str(problem), "body") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValidationFailed(field="body", reason="it is not well-formed JSON") from None
    except RecursionError:
        raise ValidationFailed(field="body", reason="it is nested too deeply") from None


def check_json_type(content_type: str | None) -> None:
    """Refuse a body that is declared to be something else than JSON."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type != JSON and not media_type.endswith("+json"):
        raise TypeNotAllowed(content_type=content_type or "", expected=JSON)


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except UnicodeDecodeError:
        raise ValidationFailed(field="query", reason="it is not UTF-8") from None
    except ValueError:
        raise ValidationFailed(field="query", reason="it has too many parameters") from None
    for name, value in pairs:
        if "\x00" in value or "\x00" in name:
            raise ValidationFailed(field="query", reason="it holds a NUL")
    return pairs


def _is_list(annotation: object) -> bool:
    kind = msgspec.inspect.type_info(annotation)
    kinds = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    collections = (
        msgspec.inspect.ListType,
        msgspec.inspect.VarTupleType,
        msgspec.inspect.SetType,
    )
    return any(isinstance(each, collections) for each in kinds)


def _refused(message: str, where: str) -> ValidationFailed:
    at = _AT.search(message)
    reason = message[: at.start()] if at else message
    path = at["field"] if at else ""
    named = _MISSING.search(reason) or _UNKNOWN.search(reason)
    if named:
        path = f"{path}.{named['field']}" if path else named["field"]
        reason = "it is missing" if _MISSING.search(reason) else "there is no such field"
    return ValidationFailed(field=path or where, reason=reason[:1].lower() + reason[1:])
