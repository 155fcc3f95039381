"""The cluster seen from outside: health, metrics, nodes, layout."""

from importlib.metadata import version as installed_version
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from minibox.coordinator import accounts, holders, namespaces
from minibox.coordinator.authentication import Caller
from minibox.coordinator.cluster import Cluster
from minibox.coordinator.http.call import Call, Reply
from minibox.coordinator.http.routing import Router
from minibox.coordinator.membership import Member, State
from minibox.coordinator.readiness import Readiness
from minibox.http_api import cluster as api
from minibox.ring import PARTITIONS, ideal_shares
from minibox.store import Reader, Store


class ClusterPages:
    """The handlers of /health, /metrics and /api/admin."""

    def __init__(
        self, store: Store, cluster: Cluster, readiness: Readiness, registry: CollectorRegistry
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._readiness = readiness
        self._registry = registry

    def bind(self, router: Router[Caller]) -> None:
        """Offer the routes."""
        router.bind(api.LIVE, self.live)
        router.bind(api.READY, self.ready)
        router.bind(api.METRICS, self.metrics)
        router.bind(api.CLUSTER, self.cluster)
        router.bind(api.NODES, self.nodes)
        router.bind(api.LAYOUT, self.layout)

    async def live(self, _call: Call[Any, None, None]) -> api.Live:
        """GET /health/live."""
        return api.Live()

    async def ready(self, _call: Call[Any, None, None]) -> Reply[api.Ready]:
        """GET /health/ready."""
        reason = self._readiness.reason_against()
        cluster = self._cluster
        ready = api.Ready(
            ready=reason is None,
            nodes_up=len(cluster.membership.up(cluster.now)),
            nodes=len(cluster.membership.members),
            reason=reason,
        )
        return Reply(ready, status=200 if reason is None else 503)

    async def metrics(self, _call: Call[Any, None, None]) -> Reply[None]:
        """GET /metrics."""
        return Reply(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)

    async def cluster(self, _call: Call[Caller, None, None]) -> api.ClusterFacts:
        """GET /api/admin/cluster."""
        cluster, config = self._cluster, self._cluster.config.cluster
        disks = [disk for each in cluster.membership.members.values() for disk in each.disks]
        capacity = sum(disk.total for disk in disks)
        free = sum(disk.free for disk in disks)
        logical, users, owed, counted = self._store.read(_totals)
        width = cluster.layout.width
        return api.ClusterFacts(
            name=config.name,
            version=installed_version("minibox"),
            term=cluster.lineage.term,
            sequence=cluster.sequence,
            replicas=config.replicas,
            ack=config.ack,
            layout=cluster.layout.number,
            capacity_bytes=capacity,
            used_bytes=sum(disk.used for disk in disks),
            free_bytes=free,
            usable_bytes=free // width,
            logical_bytes=logical,
            chunks=counted,
            copies=_histogram(owed, counted, config.replicas),
            debt=sum(owed.values()),
            users=users,
            warnings=self._warnings(),
        )

    async def nodes(self, _call: Call[Caller, None, None]) -> api.NodePage:
        """GET /api/admin/nodes."""
        cluster = self._cluster
        members = {member.node: member for member in cluster.layout.members}
        items = []
        for name, seen in sorted(cluster.membership.members.items()):
            items.append(
                api.NodeFacts(
                    id=name,
                    state=cluster.state(name).value,
                    zone=members[name].zone,
                    listen=cluster.endpoints.get(name, ""),
                    capacity=members[name].capacity,
                    used=sum(disk.used for disk in seen.disks),
                    free=sum(disk.free for disk in seen.disks),
                    chunks=sum(disk.chunks for disk in seen.disks),
                    heartbeat_age=_age(seen, cluster.now),
                    takes_writes=cluster.membership.takes_writes(name, cluster.now),
                    safe_to_remove=members[name].capacity == 0 and not self._holds_any(name),
                )
            )
        return api.NodePage(items)

    async def layout(self, _call: Call[Caller, None, None]) -> api.LayoutFacts:
        """GET /api/admin/layout."""
        layout = self._cluster.layout
        held: dict[str, int] = {}
        for replicas in layout.partitions:
            for node in replicas:
                held[node] = held.get(node, 0) + 1
        ideal = ideal_shares(layout.members, layout.replicas)
        return api.LayoutFacts(
            version=layout.number,
            replicas=layout.replicas,
            partitions=PARTITIONS,
            members=[
                api.LayoutMember(
                    member.node,
                    member.zone,
                    member.capacity,
                    held.get(member.node, 0),
                    round(float(ideal[member.node]), 3),
                )
                for member in layout.members
            ],
        )

    def _holds_any(self, node: str) -> bool:
        return any(disk.chunks for disk in self._cluster.membership.members[node].disks)

    def _warnings(self) -> list[str]:
        cluster = self._cluster
        said = [
            f"Node {node} is {cluster.state(node).value}."
            for node in sorted(cluster.membership.members)
            if cluster.state(node) is not State.UP
        ]
        outside = sorted(set(cluster.config.nodes) - set(cluster.membership.members))
        said += [f"Node {node} is in cluster.yaml and not in the layout." for node in outside]
        return said


def _age(member: Member, now: float) -> float | None:
    return None if member.heard is None else round(now - member.heard, 3)


def _totals(reader: Reader) -> tuple[int, int, dict[int, int], int]:
    logical = sum(each.used for each in namespaces.every(reader))
    users = sum(1 for _ in accounts.every(reader))
    owed: dict[int, int] = {}
    for _, debt in holders.debts(reader):
        owed[debt.have] = owed.get(debt.have, 0) + 1
    return logical, users, owed, holders.count(reader)


def _histogram(owed: dict[int, int], chunks: int, wanted: int) -> dict[str, int]:
    found = {str(have): number for have, number in sorted(owed.items())}
    found[str(wanted)] = found.get(str(wanted), 0) + chunks - sum(owed.values())
    return found
