"""One seeded run: people work, things break, then all is mended and judged."""

import gc
import traceback
import warnings
from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredList, FirstError
from twisted.logger import globalLogBeginner, globalLogPublisher

from minibox.chunk import ChunkId
from minibox.coordinator import holders, references
from minibox.coordinator.holders import Copies
from minibox.coordinator.tree import Entry
from minibox.errors import Failure
from minibox.http_api import files as api
from minibox.http_api.accounts import REGISTER, Login, Register
from minibox.simulation.asking import Asking, Doubt, Refused
from minibox.simulation.clock import NothingHappens, TooLong
from minibox.simulation.cluster import SimulatedCluster, simulated_config
from minibox.simulation.contents import Contents
from minibox.simulation.faults import Faults
from minibox.simulation.invariants import Records, check_records, check_replay
from minibox.simulation.person import Home
from minibox.simulation.platters import check_holders, holding, platter_of
from minibox.simulation.promises import Broken, Promises
from minibox.simulation.reading import judge_read, read_of
from minibox.simulation.trace import Trace
from minibox.simulation.verdict import check_promises, homes_of
from minibox.simulation.workload import Worker
from minibox.store import Reader

CHECK_SECONDS = 3.0
CONVERGE_SECONDS = 90.0
"""After faults have ended, repair has this long (D2 says 60 from when all nodes are up)."""
LIMIT_SECONDS = 900.0
PASSWORD = "correct horse"  # noqa: S105  of accounts that exist in memory only
MAX_QUOTA_BYTES = 6_000_000


class Result(msgspec.Struct, frozen=True):
    """How a run ended: ``problem`` is empty if every invariant held."""

    seed: int
    problem: str
    digest: str
    lines: list[str]
    requests: int
    virtual_seconds: float


class Shape(msgspec.Struct, frozen=True):
    """How large a run is."""

    deeds: int = 26
    shortest_peace: float = 0.1
    longest_peace: float = 2.0
    replaces_emptied_disks: bool = True
    """Whether copies that went with a disk have to be made anew elsewhere; if not, such chunks are
    left out of D2."""


def run_seed(seed: int, *, mode: str = "liveness", shape: Shape = Shape()) -> Result:  # noqa: B008
    """Run one seed. In ``safety`` mode it ends when all that was promised has been read back."""
    gc.collect()
    gc.disable()
    trace = Trace()
    run = Run(seed, trace, shape)
    problem = ""
    globalLogPublisher.addObserver(run.hear)  # type: ignore[arg-type]
    try:
        run.cluster.simulation.run(run.live(is_liveness=mode == "liveness"), LIMIT_SECONDS)
    except Broken as broken:
        problem = str(broken)
    except (TooLong, NothingHappens) as stuck:
        problem = f"stuck: {stuck!r}"
    except Exception as bug:  # noqa: BLE001 - whatever it is, it belongs to this seed
        problem = f"bug: {bug!r}\n{''.join(traceback.format_exception(bug))}"
    finally:
        globalLogPublisher.removeObserver(run.hear)  # type: ignore[arg-type]
        gc.enable()
    trace.event("run", "ends", problem)
    requests = sum(" client" in line[10:24] for line in trace.lines)
    return Result(seed, problem, trace.digest, trace.lines, requests, run.cluster.now)


