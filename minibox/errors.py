"""Every way to fail that a caller can act on.

A failure has a stable ``code``, typed fields and a sentence made from them. It crosses the RPC and
HTTP wires as (code, fields) and is raised on the other side as the same class. Bugs are not here:
they stay plain exceptions and become ``internal``.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import msgspec


@dataclass(eq=False)
class Failure(Exception):
    """The root of all declared failures. Subclasses add fields and a sentence about them."""

    code: ClassVar[str] = "failure"
    sentence: ClassVar[str] = "The request failed."

    def __str__(self) -> str:
        """The sentence for people, with this failure's own fields filled in."""
        return self.sentence.format(**self.fields())

    def fields(self) -> dict[str, Any]:
        """The fields by name, as they cross a wire."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_fields(cls, values: dict[str, Any]) -> Self:
        """Rebuild from the wire; a field of the wrong type becomes :class:`BadRecord`."""
        known = {each.name: each.type for each in fields(cls)}
        try:
            return cls(
                **{
                    name: msgspec.convert(value, known[name])
                    for name, value in values.items()
                    if name in known
                }
            )
        except (msgspec.ValidationError, TypeError) as problem:
            raise BadRecord(kind=cls.code, reason=str(problem)) from problem


def failure_from(code: str, values: dict[str, Any]) -> Failure:
    """The failure that crossed a wire as ``code`` and ``values``; an unknown code is Internal."""
    kind = _BY_CODE.get(code)
    if kind is None:
        return Internal(request_id=str(values.get("request_id", "")))
    return kind.from_fields(values)


# What the caller sent


@dataclass(eq=False)
class ValidationFailed(Failure):
    """A value was refused; ``field`` names it."""

    code = "validation_failed"
    sentence = "{field}: {reason}."
    field: str
    reason: str


@dataclass(eq=False)
class MissingFile(Failure):
    """A form upload came without its file part."""

    code = "missing_file"
    sentence = "The form has no part called 'file'."


@dataclass(eq=False)
class NothingToUpdate(Failure):
    """An update named no field to change."""

    code = "nothing_to_update"
    sentence = "Name at least one of the fields that can be changed."


@dataclass(eq=False)
class BadCursor(Failure):
    """A cursor could not be read."""

    code = "bad_cursor"
    sentence = "That cursor is not one of ours."


@dataclass(eq=False)
class RequestTimeout(Failure):
    """The caller was too slow to send its request."""

    code = "request_timeout"
    sentence = "The request took too long to arrive."


@dataclass(eq=False)
class MethodNotAllowed(Failure):
    """The address exists, the verb does not."""

    code = "method_not_allowed"
    sentence = "This address answers {allowed}."
    allowed: str


@dataclass(eq=False)
class LengthRequired(Failure):
    """The body's length has to be declared here."""

    code = "length_required"
    sentence = "Send a Content-Length."


@dataclass(eq=False)
class HeadersTooLarge(Failure):
    """The request's headers are larger than allowed."""

    code = "headers_too_large"
    sentence = "The headers are larger than {limit} bytes."
    limit: int


@dataclass(eq=False)
class PreconditionFailed(Failure):
    """An If-Match or If-None-Match did not hold."""

    code = "precondition_failed"
    sentence = "The file is not in the state that the request named; it is {head!r}."
    head: str = ""


@dataclass(eq=False)
class TooLarge(Failure):
    """The body is larger than allowed."""

    code = "too_large"
    sentence = "The body is larger than {limit} bytes."
    limit: int


@dataclass(eq=False)
class TypeNotAllowed(Failure):
    """The media type is not accepted here."""

    code = "type_not_allowed"
    sentence = "{content_type!r} is not accepted here; send {expected}."
    content_type: str
    expected: str


@dataclass(eq=False)
class BadRange(Failure):
    """No byte of the asked ranges exists."""

    code = "bad_range"
    sentence = "The content has {size} bytes; the range asks for others."
    size: int


@dataclass(eq=False)
class ChecksumMismatch(Failure):
    """The bytes that arrived are not the bytes that were announced."""

    code = "checksum_mismatch"
    sentence = "The content's SHA-256 is {actual}, not {expected}."
    expected: str
    actual: str


# Who asks


@dataclass(eq=False)
class Unauthenticated(Failure):
    """No usable credential came with the request."""

    code = "unauthenticated"
    sentence = "Log in first."


@dataclass(eq=False)
class TokenExpired(Failure):
    """The token was good once."""

    code = "token_expired"
    sentence = "The token has expired; refresh it or log in again."


@dataclass(eq=False)
class TokenRevoked(Failure):
    """The token's session has ended."""

    code = "token_revoked"
    sentence = "The session of this token has ended; log in again."


@dataclass(eq=False)
class BadCredentials(Failure):
    """Unknown user or wrong password: never says which."""

    code = "bad_credentials"
    sentence = "The name or the password is wrong."


@dataclass(eq=False)
class Forbidden(Failure):
    """Known to the caller, but not his to do."""

    code = "forbidden"
    sentence = "You may not do that."


