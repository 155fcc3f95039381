"""One fault each, in a whole simulated cluster: what seeded runs meet too seldom."""

import contextlib
import importlib
import pkgutil
from random import Random

import pytest

from minibox import coordinator
from minibox.chunk import ChunkRef, chunk_id
from minibox.client.bodies import BytesBody
from minibox.client.wire import facts_of
from minibox.errors import ContentDamaged, Failure, RecordDamaged, StoreFull, ValidationFailed
from minibox.http_api import files as api
from minibox.http_api import uploads
from minibox.http_api.accounts import Login
from minibox.http_api.headers import IDEMPOTENCY_KEY
from minibox.http_api.problems import status_of
from minibox.simulation.cluster import (
    COORDINATOR,
    FIRST_PASSWORD,
    SimulatedCluster,
    simulated_config,
)
from minibox.simulation.invariants import check_records
from minibox.simulation.platters import platter_of
from minibox.simulation.promises import Broken
from minibox.store import Rows, Table

CONTENT = Random(7).randbytes(5000)


class Alone:
    """A cluster with one client, asked one thing at a time."""

    def __init__(self, nodes=3, seed=1):
        self.cluster = SimulatedCluster(seed, simulated_config(nodes))
        self.cluster.start_all()
        assert self.run(self.cluster.settled())
        login = Login(FIRST_PASSWORD, "admin")
        self.http = self.cluster.client("client", login)

    def run(self, work):
        return self.cluster.simulation.run(work, 600)

    def put(self, path, content=CONTENT):
        return self.run(
            self.http.send(api.PUT_CONTENT, {"path": path}, lambda _: BytesBody(content))
        )

    def get(self, path):
        async def read():
            reply = await self.http.receive(api.GET_CONTENT, {"path": path})
            return await reply.read(1 << 24)

        return self.run(read())

    def delete(self, path):
        return self.run(self.http.call(api.DELETE_CONTENT, {"path": path}))

    def advance(self, seconds):
        self.cluster.simulation.clock.advance(seconds)

    def restart(self, machine):
        self.cluster.start(machine)
        assert self.run(self.cluster.settled())

    def rot(self, node, content=CONTENT):
        """Flip a bit of the copy on a node; False where it has none."""
        for found in platter_of(self.cluster.disks[node]).records:
            if found.record.chunk == chunk_id(content):
                self.cluster.disks[node].flip(found.file, found.end - 10, 4)
                return True
        return False


def test_no_bytes_come_when_every_copy_is_bad_and_the_failure_names_the_file():
    alone = Alone()
    alone.put("/a.txt")
    rotten = [alone.rot(node) for node in alone.cluster.disks]
    assert all(rotten)
    with pytest.raises(ContentDamaged) as refused:
        alone.get("/a.txt")
    assert refused.value.path == "/a.txt"


def test_a_flipped_copy_is_passed_over_and_made_good_again():
    alone = Alone()
    alone.put("/a.txt")
    rotten = [node for node in alone.cluster.disks if alone.rot(node)][:1]
    for node in list(alone.cluster.disks):
        if node not in rotten:
            alone.rot(node)  # back again
    for _ in range(3):
        assert alone.get("/a.txt") == CONTENT
    alone.run(alone.cluster.pause(40))
    assert alone.get("/a.txt") == CONTENT


def test_copies_that_went_with_a_disk_don_t_count_for_a_new_commit():
    alone = Alone(3)
    alone.put("/a.txt")
    lost = sorted(alone.cluster.disks)[:2]
    for node in lost:
        alone.cluster.lose_disk(node)
    alone.cluster.start_all()
    assert alone.run(alone.cluster.settled())
    chunk = facts_of(ChunkRef(chunk_id(CONTENT), len(CONTENT)))
    begin = uploads.Begin(path="/b.txt", chunks=(chunk,))
    plan = alone.run(alone.http.call(uploads.BEGIN, body=begin))
    platters = [platter_of(disk) for disk in alone.cluster.disks.values()]
    held = sum(chunk_id(CONTENT) in platter.good for platter in platters)
    assert plan.missing == (chunk.id,) or held >= alone.cluster.config.cluster.ack


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_in_the_metadata_is_damage_and_never_absence_or_another_value(seed):
    alone = Alone(seed=seed)
    folder = alone.run(alone.http.call(api.MAKE_FOLDER, body=api.MakeFolder(path="/docs")))
    assert folder.id
    for number in range(6):
        alone.put(f"/docs/{number}.txt", CONTENT[number:])
    alone.cluster.kill(COORDINATOR)
    before = {key: bytes(value) for key, value in alone.cluster.metadata.rows.values.items()}
    flipped = alone.cluster.metadata.flip_a_bit()
    assert before[flipped] != alone.cluster.metadata.rows.values[flipped]
    with pytest.raises((Broken, RecordDamaged)) as found:
        everything_is_read(alone)
    if isinstance(found.value, Broken):
        assert found.value.invariant == "M7"
    damaged = False
    try:
        alone.restart(COORDINATOR)
    except (AssertionError, Failure):
        damaged = True  # what it needs to start is damaged: it refuses
    if damaged:
        return
    for number in range(6):
        with contextlib.suppress(RecordDamaged):
            assert alone.get(f"/docs/{number}.txt") == CONTENT[number:]


