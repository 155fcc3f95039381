"""What the owner wrote, and where: YAML with the line of every key, and environment variables.

Plain YAML loading forgets lines and lets a key stand twice. Here every value keeps its place, so
that each refusal can say where it is and what to write instead.
"""

import difflib
import re
from collections.abc import Iterable

import msgspec
import yaml

from minibox import endpoint_strings
from minibox.errors import ConfigInvalid

MAX_CONFIG_BYTES = 4 * 1024 * 1024
_MAX_DEPTH = 8

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]i?)?B?", re.IGNORECASE)
_SIZE_UNITS = {
    letter + binary: base ** (power + 1)
    for binary, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("kmgtp")
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_DURATION_UNITS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}
_ENDPOINT_KINDS = {"tcp", "tcp6", "ssl", "tls", "unix"}
_MAX_PORT = 65535
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")


class Scalar(msgspec.Struct, frozen=True):
    """A value as it was written. ``tag`` is YAML's idea of it; None from the environment."""

    text: str
    where: str
    tag: str | None = None


class Sequence(msgspec.Struct, frozen=True):
    """A list as it was written."""

    items: tuple["Written", ...]
    where: str


class Mapping(msgspec.Struct, frozen=True):
    """Keys, each with where it stands, and values."""

    items: dict[str, tuple[str, "Written"]]
    where: str


Written = Scalar | Sequence | Mapping


class Listener(msgspec.Struct, frozen=True):
    """Where a Twisted server endpoint string listens. ``interface`` is empty for all of them."""

    kind: str
    port: int
    interface: str
    path: str = ""

    @property
    def is_private(self) -> bool:
        """Whether what it carries is encrypted or never leaves the machine."""
        return self.kind not in {"tcp", "tcp6"} or bool(_LOOPBACK.fullmatch(self.interface))

    def collides_with(self, other: "Listener") -> bool:
        """Whether the two can't listen at the same time."""
        if self.kind == "unix" or other.kind == "unix":
            return self.kind == other.kind and self.path == other.path
        everywhere = {"", "0.0.0.0", "::"}  # noqa: S104  recognised, not listened on
        return self.port == other.port != 0 and (
            self.interface == other.interface
            or bool(everywhere & {self.interface, other.interface})
        )


