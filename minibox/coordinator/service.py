"""A coordinator, built in the order in which its parts need each other."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from twisted.logger import Logger

from minibox.config import Config
from minibox.coordinator import layouts, lineage
from minibox.coordinator.accounts import Names
from minibox.coordinator.authentication import Authentication, Caller
from minibox.coordinator.changes import Changes
from minibox.coordinator.cluster import Cluster
from minibox.coordinator.cluster_door import ClusterDoor
from minibox.coordinator.direct import Direct
from minibox.coordinator.homes import Homes
from minibox.coordinator.http.accounts import Accounts
from minibox.coordinator.http.cluster import ClusterPages
from minibox.coordinator.http.files import Files
from minibox.coordinator.http.folders import Folders
from minibox.coordinator.http.openapi import bind_description
from minibox.coordinator.http.routing import Router
from minibox.coordinator.http.site import Site
from minibox.coordinator.http.trash import Trash
from minibox.coordinator.http.uploads import Uploads
from minibox.coordinator.http.versions import Versions
from minibox.coordinator.inbound import Inbound
from minibox.coordinator.lineage import Lineage
from minibox.coordinator.logins import Logins
from minibox.coordinator.metrics import coordinator_registry
from minibox.coordinator.outbound import Outbound
from minibox.coordinator.passwords import Passwords
from minibox.coordinator.readiness import Readiness
from minibox.coordinator.repair import Repair
from minibox.coordinator.survey import Survey
from minibox.credentials import (
    AccessTokens,
    Capabilities,
    Receipts,
    Secret,
    cluster_id,
    derived_key,
)
from minibox.endpoint_strings import to_connect
from minibox.errors import DirectoryRefused
from minibox.ring import Layout, Member, build
from minibox.rpc import Identity, serve
from minibox.services import Listener, Periodic, listen
from minibox.store import Store, Writer
from minibox.transfer import Nodes
from minibox.world import World

NAME = "coordinator"
ADMIN = "admin"
REPAIR_SECONDS = 1.0
SURVEY_SECONDS = 1.0
LEASE_SECONDS = 5.0
FORGET_SECONDS = 5.0
RESERVE_SECONDS = lineage.SECONDS_AHEAD / 2
CLOSE_SECONDS = 5.0
NODE_CONNECTIONS = 2

_log = Logger()

FirstPassword = Callable[[], Awaitable[str]]
"""Gives the first administrator's password, and tells the owner what it is."""


class Coordinator:
    """A coordinator that serves. Stop it once."""

    def __init__(
        self,
        config: Config,
        store: Store,
        cluster: Cluster,
        listener: Listener,
        running: AsyncExitStack,
    ) -> None:
        self.store = store
        self.cluster = cluster
        self._config = config
        self._listener = listener
        self._running = running

    @property
    def port(self) -> int:
        """The HTTP port in use; 0 where there is none."""
        return self._listener.port

    @property
    def ready(self) -> str:
        """The line that says where it serves: ``http://127.0.0.1:8000``."""
        kind, *place = to_connect(self._config.coordinator.http).split(":")
        if kind == "unix":
            return f"ready coordinator on {':'.join((kind, *place))}"
        scheme = "https" if kind == "tls" else "http"
        return f"ready coordinator on {scheme}://{':'.join(place[:-1])}:{self.port}"

    async def stop(self) -> None:
        """Take no more requests, finish those that run, close the store."""
        await self._running.aclose()


