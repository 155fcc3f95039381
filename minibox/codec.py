"""Values to MessagePack records and back: strict, bounded, with kind and version.

A record is the array ``[kind, version, *fields]``. Fields may be added at the end, with a default;
anything else is a new version. The decoder refuses what MessagePack allows and we never write:
extension types, NaN and infinities, duplicate keys, trailing bytes, deep nesting.
"""

import math
from typing import Any, ClassVar, NoReturn, TypeVar

import msgpack
import msgspec

from minibox.errors import BadRecord

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""No record is larger: a frame header is bounded far lower, a manifest segment too."""


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A value that is stored or sent. Subclasses set ``kind`` (short, unique) and ``version``."""

    kind: ClassVar[str]
    version: ClassVar[int] = 1


R = TypeVar("R", bound=Record)


def encode(record: Record) -> bytes:
    """The record's bytes."""
    values: list[Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    packed: bytes = msgpack.packb([record.kind, record.version, *values], use_bin_type=True)
    return packed


def decode(expected: type[R], packed: bytes) -> R:
    """The record in ``packed``. Anything but exactly one ``expected`` raises BadRecord."""
    values = unpack(packed)
    if not isinstance(values, list) or len(values) < 2 or values[0] != expected.kind:  # noqa: PLR2004
        raise BadRecord(kind=expected.kind, reason="another kind of record")
    if type(values[1]) is not int or values[1] != expected.version:
        raise BadRecord(kind=expected.kind, reason=f"version {values[1]!r} is not known")
    try:
        return msgspec.convert(values[2:], expected, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as problem:
        raise BadRecord(kind=expected.kind, reason=str(problem)) from problem


def unpack(packed: bytes) -> Any:  # noqa: ANN401
    """Plain values from untrusted MessagePack, or BadRecord and nothing else."""
    if len(packed) > MAX_RECORD_BYTES:
        raise BadRecord(kind="msgpack", reason=f"larger than {MAX_RECORD_BYTES} bytes")
    try:
        values = msgpack.unpackb(
            packed,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_no_duplicates,
            ext_hook=_no_extensions,
            list_hook=_only_plain,
        )
        return values if type(values) is list else _only_plain([values])[0]
    except BadRecord:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as problem:
        raise BadRecord(kind="msgpack", reason=str(problem) or type(problem).__name__) from problem


def _no_duplicates(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BadRecord(kind="msgpack", reason="a key stands twice")
    _only_plain(list(made.values()))
    return made


def _only_plain(values: list[Any]) -> list[Any]:
    for value in values:
        kind = type(value)
        if kind is float:
            if not math.isfinite(value):
                raise BadRecord(kind="msgpack", reason="a number is not finite")
        elif kind is msgpack.Timestamp:  # the one extension that the library makes itself
            _no_extensions(-1, b"")
    return values


def _no_extensions(code: int, _packed: bytes) -> NoReturn:
    raise BadRecord(kind="msgpack", reason=f"extension type {code}")
