"""Whether the cluster can serve, and why not."""

from minibox.coordinator.cluster import Cluster
from minibox.coordinator.membership import State

GRACE_SECONDS = 2.0
"""So long after the start a node that has not been heard of may still be on its way."""


class Readiness:
    """Judges the cluster as it is now."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._began = cluster.now

    def reason_against(self) -> str | None:
        """Why uploads and downloads would not work now; None when they do."""
        cluster = self._cluster
        states = {node: cluster.state(node) for node in cluster.membership.members}
        up = sum(state is State.UP for state in states.values())
        needed = cluster.needed_nodes()
        if up < needed:
            return f"{up} of the {needed} storage nodes needed are up"
        unheard = [
            node for node in sorted(states) if cluster.membership.members[node].heard is None
        ]
        if unheard and cluster.now - self._began < GRACE_SECONDS:
            return f"waiting for {', '.join(unheard)}"
        return None