def run_quietly(mode: str, seed: int) -> Result:
    """The same for many seeds in other processes: a trace comes only with a problem, no logs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # logging may begin more than once
        globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    result = run_seed(seed, mode=mode)
    return result if result.problem else msgspec.structs.replace(result, lines=[])


class Run:
    """The people, the faults and the judge of one seed."""

    def __init__(self, seed: int, trace: Trace, shape: Shape) -> None:
        chance = Random(seed)
        nodes = chance.choice((3, 4, 4, 5, 6))
        quota = MAX_QUOTA_BYTES if chance.random() < 0.15 else 0  # noqa: PLR2004 - a share
        self._shape = shape
        self._config = simulated_config(nodes, quota_bytes=quota)
        self.cluster = SimulatedCluster(chance.getrandbits(64), self._config, trace)
        self._chance = chance
        self._promises = Promises()
        self._contents = Contents(Random(chance.getrandbits(64)))
        self._users = [f"user{number}" for number in range(1, chance.randrange(2, 4))]
        self._people: list[Worker] = []
        self._asking: list[Asking] = []
        self._snapshots: list[tuple[int, int, dict[int, Entry]]] = []
        self._broken: Broken | None = None
        self._is_over = False
        clients = [f"client{number}" for number in range(1, len(self._users) + 2)]
        self.faults = Faults(self.cluster, clients, Random(chance.getrandbits(64)))
        self._clients = clients

    def hear(self, event: dict[str, Any]) -> None:
        """A log event of any process: unexpected exceptions are bugs."""
        reason = event.get("log_failure")
        if reason is not None and not isinstance(reason.value, Failure):
            self.cluster.bugs.append(reason.getTraceback())

    async def live(self, *, is_liveness: bool) -> None:
        """From the first start to the verdict. Broken."""
        self.cluster.start_all()
        if not await self.cluster.settled():
            raise Broken("start", "the cluster doesn't come up")
        await self._register()
        checking = self.cluster.together(self._check_now_and_then())
        breaking = self.cluster.together(
            self.faults.happen(self._shape.shortest_peace, self._shape.longest_peace)
        )
        working = [self.cluster.together(each.act(self._shape.deeds)) for each in self._people]
        await self._all(working)
        await self.faults.mend()
        self._is_over = True
        await self._all([breaking, checking])
        if not await self.cluster.settled():
            raise Broken("D2", "the cluster doesn't come back after all faults have ended")
        await self.cluster.pause(1.0)
        self._check_records()
        self._check_promises()
        await self._read_all()
        if is_liveness:
            await self._converge()
            self._check_records()
            self._check_promises()
        self._check_platters()
        if self.cluster.bugs:
            raise Broken("bug", self.cluster.bugs[0])

    async def _register(self) -> None:
        guest = self.cluster.client("visitor", None)
        for user in self._users:
            await guest.call(REGISTER, body=Register(PASSWORD, user))
        for number, machine in enumerate(self._clients):
            user = self._users[number % len(self._users)]
            http = self.cluster.client(machine, Login(PASSWORD, user))
            asking = Asking(machine, self.cluster, http, Random(self._chance.getrandbits(64)))
            self._asking.append(asking)
            home = Home(user)
            person = Worker(
                self.cluster,
                asking,
                home,
                self._contents,
                self._promises,
                Random(self._chance.getrandbits(64)),
            )
            self._people.append(person)

    # The judge

    async def _check_now_and_then(self) -> None:
        while not self._is_over:
            await self.cluster.pause(CHECK_SECONDS)
            if self.cluster.coordinator is not None:
                self._check_records()
                self._check_platters()
            if self.cluster.bugs:
                raise Broken("bug", self.cluster.bugs[0])

    def _check_records(self) -> Records:
        records = self.cluster.store().read(check_records)
        for namespace, after, snapshot in self._snapshots:
            check_replay(snapshot, after, records, namespace)
        for row in records.namespaces:
            self._snapshots.append((row.id, row.sequence, records.trees[row.id]))
        return records

    def _check_promises(self) -> None:
        store = self.cluster.store()
        check_promises(store.read(check_records), self._promises, store.read(homes_of))

    def _check_platters(self) -> None:
        platters = {name: platter_of(disk) for name, disk in self.cluster.disks.items()}
        check_holders(self.cluster.store().read(_copies), platters, self.cluster.damaged)

    async def _read_all(self) -> None:
        """Every version of every file that is in a tree reads back, byte for byte (D1)."""
        store = self.cluster.store()
        records, homes = store.read(check_records), store.read(homes_of)
        readers = {homes[user]: asking for user, asking in zip(self._users, self._asking)}  # noqa: B905
        platters = {name: platter_of(disk) for name, disk in self.cluster.disks.items()}
        for chunk in store.read(_referenced):
            if not holding(platters, chunk):
                raise Broken("D1", f"no disk has a good copy of {chunk.hex()}")
        for filed in records.files.values():
            asking = readers.get(filed.namespace)
            if asking is None or not _is_live(
                filed.entry, records.trees[filed.namespace], filed.namespace
            ):
                continue
            for version in filed.versions:
                file = filed.entry.public_id
                reading = self._read(asking, file, version.number)
                found = await asking.ask(f"reads back {file}.{version.number}", reading)
                if isinstance(found, (Refused, Doubt)):
                    raise Broken("D1", f"{file}.{version.number} can't be read: {found}")
                judge_read(found, file, version.number, 0, self._contents, self._promises)

    async def _read(self, asking: Asking, file: str, number: int) -> Any:  # noqa: ANN401
        query = api.DownloadQuery(number)
        return await read_of(
            await asking.http.receive(api.DOWNLOAD, {"file_id": file}, query=query)
        )

    async def _converge(self) -> None:
        """Each live chunk has all its copies soon, on nodes that really have them (D2)."""
        until = self.cluster.now + CONVERGE_SECONDS
        lacking = self._lacking()
        while lacking and self.cluster.now < until:
            await self.cluster.pause(2.0)
            lacking = self._lacking()
        if lacking:
            raise Broken("D2", f"after {CONVERGE_SECONDS:.0f} s: {lacking[0]}")

    def _lacking(self) -> list[str]:
        coordinator = self.cluster.coordinator
        if coordinator is None:
            return ["no coordinator"]
        standing = coordinator.cluster.standing()
        platters = {name: platter_of(disk) for name, disk in self.cluster.disks.items()}
        copies = self.cluster.store().read(_copies)
        wanted = min(self._config.cluster.replicas, len(self._config.nodes))
        found = []
        for chunk in self.cluster.store().read(_referenced):
            counted = holders.counted(copies[chunk].holders, standing)
            held = holding(platters, chunk)
            is_stale = any(
                holder.disk != platters[holder.node].disk for holder in copies[chunk].holders
            )
            if is_stale and not self._shape.replaces_emptied_disks:
                continue
            spoilt = sum((node, chunk) in self.cluster.damaged for node in platters)
            if counted < wanted or len(held) + spoilt < wanted:
                found.append(f"{chunk.hex()} is on {held}, counted {counted}: {copies[chunk]}")
        return found

    async def _all(self, running: list[Deferred[None]]) -> None:
        """Wait for all; the first failure stands."""
        gathered = DeferredList(running, fireOnOneErrback=True, consumeErrors=True)
        try:
            await gathered
        except FirstError as first:
            first.subFailure.raiseException()


def _copies(reader: Reader) -> dict[ChunkId, Copies]:
    return dict(holders.every(reader))


def _referenced(reader: Reader) -> list[ChunkId]:
    return list(dict.fromkeys(chunk for chunk, _, _ in references.every(reader)))


def _is_live(entry: Entry, entries: dict[int, Entry], root: int) -> bool:
    while entry.parent in entries:
        entry = entries[entry.parent]
    return entry.parent == root
