"""What the coordinator knows of its nodes right now, and what may be done with that.

Holds the observations (layout, membership) and asks the pure modules what follows from them.
"""

from collections.abc import Iterable, Mapping

from twisted.logger import Logger

from minibox.capability import Capability, Receipt
from minibox.chunk import ChunkId, ChunkRef
from minibox.config import Config
from minibox.coordinator import holders, lineage, placement
from minibox.coordinator.commit import Safety
from minibox.coordinator.holders import Holder, Standing
from minibox.coordinator.lineage import Lineage
from minibox.coordinator.membership import Membership, Patience, State
from minibox.coordinator.placement import Targets
from minibox.credentials import Capabilities, Receipts
from minibox.errors import BadReceipt, ReadOnly, Starting
from minibox.node_api import Heartbeat, HeartbeatAnswer, PeerStatus
from minibox.ring import Layout
from minibox.store import Store
from minibox.transfer import Nodes, Placed, Source
from minibox.world import World

STANDING_SECONDS = 0.05
"""So late the silence of a node may be noticed by what is being written."""

_log = Logger()


class Cluster:
    """The nodes as observed. One for a coordinator."""

    def __init__(
        self,
        world: World,
        config: Config,
        store: Store,
        begun: Lineage,
        layout: Layout,
        nodes: Nodes,
        capabilities: Capabilities,
        receipts: Receipts,
    ) -> None:
        self.layout = layout
        self.nodes = nodes
        self.config = config
        self._clock = world.clock
        self._store = store
        self._lineage = begun
        self._began = world.clock.seconds()
        self._capabilities = capabilities
        self._receipts = receipts
        self._overtaken = False
        settings = config.coordinator
        patience = Patience(settings.suspect_seconds, settings.down_seconds, settings.lost_seconds)
        names = [member.node for member in layout.members]
        self.membership = Membership.begin(names, self._began, patience)
        self._standing: Standing = {}
        self._standing_until = 0.0
        self.endpoints = {name: config.nodes[name].listen for name in names if name in config.nodes}
        nodes.know(self.endpoints)

    # Time and numbers

    @property
    def lineage(self) -> Lineage:
        """Who this coordinator is."""
        return self._lineage

    @property
    def now(self) -> float:
        """Monotonic seconds, for membership."""
        return self._clock.seconds()

    @property
    def seconds(self) -> int:
        """Coordinator seconds, for capabilities: monotonic over restarts."""
        return int(self._lineage.seconds_limit + self._clock.seconds() - self._began)

    @property
    def sequence(self) -> int:
        """The latest deciding transaction's number."""
        return self._store.read(lineage.sequence)

    # What nodes say

    def heard(self, beat: Heartbeat) -> HeartbeatAnswer:
        """Note a heartbeat; what to tell the node."""
        if beat.term > self._lineage.term:
            self._overtaken = True
            _log.error(
                "Node {node} has obeyed term {seen}, later than this coordinator's {term}",
                node=beat.node,
                seen=beat.term,
                term=self._lineage.term,
            )
        former = self.membership
        self.membership = former.heard(beat, self.now)
        self._standing_until = 0.0
        return HeartbeatAnswer(
            order=lineage.order(self._lineage, self.sequence),
            seconds=self.seconds,
            layout=self.layout.number,
            peers=tuple(
                PeerStatus(node, endpoint, self.state(node).value)
                for node, endpoint in self.endpoints.items()
            ),
        )

    def state(self, node: str) -> State:
        """What to think of a node now."""
        return self.membership.state(node, self.now)

    def standing(self) -> Standing:
        """The nodes that are up, with their disks; looked at anew many times a second."""
        now = self.now
        if now >= self._standing_until:
            self._standing = self.membership.disks_up(now)
            self._standing_until = now + STANDING_SECONDS
        return self._standing

    def checked(self, receipts: Iterable[Receipt]) -> dict[ChunkId, tuple[Holder, ...]]:
        """Who holds what by these receipts; BadReceipt where one is not ours."""
        found: dict[ChunkId, tuple[Holder, ...]] = {}
        for receipt in receipts:
            self._receipts.check(receipt)
            if receipt.node not in self.membership.members:
                raise BadReceipt
            holder = Holder(receipt.node, receipt.disk)
            found[receipt.chunk] = (*found.get(receipt.chunk, ()), holder)
        return found

    # What may be done

    @property
    def copies(self) -> int:
        """Wanted copies of each chunk."""
        return self.config.cluster.replicas

    def needed_nodes(self) -> int:
        """So many nodes must have answered before anything is committed.

        One of them would have seen what a later coordinator did.
        """
        return max(self.config.cluster.ack, self.copies - self.config.cluster.ack + 1)

    def safety(self, ack: int | None = None) -> Safety:
        """What a commit has to reach now; Starting and ReadOnly where none may be made."""
        if self._overtaken:
            raise ReadOnly(reason="nodes have obeyed a later coordinator than this one")
        if self.membership.answered() < self.needed_nodes():
            raise Starting
        return Safety(ack or self.config.cluster.ack, self.copies, self.standing())

    def targets(self, chunk: ChunkId, needed: int) -> Targets:
        """Where a new chunk goes; NotEnoughNodes."""
        return placement.to_write(self.layout, self.membership, chunk, needed, self.now)

    def placed(self, chunk: ChunkRef, upload: int, sequence: int, needed: int) -> Placed:
        """Where a pinned chunk goes, with the right to put it there; NotEnoughNodes."""
        targets = self.targets(chunk.id, needed)
        capability = self._capabilities.issue(
            "put", chunk.id, chunk.length, upload, sequence, self._expiry()
        )
        return Placed(capability, (targets.first, *targets.others))

    def source(self, chunk: ChunkRef, copies: holders.Copies, scope: int) -> Source:
        """From where a chunk is read, with the right to get it."""
        return Source(
            self.read_right(chunk, scope),
            placement.to_read(
                self.layout,
                self.membership,
                chunk.id,
                [holder.node for holder in copies.holders],
                self.now,
            ),
        )

    def read_right(self, chunk: ChunkRef, scope: int) -> Capability:
        """The right to get a chunk for a few minutes; ``scope`` is the file read."""
        return self._capabilities.issue("get", chunk.id, chunk.length, scope, 0, self._expiry())

    def addresses(self, nodes: Iterable[str]) -> Mapping[str, str]:
        """The endpoint strings of these nodes."""
        return {node: self.endpoints[node] for node in nodes if node in self.endpoints}

    def _expiry(self) -> int:
        return self.seconds + int(self.config.coordinator.capability_minutes * 60)