async def start_coordinator(
    world: World,
    config: Config,
    cluster_key: Secret,
    open_store: Callable[[], Awaitable[Store]],
    first_password: FirstPassword,
) -> Coordinator:
    """Open the store, begin a term, listen for nodes and for people; returns when it serves.

    Nothing is left running by what it raises: DirectoryRefused, FormatTooNew, PortTaken and others.
    """
    settings, copies = config.coordinator, config.cluster.replicas
    clock = world.clock
    async with AsyncExitStack() as running:
        store = await open_store()
        running.push_async_callback(store.close)
        begun = await store.write(_begin(world, cluster_id(cluster_key), settings.data))
        layout = await _layout_in_force(store, config)

        nodes = Nodes(
            world,
            Identity("coordinator", NAME),
            derived_key(cluster_key, "handshake"),
            cluster=config.cluster.name,
            connections=NODE_CONNECTIONS,
        )
        running.push_async_callback(nodes.close)
        cluster = Cluster(
            world,
            config,
            store,
            begun,
            layout,
            nodes,
            Capabilities(derived_key(cluster_key, "capability")),
            Receipts(derived_key(cluster_key, "receipt")),
        )
        changes = Changes(world, store)
        homes = Homes(store, copies)
        inbound = Inbound(world, store, cluster, changes)
        outbound = Outbound(world, store, cluster)
        direct = Direct(world, store, cluster, changes)
        repair = Repair(clock, store, cluster)

        access_seconds = settings.access_token_hours * 3600
        tokens = AccessTokens(derived_key(cluster_key, "token"), access_seconds)
        passwords = Passwords(world, settings.bcrypt_cost)
        quota = settings.default_quota_bytes or 0
        logins = Logins(world, store, passwords, tokens, quota)
        if not logins.any_admin():
            await logins.register(Names(ADMIN, ""), await first_password(), role="admin")

        repairing = await _periodic(running, world, REPAIR_SECONDS, repair.turn)
        survey = Survey(clock, store, cluster)
        await _periodic(running, world, SURVEY_SECONDS, survey.turn)
        await _periodic(running, world, LEASE_SECONDS, direct.expire)
        await _periodic(running, world, FORGET_SECONDS, changes.forget_old)
        await _periodic(
            running,
            world,
            RESERVE_SECONDS,
            lambda: store.write(_reserve(cluster.seconds)),
        )

        door = ClusterDoor(clock, store, cluster, repairing.wake)
        listening = await serve(
            world,
            settings.cluster,
            Identity("coordinator", NAME),
            derived_key(cluster_key, "handshake"),
            door.methods(),
            cluster=config.cluster.name,
        )
        running.push_async_callback(listening.stop)

        router: Router[Caller] = Router(Authentication(clock, store, tokens))
        files = Files(clock, homes, changes, inbound, outbound, copies)
        files.bind(router)
        Folders(clock, homes, changes, files, copies).bind(router)
        Versions(clock, homes, changes, files, copies).bind(router)
        Trash(clock, homes, changes, copies).bind(router)
        Uploads(clock, homes, changes, direct, cluster).bind(router)
        Accounts(
            clock,
            store,
            logins,
            registration_is_open=settings.registration == "open",
            access_seconds=int(access_seconds),
        ).bind(router)
        registry = coordinator_registry(cluster, lambda: repair.copies_made)
        ClusterPages(store, cluster, Readiness(cluster), registry).bind(router)
        bind_description(router)

        site = Site(world, router.resource(), router.shortcuts)
        listener = await listen(world.endpoints, settings.http, site)
        running.push_async_callback(site.close, CLOSE_SECONDS)
        running.push_async_callback(listener.stop)
        return Coordinator(config, store, cluster, listener, running.pop_all())


async def _periodic(
    running: AsyncExitStack, world: World, seconds: float, turn: Callable[[], Awaitable[object]]
) -> Periodic:
    periodic = Periodic(world.clock, seconds, turn)
    await periodic.start()
    running.push_async_callback(periodic.stop)
    return periodic


def _begin(world: World, cluster: bytes, data: Path) -> Callable[[Writer], Lineage]:
    random = world.random_bytes(32)

    def begin(writer: Writer) -> Lineage:
        if not lineage.is_of(writer, cluster):
            raise DirectoryRefused(
                directory=str(data),
                reason="it belongs to another cluster; its cluster key is not the one given",
            )
        begun = lineage.begin_term(writer, random)
        lineage.reserve_seconds(writer, begun.seconds_limit)
        return begun

    return begin


def _reserve(seconds: int) -> Callable[[Writer], None]:
    return lambda writer: lineage.reserve_seconds(writer, seconds)


async def _layout_in_force(store: Store, config: Config) -> Layout:
    """The latest layout; the first is made from cluster.yaml, and later edits change nothing."""
    known = store.read(layouts.latest)
    if known is not None:
        return known
    members = [Member(node.id, node.capacity, node.zone) for node in config.nodes.values()]
    first = build(members, config.cluster.replicas)
    await store.write(lambda writer: layouts.adopt(writer, first))
    return first
