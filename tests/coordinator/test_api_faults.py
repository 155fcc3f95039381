"""The HTTP API while nodes die, disks rot, callers leave and quotas fill."""

import hashlib

import msgspec
import pytest
from whole_cluster import Cluster, form

from minibox.coordinator import accounts, holders, namespaces
from minibox.coordinator.journal import Act
from minibox.coordinator.namespaces import Ledger

MIB = 1024 * 1024


def noise(size, seed=b""):
    """Bytes that no cutter finds twice."""
    return b"".join(
        hashlib.sha512(b"%b%d" % (seed, each)).digest() for each in range(size // 64 + 1)
    )[:size]


def chunk_of(content):
    return {"id": hashlib.sha256(content).hexdigest(), "length": len(content)}


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def alice(cluster):
    return cluster.user("alice")


def limit_quota(cluster, person, limit):
    def set_limit(writer):
        user = accounts.by_login(writer, person.tokens["user"]["username"])
        ledger = Ledger(writer, Act(user.id, 0.0), user.home)
        ledger.limit(limit)
        ledger.close()

    cluster.write(set_limit)


def ledger_of(cluster, person):
    def look(reader):
        user = accounts.by_login(reader, person.tokens["user"]["username"])
        return namespaces.get(reader, user.home)

    return cluster.read(look)


# Nodes


def test_a_node_that_dies_in_the_middle_of_an_upload_is_not_noticed(cluster, alice):
    content = noise(12 * MIB)
    writing = alice.begin("PUT", "/api/files/content/a", content, send=False)
    for start in range(0, len(content), MIB):
        writing.transport.write(content[start : start + MIB])
        cluster.advance(0.01)
        if start == 6 * MIB:
            cluster.crash_node("n2")
    answer = cluster.finish(writing)
    assert answer.status == 201, answer.body
    assert alice.read("/a") == content


def test_a_node_that_dies_in_the_middle_of_a_download_is_not_noticed(cluster, alice):
    content = noise(12 * MIB)
    alice.store("/a", content)
    reading = alice.begin("GET", "/api/files/content/a")
    cluster.until(lambda: len(reading.received) > MIB, step_seconds=0.001)
    assert len(reading.received) < len(content)
    cluster.crash_node("n1")
    answer = cluster.finish(reading)
    assert (answer.status, answer.is_whole) == (200, True)
    assert answer.body == content


def test_fewer_nodes_than_needed_refuse_writes_in_time_and_let_reads_go_on(cluster, alice):
    alice.store("/a", b"content")
    cluster.crash_node("n1")
    cluster.crash_node("n2")
    began = cluster.simulation.clock.seconds()
    for answer in (
        alice.put("/b", b"x"),
        alice.upload(("file", "b", b"x")),
    ):
        assert (answer.status, answer.code) == (503, "not_enough_nodes")
    assert cluster.simulation.clock.seconds() - began < 60
    assert alice.read("/a") == b"content"
    assert alice.names() == ["a"]
    one = alice.put("/one", b"x", {"X-Minibox-Ack": "1"})
    assert one.status == 201
    assert one.headers["x-minibox-durability"] == "1/3"
    assert alice.get("/api/files/by-path?path=/one").json["copies"] == {"have": 1, "want": 3}
    cluster.start_node("n1")
    cluster.advance(5)
    assert alice.put("/b", b"x").status == 201


def test_nothing_is_written_before_the_nodes_have_answered():
    cluster = Cluster(start_nodes=False, settle=False)
    alice = cluster.user("alice")
    for answer in (
        alice.put("/a", b"x"),
        alice.upload(("file", "a", b"x")),
        alice.json("POST", "/api/uploads", {"path": "/a"}),
    ):
        assert (answer.status, answer.code) == (503, "starting")
        assert answer.headers["retry-after"]
    assert cluster.ask("GET", "/health/live").status == 200
    ready = cluster.ask("GET", "/health/ready")
    assert (ready.status, ready.json["ready"]) == (503, False)
    assert ready.json["reason"]


# Damage


def test_a_flipped_bit_is_read_around_put_aside_and_repaired(cluster, alice):
    content = noise(100_000)
    file = alice.store("/a", content)
    cluster.advance(3)
    assert len(cluster.holding(content)) == 3
    manifest = alice.json("POST", f"/api/files/{file['id']}/manifest").json
    read_first = manifest["holders"][manifest["chunks"][0]["id"]][0]
    cluster.rot(read_first, content)
    assert alice.read("/a") == content
    health = f"/api/files/{file['id']}/health"
    cluster.until(lambda: alice.get(health).json["copies"]["have"] == 2, 2)
    cluster.until(lambda: alice.get(health).json["copies"]["have"] == 3)
    assert len(cluster.holding(content)) == 3


def test_a_content_of_which_every_copy_is_bad_is_refused_by_name(cluster, alice):
    content = noise(100_000)
    alice.store("/docs/a", content)
    cluster.advance(3)
    for name in cluster.disks:
        cluster.rot(name, content)
    answer = alice.get("/api/files/content/docs/a")
    assert (answer.status, answer.code) == (503, "content_damaged")
    assert answer.json["path"] == "/docs/a"
    assert "etag" not in answer.headers
    again = alice.get("/api/files/content/docs/a")
    assert again.status == 503


def test_damage_behind_the_first_bytes_aborts_the_connection(cluster, alice):
    content = noise(12 * MIB)
    alice.store("/a", content)
    cluster.advance(3)
    for name in cluster.disks:
        cluster.rot(name, content[-100_000:])
    answer = alice.get("/api/files/content/a")
    assert answer.status == 200
    assert not answer.is_whole
    assert content.startswith(answer.body)


# Callers that leave


def test_an_upload_cut_in_the_middle_leaves_nothing(cluster, alice):
    limit_quota(cluster, alice, 10 * MIB)
    body, typed = form(("file", "b", noise(6 * MIB)))
    for method, target, content, given in (
        ("PUT", "/api/files/content/a", noise(6 * MIB), {}),
        ("POST", "/api/files/upload", body, typed),
    ):
        headers = {**given, "Content-Length": str(len(content))}
        writing = alice.begin(method, target, content, headers, send=False)
        writing.transport.write(content[: 5 * MIB])
        cluster.advance(0.2)
        writing.transport.abortConnection()
        cluster.advance(1)
        assert alice.names() == []
        assert (alice.quota()["used"], alice.quota()["reserved"]) == (0, 0)
    assert alice.put("/whole", noise(9 * MIB)).status == 201


def test_a_download_that_is_left_stops_the_reading(cluster, alice):
    alice.store("/a", noise(12 * MIB))
    reading = alice.begin("GET", "/api/files/content/a")
    cluster.until(lambda: len(reading.received) > MIB, step_seconds=0.001)
    reading.transport.abortConnection()
    cluster.advance(2)
    assert alice.read("/a") == noise(12 * MIB)


# Races


def test_of_two_writers_on_one_version_exactly_one_wins(cluster, alice):
    base = alice.store("/a", b"0")["etag"]
    for _ in range(5):
        both = [
            alice.begin("PUT", "/api/files/content/a", content, {"If-Match": f'"{base}"'})
            for content in (b"one", b"two")
        ]
        answers = [cluster.finish(each) for each in both]
        assert sorted(each.status for each in answers) == [200, 409]
        won, lost = sorted(answers, key=lambda each: each.status)
        assert lost.json["head"] == won.json["etag"]
        base = won.json["etag"]
    assert alice.read("/a") in (b"one", b"two")


def test_many_creators_of_one_name_make_one_file(cluster, alice):
    asking = [
        alice.begin("PUT", "/api/files/content/d/a", b"%d" % each, {"If-None-Match": "*"})
        for each in range(10)
    ]
    statuses = sorted(cluster.finish(each).status for each in asking)
    assert statuses == [201] + [412] * 9


def test_many_uploads_of_one_name_get_numbers(cluster, alice):
    body, typed = form(("file", "a.txt", b"x"))
    asking = [alice.begin("POST", "/api/files/upload", body, typed) for _ in range(10)]
    names = {cluster.finish(each).json["name"] for each in asking}
    assert names == {"a.txt", *(f"a ({each}).txt" for each in range(1, 10))}


def test_one_key_at_the_same_time_makes_one_change(cluster, alice):
    body, typed = form(("file", "a", b"x"))
    key = {"Idempotency-Key": "k"}
    asking = [alice.begin("POST", "/api/files/upload", body, {**typed, **key}) for _ in range(5)]
    answers = [cluster.finish(each) for each in asking]
    assert {each.status for each in answers} == {201}
    assert len({each.body for each in answers}) == 1
    assert alice.names() == ["a"]


# Quota


@pytest.mark.parametrize("door", ["put", "form", "direct"])
def test_of_fifty_uploads_exactly_one_finds_room(cluster, alice, door):
    size = 60_000
    limit_quota(cluster, alice, 100_000)

    def begin(number):
        content = noise(size, b"%d" % number)
        if door == "put":
            return alice.begin("PUT", f"/api/files/content/{number}", content)
        if door == "form":
            body, typed = form(("file", f"{number}", content))
            return alice.begin("POST", "/api/files/upload", body, typed)
        asked = {"path": f"/{number}", "chunks": [chunk_of(content)]}
        typed = {"Content-Type": "application/json"}
        return alice.begin("POST", "/api/uploads", msgspec.json.encode(asked), typed)

    asking = [begin(number) for number in range(50)]
    while not all(each.has_ended for each in asking):
        cluster.advance(0.001)
        row = ledger_of(cluster, alice)
        assert row.used + row.reserved <= row.limit
    statuses = sorted(each.answer().status for each in asking)
    assert statuses == [201] + [507] * 49
    refused = next(each.answer() for each in asking if each.answer().status == 507)
    assert refused.code == "quota_exceeded"
    assert refused.json["limit"] == 100_000
    row = ledger_of(cluster, alice)
    assert row.used + row.reserved == size


def test_a_small_form_upload_fits_into_a_small_quota(cluster, alice):
    limit_quota(cluster, alice, 100)
    assert alice.upload(("file", "a", b"x" * 100)).status == 201
    full = alice.upload(("file", "b", b"x"))
    assert (full.status, full.code) == (507, "quota_exceeded")
    assert alice.ask("DELETE", "/api/files/content/a?permanent=true").status == 200
    assert alice.upload(("file", "b", b"x" * 100)).status == 201


def test_a_copy_and_a_restored_version_count_against_the_quota(cluster, alice):
    limit_quota(cluster, alice, 100)
    file = alice.store("/a", b"x" * 60)
    url = f"/api/files/{file['id']}"
    assert alice.json("POST", f"{url}/copy", {"name": "b"}).status == 507
    assert alice.json("POST", f"{url}/versions/1/restore").status == 507
    assert alice.names() == ["a"]
    assert alice.quota()["used"] == 60


def test_a_batch_within_the_quota_is_not_counted_twice(cluster, alice):
    limit_quota(cluster, alice, 100)
    contents = [b"a" * 50, b"b" * 50]
    asked = {"chunks": [chunk_of(each) for each in contents]}
    plan = alice.json("POST", "/api/uploads", asked).json
    receipts = []
    for each in contents:
        url = f"/api/uploads/{plan['upload_id']}/chunks/{chunk_of(each)['id']}"
        receipts += alice.ask("PUT", url, each).json["receipts"]
    files = [
        {"path": f"/{number}", "sha256": chunk_of(each)["id"], "chunks": [chunk_of(each)]}
        for number, each in enumerate(contents)
    ]
    body = {"upload_id": plan["upload_id"], "receipts": receipts, "files": files}
    answer = alice.json("POST", "/api/uploads/commit", body)
    assert [each["status"] for each in answer.json["results"]] == [201, 201], answer.body
    assert (alice.quota()["used"], alice.quota()["reserved"]) == (100, 0)


# Restarts


def test_acknowledged_files_live_through_the_death_of_everybody(cluster, alice):
    content = noise(3 * MIB)
    alice.store("/a", content)
    alice.store("/b", b"small")
    for name in list(cluster.nodes):
        cluster.crash_node(name)
    cluster.restart_coordinator()
    for name in cluster.disks:
        cluster.start_node(name)
    cluster.advance(3)
    assert alice.read("/a") == content
    assert alice.read("/b") == b"small"


def test_a_copy_that_came_late_pays_the_debt(cluster, alice):
    cluster.crash_node("n3")
    cluster.advance(12)
    alice.store("/a", b"content")
    assert alice.get("/api/files/by-path?path=/a").json["copies"]["have"] == 2
    cluster.start_node("n3")
    cluster.advance(30)
    assert alice.get("/api/files/by-path?path=/a").json["copies"]["have"] == 3
    assert cluster.read(lambda reader: list(holders.debts(reader))) == []