def read_yaml(text: str, file: str) -> Mapping:
    """The mapping in a YAML document; ConfigInvalid with the line where it is not one."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        raise ConfigInvalid(where, problem.problem or "not YAML") from problem
    except (yaml.YAMLError, RecursionError) as problem:
        raise ConfigInvalid(file, "not YAML: " + " ".join(str(problem).split())) from problem
    if root is None:
        return Mapping({}, file)
    written = _written(root, file, depth=0)
    if not isinstance(written, Mapping):
        raise ConfigInvalid(written.where, "expected 'cluster:', 'coordinator:' and 'nodes:'")
    return written


def _written(node: yaml.Node, file: str, depth: int) -> Written:
    where = f"{file}:{node.start_mark.line + 1}"
    if depth > _MAX_DEPTH:
        raise ConfigInvalid(where, "too deeply nested")
    if isinstance(node, yaml.ScalarNode):
        return Scalar(node.value, where, node.tag.rpartition(":")[2])
    if isinstance(node, yaml.SequenceNode):
        return Sequence(tuple(_written(each, file, depth + 1) for each in node.value), where)
    items: dict[str, tuple[str, Written]] = {}
    for key, value in node.value:
        key_where = f"{file}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigInvalid(key_where, "a key has to be a word")
        if key.value in items:
            first = items[key.value][0].rpartition(":")[2]
            raise ConfigInvalid(key_where, f"{key.value!r} stands in line {first} already")
        items[key.value] = (key_where, _written(value, file, depth + 1))
    return Mapping(items, where)


def unknown(what: str, known: Iterable[str], where: str) -> ConfigInvalid:
    """The refusal of a name, with the known name that was perhaps meant."""
    choices = sorted(known)
    close = difflib.get_close_matches(what, choices, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(choices)}"
    return ConfigInvalid(where, f"unknown key {what!r}; {advice}")


def scalar(written: Written, expected: str) -> Scalar:
    """``written`` as one value; ConfigInvalid where it is a list, a mapping or nothing."""
    if not isinstance(written, Scalar) or written.tag == "null":
        raise ConfigInvalid(written.where, f"expected {expected}")
    return written


def text(written: Written) -> str:
    """A piece of text. What YAML takes for a number or a truth value has to be quoted."""
    value = scalar(written, "text")
    if value.tag not in {None, "str"}:
        raise ConfigInvalid(value.where, f"expected text; put it in quotes: '{value.text}'")
    if not value.text.strip():
        raise ConfigInvalid(value.where, "expected some text")
    return value.text


def texts(written: Written) -> tuple[str, ...]:
    """A list of texts; in the environment separated by commas."""
    if isinstance(written, Sequence):
        return tuple(text(each) for each in written.items)
    if isinstance(written, Scalar) and written.tag is None:
        return tuple(part.strip() for part in written.text.split(",") if part.strip())
    raise ConfigInvalid(written.where, "expected a list, as in [first, second]")


def whole_number(written: Written) -> int:
    """A whole number of at least zero, in decimal digits."""
    value = scalar(written, "a whole number")
    if value.tag not in {None, "int"} or not re.fullmatch(r"\d{1,18}", value.text):
        raise ConfigInvalid(value.where, f"expected a whole number, not {value.text!r}")
    return int(value.text)


def truth(written: Written) -> bool:
    """``true`` or ``false``."""
    value = scalar(written, "true or false")
    if value.tag not in {None, "bool"} or value.text.lower() not in {"true", "false"}:
        raise ConfigInvalid(value.where, f"expected true or false, not {value.text!r}")
    return value.text.lower() == "true"


def size(written: Written) -> int:
    """Bytes: a plain number, or with a unit, decimal (10GB) or binary (100GiB)."""
    value = scalar(written, "a size such as 100GiB")
    match = _SIZE.fullmatch(value.text.strip())
    if match is None:
        raise ConfigInvalid(value.where, f"expected a size such as 100GiB, not {value.text!r}")
    number, unit = match.groups()
    return int(float(number) * _SIZE_UNITS[unit.lower()]) if unit else int(float(number))


def duration(written: Written, unit: str) -> float:
    """A time in ``unit``: a plain number means that unit, others may be written (10min)."""
    value = scalar(written, f"a time such as 10{unit}")
    match = _DURATION.fullmatch(value.text.strip())
    if match is None or (match[2] and match[2] not in _DURATION_UNITS):
        known = ", ".join(_DURATION_UNITS)
        raise ConfigInvalid(
            value.where, f"expected a time such as 10{unit} ({known}), not {value.text!r}"
        )
    return float(match[1]) * _DURATION_UNITS[match[2] or unit] / _DURATION_UNITS[unit]


def listener(description: str, where: str) -> Listener:
    """What a Twisted server endpoint string says; ConfigInvalid where it can't be one."""
    kind, positional, named = endpoint_strings.parse(description)
    example = "write it like tcp:8000:interface=127.0.0.1"
    if kind not in _ENDPOINT_KINDS or len(positional) > 1:
        raise ConfigInvalid(where, f"{description!r} is no endpoint; {example}")
    address = positional[0] if positional else named.get("port", named.get("address", ""))
    if kind == "unix":
        if not address:
            raise ConfigInvalid(where, f"{description!r} names no path")
        return Listener(kind, 0, "", address)
    if not re.fullmatch(r"\d{1,5}", address) or int(address) > _MAX_PORT:
        raise ConfigInvalid(where, f"{description!r} has no port from 0 to {_MAX_PORT}; {example}")
    return Listener(kind, int(address), named.get("interface", ""))