@dataclass(eq=False)
class AccountDisabled(Failure):
    """The account exists and may not be used."""

    code = "account_disabled"
    sentence = "This account is disabled."


@dataclass(eq=False)
class LinkPasswordRequired(Failure):
    """The shared link asks for a password, or for another one."""

    code = "link_password_required"
    sentence = "This link needs its password."


@dataclass(eq=False)
class ReadOnlyShare(Failure):
    """The share lets the caller read, not write."""

    code = "read_only_share"
    sentence = "This share is for reading only."


@dataclass(eq=False)
class CsrfRefused(Failure):
    """A request with a session cookie came without its CSRF header."""

    code = "csrf"
    sentence = "The CSRF header is missing or wrong."


@dataclass(eq=False)
class RegistrationClosed(Failure):
    """Only an admin makes accounts here."""

    code = "registration_closed"
    sentence = "Accounts are made by an administrator here."


# What it is about


@dataclass(eq=False)
class NotFound(Failure):
    """There is no such thing, or the caller may not know of it."""

    code = "not_found"
    sentence = "There is no such {what}."
    what: str = "thing"


@dataclass(eq=False)
class AlreadyExists(Failure):
    """A thing of that name exists."""

    code = "already_exists"
    sentence = "{what} exists already."
    what: str


@dataclass(eq=False)
class NameConflict(Failure):
    """Another entry of the folder has that name, or one that folds to it."""

    code = "name_conflict"
    sentence = "{path!r} exists already."
    path: str


@dataclass(eq=False)
class VersionConflict(Failure):
    """Somebody else wrote first; ``head`` is the version now, as in an ETag."""

    code = "version_conflict"
    sentence = "The file has changed; its head is {head!r}."
    head: str


@dataclass(eq=False)
class NotEmpty(Failure):
    """A folder has to be empty for that."""

    code = "not_empty"
    sentence = "The folder is not empty."


@dataclass(eq=False)
class LayoutChanged(Failure):
    """The layout is no longer the one that the caller saw."""

    code = "layout_changed"
    sentence = "The layout's version is {version} now."
    version: int


@dataclass(eq=False)
class ShareExpired(Failure):
    """The share has ended, by date or by number of downloads."""

    code = "share_expired"
    sentence = "This link is no longer valid."


@dataclass(eq=False)
class UploadExpired(Failure):
    """The lease of the upload has run out."""

    code = "upload_expired"
    sentence = "The upload's lease has run out; begin again."


@dataclass(eq=False)
class VersionExpired(Failure):
    """The version was thinned away by the retention policy."""

    code = "version_expired"
    sentence = "The content of that version is no longer kept."


@dataclass(eq=False)
class CursorReset(Failure):
    """The cursor is of another lineage or too old: list the tree anew."""

    code = "cursor_reset"
    sentence = "That cursor is too old; begin again from the tree."


@dataclass(eq=False)
class ChunkMissing(Failure):
    """Chunks named by a commit are not held durably by enough nodes; ``ids`` in hex."""

    code = "chunk_missing"
    sentence = "Some chunks are not stored durably on enough nodes; send them again."
    ids: list[str]


@dataclass(eq=False)
class IdempotencyMismatch(Failure):
    """One idempotency key came with two different requests."""

    code = "idempotency_mismatch"
    sentence = "That Idempotency-Key was used for another request."


@dataclass(eq=False)
class Locked(Failure):
    """Somebody holds a lock on the file."""

    code = "locked"
    sentence = "The file is locked by {holder!r}."
    holder: str


@dataclass(eq=False)
class QuotaExceeded(Failure):
    """The owner's quota has no room for this."""

    code = "quota_exceeded"
    sentence = "The quota of {limit} bytes has {available} bytes left."
    limit: int
    available: int


# What the cluster can't do now


@dataclass(eq=False)
class RateLimited(Failure):
    """Too many tries."""

    code = "rate_limited"
    sentence = "Too many requests; try again in {retry_after} s."
    retry_after: int


@dataclass(eq=False)
class Internal(Failure):
    """A bug; the log has it under the request id."""

    code = "internal"
    sentence = "Something went wrong here; the log has it under {request_id!r}."
    request_id: str = ""


@dataclass(eq=False)
class RecordDamaged(Failure):
    """A stored record fails its checksum: neither absence nor a value."""

    code = "record_damaged"
    sentence = "A stored {kind} record is damaged."
    kind: str


@dataclass(eq=False)
class NotEnoughNodes(Failure):
    """Fewer storage nodes are up than the request needs."""

    code = "not_enough_nodes"
    sentence = "{needed} storage nodes are needed and {available} can be used now."
    needed: int
    available: int


@dataclass(eq=False)
class ContentDamaged(Failure):
    """No holder has a good copy of a chunk of this file now."""

    code = "content_damaged"
    sentence = "No good copy of part of {path!r} can be read now."
    path: str


@dataclass(eq=False)
class ReadOnly(Failure):
    """Nothing is written now."""

    code = "read_only"
    sentence = "The cluster takes no changes now: {reason}."
    reason: str


