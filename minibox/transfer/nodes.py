"""Connections to storage nodes, by name, made when first needed."""

from collections.abc import Mapping, Sequence

from minibox.codec import R, Record
from minibox.errors import Unreachable
from minibox.rpc import Answer, Dialer, Identity, Part
from minibox.world import Clock, World


class Nodes:
    """Calls to nodes. :meth:`know` says where they are; a node that moves is dialled anew.

    With the cluster ``key`` both sides prove that they belong to it, and a node has to be the one
    that it is called; without, this side is a guest that shows capabilities.
    """

    def __init__(
        self,
        world: World,
        identity: Identity,
        key: bytes | None,
        *,
        cluster: str = "",
        connections: int = 1,
    ) -> None:
        self._world = world
        self._identity = identity
        self._key = key
        self._cluster = cluster
        self._connections = connections
        self._endpoints: dict[str, str] = {}
        self._dialers: dict[str, Dialer] = {}
        self._retired: list[Dialer] = []

    @property
    def clock(self) -> Clock:
        """The clock on which calls wait."""
        return self._world.clock

    def know(self, nodes: Mapping[str, str]) -> None:
        """Learn where nodes listen: names to Twisted endpoint strings."""
        for node, endpoint in nodes.items():
            if self._endpoints.get(node) != endpoint:
                self._endpoints[node] = endpoint
                former = self._dialers.pop(node, None)
                if former is not None:
                    self._retired.append(former)

    async def call(
        self,
        node: str,
        method: str,
        message: Record,
        answer: type[R],
        body: Sequence[Part] = (),
        *,
        deadline: float,
    ) -> Answer[R]:
        """Call a node; ``deadline`` in seconds. Unreachable, CallTimeout, or what it refuses."""
        dialer = self._dialers.get(node) or self._dial(node)
        return await dialer.call(method, message, answer, body, deadline=deadline)

    async def close(self) -> None:
        """End all connections."""
        for dialer in (*self._retired, *self._dialers.values()):
            await dialer.close()
        self._retired.clear()
        self._dialers.clear()

    def _dial(self, node: str) -> Dialer:
        endpoint = self._endpoints.get(node)
        if endpoint is None:
            raise Unreachable(node, "its address is not known")
        self._dialers[node] = Dialer(
            self._world,
            endpoint,
            self._identity,
            self._key,
            cluster=self._cluster,
            expected_name=node if self._key is not None else None,
            connections=self._connections,
        )
        return self._dialers[node]