def everything_is_read(alone):
    """Each row of each table, as those who need it read it."""
    store = alone.cluster.store()
    store.read(check_records)
    for table in all_tables():
        store.read(lambda reader, table=table: list(table.scan(reader)))


def all_tables():
    """Every table of the coordinator's records."""
    for module in pkgutil.iter_modules(coordinator.__path__):
        if module.name == "__main__" or module.ispkg:
            continue
        names = vars(importlib.import_module(f"minibox.coordinator.{module.name}"))
        yield from (value for value in names.values() if isinstance(value, Table | Rows))


def test_a_full_disk_on_every_node_refuses_writes_and_nothing_else():
    alone = Alone()
    alone.put("/a.txt")
    alone.put("/b.txt", CONTENT[1:])
    for disk in alone.cluster.disks.values():
        disk.resize(disk.used_bytes())
    with pytest.raises(Failure) as refused:
        alone.put("/c.txt", CONTENT[2:])
    assert status_of(refused.value) in (503, 507)
    assert alone.get("/a.txt") == CONTENT
    assert alone.delete("/b.txt").trash_id
    for disk in alone.cluster.disks.values():
        disk.resize(1 << 40)
    alone.advance(5)
    assert alone.put("/c.txt", CONTENT[2:]).version == 1


def test_full_metadata_refuse_writes_but_reads_and_deletes_go_on():
    alone = Alone()
    for number in range(40):
        alone.put(f"/{number}.txt", CONTENT[number:])
    alone.cluster.metadata.room_bytes = alone.cluster.metadata.rows.bytes * 20 // 19  # the reserve
    with pytest.raises(StoreFull) as refused:
        alone.put("/new.txt", CONTENT[50:])
    assert status_of(refused.value) == 507
    assert alone.get("/0.txt") == CONTENT
    assert alone.delete("/1.txt").trash_id
    with pytest.raises(StoreFull):
        alone.put("/new.txt", CONTENT[50:])
    alone.cluster.metadata.room_bytes = None
    assert alone.put("/new.txt", CONTENT[50:]).version == 1


def test_nothing_is_acknowledged_after_a_failed_commit_of_the_metadata():
    alone = Alone()
    alone.put("/a.txt")
    alone.cluster.metadata.sync_fails = True
    for _ in range(2):
        with pytest.raises(Failure):
            alone.put("/b.txt", CONTENT[1:])
    alone.cluster.metadata.sync_fails = False
    assert alone.run(alone.cluster.settled())
    with pytest.raises(Failure):
        alone.get("/b.txt")
    assert alone.get("/a.txt") == CONTENT


def test_a_deed_repeated_after_a_crash_at_any_moment_is_done_once():
    alone = Alone()
    for moment in range(40):
        body = api.MakeFolder(path=f"/folder {moment}")

        def ask(body=body, moment=moment):
            headers = {IDEMPOTENCY_KEY: f"key {moment}"}
            return alone.http.call(api.MAKE_FOLDER, body=body, headers=headers)

        alone.run(alone.http.call(api.BY_PATH, query=api.PathQuery("/")))  # the connection is there
        asking = alone.cluster.together(ask())
        asking.addErrback(lambda _: None)
        alone.advance(moment * 0.000_25)
        alone.cluster.kill(COORDINATOR)
        alone.restart(COORDINATOR)
        made = alone.run(ask())
        assert made.path == body.path
        assert alone.run(ask()) == made
    page = alone.run(alone.http.call(api.LIST, query=api.ListQuery(per_page=1000)))
    assert len(page.items) == 40


def test_a_folder_is_never_moved_below_itself():
    alone = Alone()
    inner = alone.run(alone.http.call(api.MAKE_FOLDER, body=api.MakeFolder(path="/outer/inner")))
    outer = alone.run(alone.http.call(api.BY_PATH, query=api.PathQuery("/outer")))
    for target in (outer.id, inner.id):
        place = api.PlaceEntry(folder_id=target, name="again")
        with pytest.raises(ValidationFailed):
            alone.run(alone.http.call(api.MOVE, {"file_id": outer.id}, body=place))
    alone.cluster.store().read(check_records)


def test_a_copy_that_was_missed_is_made_when_its_node_is_back():
    alone = Alone()
    alone.cluster.kill("n1")
    alone.advance(5)
    alone.put("/a.txt")
    alone.restart("n1")
    alone.advance(40)
    platters = [platter_of(disk) for disk in alone.cluster.disks.values()]
    assert all(chunk_id(CONTENT) in platter.good for platter in platters)