@dataclass(eq=False)
class Starting(Failure):
    """The coordinator has not heard from enough nodes yet."""

    code = "starting"
    sentence = "The cluster is starting."


@dataclass(eq=False)
class Busy(Failure):
    """A bounded queue is full."""

    code = "busy"
    sentence = "Too much is waiting here; try again in a moment."


@dataclass(eq=False)
class ClusterFull(Failure):
    """No disk has room."""

    code = "cluster_full"
    sentence = "The storage nodes have no room for this."


# Between processes


@dataclass(eq=False)
class BadRecord(Failure):
    """Bytes from outside are not a well-formed record of the expected kind."""

    code = "bad_record"
    sentence = "Not a {kind} record: {reason}."
    kind: str
    reason: str


@dataclass(eq=False)
class BadFrame(Failure):
    """The other side broke the frame protocol; its connection ends."""

    code = "bad_frame"
    sentence = "The frame protocol was broken: {reason}."
    reason: str


@dataclass(eq=False)
class HandshakeFailed(Failure):
    """The other side could not prove that it belongs to this cluster."""

    code = "handshake_failed"
    sentence = "The handshake failed: {reason}."
    reason: str


@dataclass(eq=False)
class CallTimeout(Failure):
    """No answer came within the deadline."""

    code = "call_timeout"
    sentence = "{method} was not answered within its deadline."
    method: str


@dataclass(eq=False)
class Unreachable(Failure):
    """The connection was refused, cut or never made."""

    code = "unreachable"
    sentence = "{peer} can't be reached: {reason}."
    peer: str
    reason: str


@dataclass(eq=False)
class UnknownMethod(Failure):
    """The other side does not offer that call to this caller."""

    code = "unknown_method"
    sentence = "{method!r} is not offered here."
    method: str


@dataclass(eq=False)
class BadCapability(Failure):
    """A capability is forged, expired or for something else."""

    code = "bad_capability"
    sentence = "The capability does not allow that: {reason}."
    reason: str


@dataclass(eq=False)
class BadReceipt(Failure):
    """A receipt does not verify."""

    code = "bad_receipt"
    sentence = "A receipt does not verify."


@dataclass(eq=False)
class ChunkNotHeld(Failure):
    """This node has no copy of the chunk (hex)."""

    code = "chunk_not_held"
    sentence = "No copy of chunk {chunk} is here."
    chunk: str


@dataclass(eq=False)
class ChunkDamaged(Failure):
    """This node's copy of the chunk (hex) is bad and is in quarantine."""

    code = "chunk_damaged"
    sentence = "The copy of chunk {chunk} here is damaged."
    chunk: str


@dataclass(eq=False)
class DiskFull(Failure):
    """No data directory of this node has room above its reserve."""

    code = "disk_full"
    sentence = "No disk of node {node} has room."
    node: str


@dataclass(eq=False)
class NodeFenced(Failure):
    """The node has no fresh answer from its coordinator and takes no orders or writes."""

    code = "node_fenced"
    sentence = "Node {node} has not heard from its coordinator."
    node: str


@dataclass(eq=False)
class StaleOrder(Failure):
    """An order of a lower term or sequence than the node has obeyed."""

    code = "stale_order"
    sentence = "The order is older than what this node has obeyed."


# At start


@dataclass(eq=False)
class ConfigInvalid(Failure):
    """cluster.yaml or the environment can't be used; says where and what to write."""

    code = "config_invalid"
    sentence = "{where}: {reason}"
    where: str
    reason: str


@dataclass(eq=False)
class DirectoryRefused(Failure):
    """A data directory belongs to another cluster, node or process."""

    code = "directory_refused"
    sentence = "{directory}: {reason}"
    directory: str
    reason: str


@dataclass(eq=False)
class FormatTooNew(Failure):
    """Data written by a newer minibox."""

    code = "format_too_new"
    sentence = "{directory} has format {found}; this minibox reads up to {known}."
    directory: str
    found: int
    known: int


@dataclass(eq=False)
class PortTaken(Failure):
    """Somebody listens there already."""

    code = "port_taken"
    sentence = "Can't listen on {endpoint}: {reason}."
    endpoint: str
    reason: str


@dataclass(eq=False)
class StoreStopped(Failure):
    """A sync failed: this process acknowledges nothing more."""

    code = "store_stopped"
    sentence = "A write to {directory} could not be made durable; the process stops: {reason}."
    directory: str
    reason: str


@dataclass(eq=False)
class NoRoom(Failure):
    """A write did not fit on its disk; nothing of it stays there."""

    code = "no_room"
    sentence = "{directory} has no room for that."
    directory: str


@dataclass(eq=False)
class StoreFull(Failure):
    """The metadata disk has no room; deletes still work."""

    code = "store_full"
    sentence = "The metadata disk is full."


def _all_kinds(root: type[Failure]) -> list[type[Failure]]:
    return [root, *(deeper for kind in root.__subclasses__() for deeper in _all_kinds(kind))]


_BY_CODE: dict[str, type[Failure]] = {kind.code: kind for kind in _all_kinds(Failure)}
