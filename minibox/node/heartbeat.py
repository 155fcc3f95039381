"""The heartbeat: each second the coordinator hears how this node is and answers who orders now."""

from collections.abc import Callable

from twisted.logger import Logger

from minibox.errors import Failure
from minibox.node.obedience import Obedience
from minibox.node.peers import Caller, Peers
from minibox.node_api import HEARTBEAT, DiskStatus, Heartbeat, HeartbeatAnswer
from minibox.services import Periodic, jittered
from minibox.world import World

INTERVAL_SECONDS = 1.0
JITTER = 0.2
ANSWER_SECONDS = 2.5
"""Below the three seconds after which a silent node is suspect."""

_log = Logger()


class Heart:
    """Beats from start to stop. What the answers say goes to ``obedience`` and ``peers``."""

    def __init__(
        self,
        world: World,
        node: str,
        boot: int,
        coordinator: Caller,
        status: Callable[[], tuple[DiskStatus, ...]],
        obedience: Obedience,
        peers: Peers,
    ) -> None:
        self._clock = world.clock
        self._node = node
        self._boot = boot
        self._coordinator = coordinator
        self._status = status
        self._obedience = obedience
        self._peers = peers
        self._count = 0
        self._layout = 0
        self._problem = ""
        self._beating = Periodic(
            world.clock, INTERVAL_SECONDS, self.beat, jittered(world.random_bytes, JITTER)
        )

    async def start(self) -> None:
        """The first beat comes at once."""
        await self._beating.start()

    async def stop(self) -> None:
        """Returns when the beat under way has ended."""
        await self._beating.stop()

    async def beat(self) -> None:
        """One heartbeat and its answer, or a line in the log."""
        self._count += 1
        obeyed = self._obedience.obeyed
        beat = Heartbeat(
            node=self._node,
            boot=self._boot,
            count=self._count,
            disks=self._status(),
            layout=self._layout,
            term=obeyed.term,
            sequence=obeyed.sequence,
        )
        sent_at = self._clock.seconds()
        try:
            answer = await self._coordinator.call(
                HEARTBEAT, beat, HeartbeatAnswer, deadline=ANSWER_SECONDS
            )
            await self._obedience.hear(answer.message, sent_at)
        except Failure as problem:
            self._note(problem)
            return
        self._layout = answer.message.layout
        await self._peers.learn(answer.message.peers)
        self._note(None)

    def _note(self, problem: Failure | None) -> None:
        """Log what changes, not each second."""
        text = "" if problem is None else str(problem)
        if text == self._problem:
            return
        self._problem = text
        if problem is None:
            _log.info("coordinator answers", term=self._obedience.obeyed.term)
        else:
            _log.warn("no answer from the coordinator: {problem}", problem=text)
