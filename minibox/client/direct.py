"""The way straight to the storage nodes, and whether it can be used from here."""

from collections.abc import Mapping
from ipaddress import ip_address

from twisted.internet.defer import Deferred, DeferredLock, gatherResults

from minibox import endpoint_strings
from minibox.errors import CallTimeout, Failure, Unreachable
from minibox.node_api import GET, Get, GetAnswer
from minibox.rpc import Identity
from minibox.transfer import Nodes
from minibox.world import World

PROBE_SECONDS = 2.0
AVOID_SECONDS = 60.0
"""Nodes that can't be reached are not tried again for so long."""


class Direct:
    """Connections to the nodes of one cluster, or the knowledge that there are none from here."""

    def __init__(self, world: World, server_host: str, *, enabled: bool) -> None:
        self.nodes = Nodes(world, Identity("guest", ""), None)
        self._clock = world.clock
        self._server_host = server_host
        self._enabled = enabled
        self._avoided_until = 0.0
        self._is_reached = False
        self._probing = DeferredLock()

    @property
    def may_work(self) -> bool:
        """Whether it is worth a try now."""
        return self._enabled and self._clock.seconds() >= self._avoided_until

    async def works(self, nodes: Mapping[str, str]) -> bool:
        """Learn where the nodes listen; whether at least one of them answers here."""
        near = reachable(nodes, self._server_host)
        self.nodes.know(near)
        if not near or not self.may_work:
            return False
        await self._probing.acquire()
        try:
            if not self._is_reached and self.may_work:
                await self.doubt(near)
        finally:
            self._probing.release()
        return self._is_reached

    async def doubt(self, nodes: Mapping[str, str]) -> None:
        """Something failed: ask the nodes again whether they are there."""
        probes: list[Deferred[object]] = [
            Deferred.fromCoroutine(self._answers(node)) for node in sorted(nodes)
        ]
        self._is_reached = any(await gatherResults(probes, consumeErrors=True))
        if not self._is_reached:
            self._avoided_until = self._clock.seconds() + AVOID_SECONDS

    async def close(self) -> None:
        """End the connections."""
        await self.nodes.close()

    async def _answers(self, node: str) -> bool:
        try:
            await self.nodes.call(node, GET, Get(()), GetAnswer, deadline=PROBE_SECONDS)
        except (Unreachable, CallTimeout):
            return False
        except Failure:
            return True  # it refuses a call for nothing, but it is there
        return True


def reachable(nodes: Mapping[str, str], server_host: str) -> dict[str, str]:
    """Nodes as this machine has to dial them. ``nodes`` are server endpoint strings by name.

    One that listens on every interface is sought where the coordinator is. One that listens on the
    loopback of another machine can't be reached: that address would be ours.
    """
    found = {}
    for node, listen in nodes.items():
        try:
            dialled = endpoint_strings.to_connect(listen, server_host)
        except ValueError:
            continue
        parsed = endpoint_strings.parse(dialled)
        host = parsed.positional[0] if parsed.positional else parsed.named.get("host", "")
        is_unix = parsed.kind == "unix"
        if _is_loopback(server_host) or not (is_unix or _is_loopback(host)):
            found[node] = dialled
    return found


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
