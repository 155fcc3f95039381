"""What an administrator asks of the cluster."""

from minibox.client.http import Http
from minibox.http_api.cluster import (
    CLUSTER,
    LAYOUT,
    NODES,
    ClusterFacts,
    LayoutFacts,
    NodeFacts,
)


class Admin:
    """The calls of role admin; others get Forbidden."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def cluster(self) -> ClusterFacts:
        """Space, copies and warnings."""
        return await self._http.call(CLUSTER)

    async def nodes(self) -> list[NodeFacts]:
        """The storage nodes."""
        return (await self._http.call(NODES)).items

    async def layout(self) -> LayoutFacts:
        """The layout in force."""
        return await self._http.call(LAYOUT)
