"""The cluster seen from outside: health for anyone, nodes and layout for admins."""

from typing import Literal

import msgspec

from minibox.http_api.route import Route

TAGS = ("cluster",)

NodeState = Literal["up", "suspect", "down", "lost", "removed"]


class Live(msgspec.Struct):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(msgspec.Struct):
    """Whether uploads and downloads work now, and why not."""

    ready: bool
    nodes_up: int
    nodes: int
    reason: str | None = None


class ClusterFacts(msgspec.Struct):
    """Bytes are raw, over all copies, but ``usable_bytes`` and ``logical_bytes``.

    ``copies`` counts the chunks that lack copies by how many they have, and all others under the
    wanted number; ``debt`` is how many lack any.
    """

    name: str
    version: str
    term: int
    sequence: int
    replicas: int
    ack: int
    layout: int
    capacity_bytes: int
    used_bytes: int
    free_bytes: int
    usable_bytes: int
    logical_bytes: int
    chunks: int
    copies: dict[str, int]
    debt: int
    users: int
    warnings: list[str]


class NodeFacts(msgspec.Struct):
    """One storage node. ``heartbeat_age`` in seconds; null before the first heartbeat."""

    id: str
    state: NodeState
    zone: str
    listen: str
    capacity: int
    used: int
    free: int
    chunks: int
    heartbeat_age: float | None
    takes_writes: bool
    safe_to_remove: bool


class NodePage(msgspec.Struct):
    """All nodes of the layout."""

    items: list[NodeFacts]


class LayoutMember(msgspec.Struct):
    """A node in the layout, with the partitions that it should hold copies of."""

    node: str
    zone: str
    capacity: int
    partitions: int
    ideal: float


class LayoutFacts(msgspec.Struct):
    """The layout in force."""

    version: int
    replicas: int
    partitions: int
    members: list[LayoutMember]


LIVE = Route(
    name="live",
    method="GET",
    path="/health/live",
    tags=TAGS,
    access="anyone",
    summary="Whether the process answers",
    answer=Live,
)
READY = Route(
    name="ready",
    method="GET",
    path="/health/ready",
    tags=TAGS,
    access="anyone",
    summary="Whether the cluster can serve",
    answer=Ready,
    statuses=(503,),
)
METRICS = Route(
    name="metrics",
    method="GET",
    path="/metrics",
    tags=TAGS,
    access="anyone",
    summary="Prometheus metrics",
    media_type="text/plain",
)
CLUSTER = Route(
    name="cluster",
    method="GET",
    path="/api/admin/cluster",
    tags=TAGS,
    access="admin",
    summary="Space, copies and warnings",
    answer=ClusterFacts,
)
NODES = Route(
    name="nodes",
    method="GET",
    path="/api/admin/nodes",
    tags=TAGS,
    access="admin",
    summary="The storage nodes",
    answer=NodePage,
)
LAYOUT = Route(
    name="layout",
    method="GET",
    path="/api/admin/layout",
    tags=TAGS,
    access="admin",
    summary="The layout in force",
    answer=LayoutFacts,
)
