"""cluster.yaml and the environment made into a Config: every setting, its default, its rules.

Every value in the file can be set by a variable, which then wins: ``cluster.replicas`` by
``MINIBOX_CLUSTER_REPLICAS``, node n1's capacity by ``MINIBOX_NODES_N1_CAPACITY``. Whatever is
wrong is refused before anything starts, with where it stands and what to write instead.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import msgspec

from minibox import config_source as source
from minibox.config_source import Listener, Scalar, Written, unknown
from minibox.errors import ConfigInvalid

VARIABLE_PREFIX = "MINIBOX"

Registration = Literal["open", "closed", "invite"]


class ClusterConfig(msgspec.Struct, frozen=True):
    """What all processes share. ``ack`` is how many durable copies make an acknowledgement."""

    name: str = "minibox"
    replicas: int = 3
    ack: int = 2
    secret_file: Path = Path("cluster.key")
    allow_plaintext: bool = False


class CoordinatorConfig(msgspec.Struct, frozen=True):
    """The metadata process. Units are in the names; ``None`` means without limit."""

    http: str = "tcp:8000:interface=127.0.0.1"
    cluster: str = "tcp:8001:interface=127.0.0.1"
    data: Path = Path("var/coordinator")
    suspect_seconds: float = 3
    down_seconds: float = 10
    lost_seconds: float = 600
    repair_seconds: float = 15
    lease_minutes: float = 60
    capability_minutes: float = 5
    grace_hours: float = 24
    trash_days: float = 30
    access_token_hours: float = 12
    refresh_token_days: float = 30
    bcrypt_cost: int = 12
    registration: Registration = "open"
    default_quota_bytes: int | None = None
    max_file_bytes: int | None = None


class NodeConfig(msgspec.Struct, frozen=True):
    """A storage process. ``capacity`` is its weight in bytes, ``reserve_bytes`` stay free."""

    id: str
    listen: str
    data: tuple[Path, ...]
    zone: str = "default"
    capacity: int = 100 * 1024**3
    reserve_bytes: int = 256 * 1024**2
    volume_bytes: int = 1024**3


class Config(msgspec.Struct, frozen=True):
    """The whole cluster as its owner wants it; nodes in the order of the file."""

    cluster: ClusterConfig
    coordinator: CoordinatorConfig
    nodes: dict[str, NodeConfig]


def load_config(path: Path, environment: Mapping[str, str]) -> Config:
    """The Config in the file at ``path``, changed by the environment; raises ConfigInvalid."""
    try:
        with path.open("rb") as file:
            content = file.read(source.MAX_CONFIG_BYTES + 1)
        text = content.decode()
    except FileNotFoundError:
        raise ConfigInvalid(str(path), "there is no such file; name one with -c") from None
    except OSError as problem:
        raise ConfigInvalid(str(path), f"can't be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise ConfigInvalid(str(path), "is not UTF-8 text") from problem
    if len(content) > source.MAX_CONFIG_BYTES:
        raise ConfigInvalid(str(path), f"is larger than {source.MAX_CONFIG_BYTES} bytes")
    return parse_config(text, path, environment)


def parse_config(text: str, path: Path, environment: Mapping[str, str]) -> Config:
    """The Config in ``text``, which was read from ``path``: relative paths start beside it."""
    return _Reader(source.read_yaml(text, str(path)), path, environment).config()


def demo_config(nodes: int, http_port: int = 8000) -> str:
    """A cluster.yaml for so many nodes on this machine, each in its own zone up to three."""
    replicas = min(nodes, 3)
    ack = min(2, max(1, replicas - 1))
    lines = [
        f"cluster: {{name: demo, replicas: {replicas}, ack: {ack}}}",
        "coordinator:",
        f'  http: "tcp:{http_port}:interface=127.0.0.1"',
        f'  cluster: "tcp:{http_port + 1}:interface=127.0.0.1"',
        "  data: var/coordinator",
        "nodes:",
    ]
    for number in range(1, nodes + 1):
        listen = f"tcp:{http_port + 100 + number}:interface=127.0.0.1"
        zone = "abc"[(number - 1) % 3]
        lines += [
            f"  n{number}:",
            f'    listen: "{listen}"',
            f"    data: [var/n{number}]",
            f"    zone: {zone}",
            "    capacity: 100GiB",
        ]
    return "\n".join(lines) + "\n"


_Reading = Callable[[Written], Any]
_Section = dict[str, _Reading]
_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class _Reader:
    """Reads one file: knows where each value came from until all of them have been checked."""

    def __init__(self, root: source.Mapping, path: Path, environment: Mapping[str, str]) -> None:
        self._root = root
        self._file = str(path)
        self._folder = path.parent.absolute()
        self._environment = environment
        self._used: set[str] = set()
        self._where: dict[tuple[str, ...], str] = {}
        self._listeners: list[tuple[str, Listener]] = []

    def config(self) -> Config:
        """Read all sections, then check what holds between them."""
        for name, (where, _) in self._root.items.items():
            if name not in Config.__struct_fields__:
                raise unknown(name, Config.__struct_fields__, where)
        nodes = self._nodes()
        cluster = self._cluster(len(nodes))
        coordinator = self._coordinator()
        self._check_variables(nodes)
        self._check_listeners(allow_plaintext=cluster.allow_plaintext)
        return Config(cluster, coordinator, nodes)

    def _cluster(self, nodes: int) -> ClusterConfig:
        values = self._section(
            ("cluster",),
            {
                "name": source.text,
                "replicas": partial(_at_least, 1),
                "ack": _ack,
                "secret_file": self._path,
                "allow_plaintext": source.truth,
            },
        )
        replicas = values.setdefault("replicas", ClusterConfig().replicas)
        if nodes < replicas:
            raise ConfigInvalid(
                self._place("cluster", "replicas"),
                f"{replicas} copies need {replicas} nodes and there are {nodes}; add nodes, or "
                f"write 'replicas: {max(nodes, 1)}'",
            )
        ack = values.get("ack", min(ClusterConfig().ack, replicas))
        values["ack"] = replicas if ack == "all" else ack
        if values["ack"] > replicas:
            raise ConfigInvalid(
                self._place("cluster", "ack"),
                f"'ack: {ack}' asks for more copies than 'replicas: {replicas}' makes",
            )
        values.setdefault("secret_file", self._folder / ClusterConfig().secret_file)
        return ClusterConfig(**values)

    def _coordinator(self) -> CoordinatorConfig:
        section = ("coordinator",)
        values = self._section(
            section,
            {
                "http": partial(self._endpoint, any_port=True),
                "cluster": self._endpoint,
                "data": self._path,
                "suspect_seconds": partial(_time, "s"),
                "down_seconds": partial(_time, "s"),
                "lost_seconds": partial(_time, "s"),
                "repair_seconds": partial(_time, "s"),
                "lease_minutes": partial(_time, "min"),
                "capability_minutes": partial(_time, "min"),
                "grace_hours": partial(_time, "h"),
                "trash_days": partial(_time, "d"),
                "access_token_hours": partial(_time, "h"),
                "refresh_token_days": partial(_time, "d"),
                "bcrypt_cost": _bcrypt_cost,
                "registration": _registration,
                "default_quota_bytes": _limit,
                "max_file_bytes": _limit,
            },
        )
        values.setdefault("data", self._folder / CoordinatorConfig().data)
        made = CoordinatorConfig(**values)
        for name in ("http", "cluster"):
            if name not in values:
                self._endpoint(Scalar(getattr(made, name), self._place(*section, name)))
        if not made.suspect_seconds < made.down_seconds < made.lost_seconds:
            raise ConfigInvalid(
                self._place(*section, "suspect_seconds", "down_seconds", "lost_seconds"),
                "suspect_seconds, down_seconds and lost_seconds have to rise in this order",
            )
        return made

    def _nodes(self) -> dict[str, NodeConfig]:
        where, written = self._root.items.get("nodes", (self._file, None))
        if written is None:
            raise ConfigInvalid(where, "there are no nodes; write 'nodes: {n1: {…}}'")
        if not isinstance(written, source.Mapping) or not written.items:
            raise ConfigInvalid(where, "expected nodes by name, as in 'n1: {listen: …}'")
        nodes: dict[str, NodeConfig] = {}
        variables: dict[str, str] = {}
        for name, (node_where, _) in written.items.items():
            if not _NODE_ID.fullmatch(name):
                raise ConfigInvalid(
                    node_where,
                    f"{name!r} can't name a node; use up to 63 letters, digits, '-', '_' and '.'",
                )
            twin = variables.setdefault(_variable("nodes", name), name)
            if twin != name:
                raise ConfigInvalid(node_where, f"{name!r} is too like {twin!r}; rename one")
            nodes[name] = self._node(name, node_where)
        return nodes

    def _node(self, name: str, where: str) -> NodeConfig:
        values = self._section(
            ("nodes", name),
            {
                "listen": self._endpoint,
                "data": self._paths,
                "zone": source.text,
                "capacity": source.size,
                "reserve_bytes": source.size,
                "volume_bytes": partial(_size_of_at_least, 16 * 1024**2),
            },
        )
        for key, example in (
            ("listen", '"tcp:8101:interface=127.0.0.1"'),
            ("data", f"[var/{name}]"),
        ):
            if key not in values:
                raise ConfigInvalid(
                    where, f"node {name!r} has no {key!r}; write '{key}: {example}'"
                )
        return NodeConfig(id=name, **values)

    def _section(self, section: tuple[str, ...], readings: _Section) -> dict[str, Any]:
        """The values written for ``section``, in the file or (first) in the environment."""
        written = self._written(section)
        for key, (where, _) in written.items():
            if key not in readings:
                raise unknown(key, readings, where)
        values = {}
        for key, read in readings.items():
            variable = _variable(*section, key)
            if variable in self._environment:
                self._used.add(variable)
                self._where[*section, key] = variable
                values[key] = read(Scalar(self._environment[variable], variable))
            elif key in written:
                where, value = written[key]
                self._where[*section, key] = where
                values[key] = read(value)
        return values

    def _written(self, section: tuple[str, ...]) -> dict[str, tuple[str, Written]]:
        found: Written = self._root
        for name in section:
            if not isinstance(found, source.Mapping) or name not in found.items:
                return {}
            where, found = found.items[name]
            self._where[section] = where
        if isinstance(found, source.Mapping):
            return found.items
        if isinstance(found, Scalar) and found.tag == "null":
            return {}
        raise ConfigInvalid(found.where, f"expected settings under {section[-1]!r}")

    def _place(self, *section_and_keys: str) -> str:
        """Where the first of these keys stands that was written, else the section or the file."""
        section, *keys = section_and_keys
        for key in keys:
            if (section, key) in self._where:
                return self._where[section, key]
        return self._where.get((section,), self._file)

    def _path(self, written: Written) -> Path:
        return self._folder / Path(source.text(written)).expanduser()

    def _paths(self, written: Written) -> tuple[Path, ...]:
        paths = tuple(self._folder / Path(each).expanduser() for each in source.texts(written))
        if not paths:
            raise ConfigInvalid(written.where, "a node needs at least one data directory")
        if len(set(paths)) != len(paths):
            raise ConfigInvalid(written.where, "a data directory stands twice")
        return paths

    def _endpoint(self, written: Written, *, any_port: bool = False) -> str:
        description = source.text(written)
        listener = source.listener(description, written.where)
        if listener.kind != "unix" and listener.port == 0 and not any_port:
            raise ConfigInvalid(written.where, "port 0 won't do: the other processes must know it")
        self._listeners.append((written.where, listener))
        return description

    def _check_listeners(self, *, allow_plaintext: bool) -> None:
        for (first_where, first), (where, second) in combinations(self._listeners, 2):
            if first.collides_with(second):
                place = second.path or f"port {second.port}"
                raise ConfigInvalid(where, f"{place} is taken by {first_where} already")
        for where, listener in self._listeners:
            if not allow_plaintext and not listener.is_private:
                raise ConfigInvalid(
                    where,
                    "unencrypted beyond this machine; use a tls: endpoint, write "
                    "'interface=127.0.0.1', or set 'cluster: {allow_plaintext: true}'",
                )

    def _check_variables(self, nodes: dict[str, NodeConfig]) -> None:
        """Refuse a variable that looks like a setting and is none."""
        known = [
            *(_variable("cluster", key) for key in ClusterConfig.__struct_fields__),
            *(_variable("coordinator", key) for key in CoordinatorConfig.__struct_fields__),
            *(
                _variable("nodes", node, key)
                for node in nodes
                for key in NodeConfig.__struct_fields__[1:]
            ),
        ]
        sections = tuple(_variable(section, "") for section in Config.__struct_fields__)
        for variable in sorted(self._environment):
            if variable.startswith(sections) and variable not in self._used:
                raise unknown(variable, known, variable)


def _variable(*names: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", "_".join((VARIABLE_PREFIX, *names)).upper())


def _at_least(least: int, written: Written) -> int:
    number = source.whole_number(written)
    if number < least:
        raise ConfigInvalid(written.where, f"expected at least {least}")
    return number


def _size_of_at_least(least: int, written: Written) -> int:
    number = source.size(written)
    if number < least:
        raise ConfigInvalid(written.where, f"expected at least {least} bytes")
    return number


def _ack(written: Written) -> int | str:
    if isinstance(written, Scalar) and written.text == "all":
        return "all"
    try:
        return _at_least(1, written)
    except ConfigInvalid as problem:
        raise ConfigInvalid(written.where, "expected 1, 2, … or 'all'") from problem


def _time(unit: str, written: Written) -> float:
    value = source.duration(written, unit)
    if value <= 0:
        raise ConfigInvalid(written.where, "expected more than nothing")
    return value


def _bcrypt_cost(written: Written) -> int:
    cost = source.whole_number(written)
    if not 4 <= cost <= 16:  # noqa: PLR2004  what bcrypt takes; above 16 a login takes seconds
        raise ConfigInvalid(written.where, "expected a cost from 4 to 16; 12 is a good one")
    return cost


def _registration(written: Written) -> Registration:
    match source.text(written):
        case "open":
            return "open"
        case "closed":
            return "closed"
        case "invite":
            return "invite"
        case other:
            raise ConfigInvalid(written.where, f"expected open, closed or invite, not {other!r}")


def _limit(written: Written) -> int | None:
    if isinstance(written, Scalar) and (written.tag == "null" or written.text == "none"):
        return None
    return source.size(written)
