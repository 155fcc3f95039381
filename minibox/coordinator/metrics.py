"""What Prometheus is told, read from the live objects when it asks."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from minibox.coordinator.cluster import Cluster
from minibox.coordinator.membership import State


def coordinator_registry(cluster: Cluster, copies_made: Callable[[], int]) -> CollectorRegistry:
    """The metrics of one coordinator."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(_ClusterMetrics(cluster, copies_made))
    return registry


class _ClusterMetrics(Collector):
    def __init__(self, cluster: Cluster, copies_made: Callable[[], int]) -> None:
        self._cluster = cluster
        self._copies_made = copies_made

    def collect(self) -> Iterator[Metric]:
        cluster = self._cluster
        states = GaugeMetricFamily(
            "minibox_node_state", "1 for the state that a node is in", labels=["node", "state"]
        )
        chunks = GaugeMetricFamily("minibox_node_chunks", "Chunks on a node", labels=["node"])
        used = GaugeMetricFamily("minibox_node_used_bytes", "Bytes of chunks", labels=["node"])
        free = GaugeMetricFamily("minibox_node_free_bytes", "Free bytes", labels=["node"])
        for node, member in sorted(cluster.membership.members.items()):
            for state in State:
                states.add_metric([node, state.value], float(cluster.state(node) is state))
            chunks.add_metric([node], sum(disk.chunks for disk in member.disks))
            used.add_metric([node], sum(disk.used for disk in member.disks))
            free.add_metric([node], sum(disk.free for disk in member.disks))
        yield from (states, chunks, used, free)
        yield GaugeMetricFamily(
            "minibox_sequence", "The latest deciding transaction", value=cluster.sequence
        )
        yield GaugeMetricFamily("minibox_term", "Starts so far", value=cluster.lineage.term)
        yield GaugeMetricFamily(
            "minibox_repaired_copies", "Copies made since the start", value=self._copies_made()
        )
