"""Failures as HTTP problem documents (RFC 9457) and back: the one table of status codes."""

from collections.abc import Mapping
from typing import Any

import msgspec

from minibox import errors
from minibox.errors import Failure

STATUS: dict[type[Failure], int] = {
    errors.Failure: 500,
    # What the caller sent
    errors.ValidationFailed: 400,
    errors.MissingFile: 400,
    errors.NothingToUpdate: 400,
    errors.BadCursor: 400,
    errors.RequestTimeout: 408,
    errors.MethodNotAllowed: 405,
    errors.LengthRequired: 411,
    errors.HeadersTooLarge: 431,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.TypeNotAllowed: 415,
    errors.BadRange: 416,
    errors.ChecksumMismatch: 422,
    # Who asks
    errors.Unauthenticated: 401,
    errors.TokenExpired: 401,
    errors.TokenRevoked: 401,
    errors.BadCredentials: 401,
    errors.LinkPasswordRequired: 401,
    errors.Forbidden: 403,
    errors.AccountDisabled: 403,
    errors.ReadOnlyShare: 403,
    errors.CsrfRefused: 403,
    errors.RegistrationClosed: 403,
    # What it is about
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.NameConflict: 409,
    errors.VersionConflict: 409,
    errors.NotEmpty: 409,
    errors.LayoutChanged: 409,
    errors.ShareExpired: 410,
    errors.UploadExpired: 410,
    errors.VersionExpired: 410,
    errors.CursorReset: 410,
    errors.ChunkMissing: 422,
    errors.IdempotencyMismatch: 422,
    errors.Locked: 423,
    errors.QuotaExceeded: 507,
    # What the cluster can't do now
    errors.RateLimited: 429,
    errors.Internal: 500,
    errors.RecordDamaged: 500,
    errors.NotEnoughNodes: 503,
    errors.ContentDamaged: 503,
    errors.ReadOnly: 503,
    errors.Starting: 503,
    errors.Busy: 503,
    errors.ClusterFull: 507,
    # Between processes: what the caller sees of it is that it does not work now
    errors.BadRecord: 500,
    errors.BadFrame: 503,
    errors.HandshakeFailed: 503,
    errors.CallTimeout: 503,
    errors.Unreachable: 503,
    errors.UnknownMethod: 500,
    errors.BadCapability: 503,
    errors.BadReceipt: 422,
    errors.ChunkNotHeld: 503,
    errors.ChunkDamaged: 503,
    errors.DiskFull: 507,
    errors.NoRoom: 507,
    errors.NodeFenced: 503,
    errors.StaleOrder: 503,
    # At start
    errors.ConfigInvalid: 500,
    errors.DirectoryRefused: 500,
    errors.FormatTooNew: 500,
    errors.PortTaken: 500,
    errors.StoreStopped: 503,
    errors.StoreFull: 507,
}
"""Every failure's status. A new failure gets its line here; a test counts them."""

_ENVELOPE = frozenset({"type", "title", "status", "detail", "code", "request_id"})

_WITHOUT_CODE: dict[int, type[Failure]] = {
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    408: errors.RequestTimeout,
    502: errors.Busy,
    503: errors.Busy,
    504: errors.Busy,
}


class Problem(msgspec.Struct, frozen=True):
    """What every refusal says, as it stands in OpenAPI; a failure's own fields come on top."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


def status_of(failure: Failure | type[Failure]) -> int:
    """The HTTP status that a failure is answered with; that of its nearest ancestor if unlisted."""
    kind = failure if isinstance(failure, type) else type(failure)
    for ancestor in kind.__mro__:
        if ancestor in STATUS:
            return STATUS[ancestor]
    return 500


def problem_of(failure: Failure, request_id: str) -> dict[str, Any]:
    """The problem document of a failure, ready for JSON."""
    document: dict[str, Any] = {
        "type": f"/api/docs#{failure.code}",
        "title": title_of(type(failure)),
        "status": status_of(failure),
        "detail": str(failure),
        "code": failure.code,
    }
    document.update(failure.fields())
    document["request_id"] = request_id
    return document


def title_of(kind: type[Failure]) -> str:
    """A failure's code, in words."""
    return kind.code.replace("_", " ").capitalize()


def failure_of(status: int, document: bytes | Mapping[str, Any]) -> Failure:
    """The failure behind an answer that is no success.

    A document that is not ours (a proxy's page, a cut one) becomes the failure that fits its
    status, else Internal.
    """
    values = _as_mapping(document)
    code = values.get("code")
    if not isinstance(code, str):
        return _by_status(status, values)
    fields = {name: value for name, value in values.items() if name not in _ENVELOPE}
    if code == errors.Internal.code:
        fields["request_id"] = values.get("request_id", "")
    try:
        return errors.failure_from(code, fields)
    except errors.BadRecord:
        return _by_status(status, values)


def _by_status(status: int, values: Mapping[str, Any]) -> Failure:
    kind = _WITHOUT_CODE.get(status)
    return errors.Internal(request_id=str(values.get("request_id", ""))) if kind is None else kind()


def _as_mapping(document: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(document, Mapping):
        return document
    try:
        decoded = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
