"""The direct path over HTTP: leases, chunks through the door, commits, manifests."""

import hashlib

import pytest
from whole_cluster import PASSWORD, Cluster

from minibox.coordinator import namespaces, uploads


def chunk(content):
    return {"id": hashlib.sha256(content).hexdigest(), "length": len(content)}


def begin(person, *contents, headers=None, **asked):
    body = {"chunks": [chunk(each) for each in contents], **asked}
    answer = person.json("POST", "/api/uploads", body, headers)
    assert answer.status == 201, answer.body
    return answer.json


def send(person, plan, *contents):
    """Chunks through the coordinator's door; all receipts."""
    receipts = []
    for each in contents:
        url = f"/api/uploads/{plan['upload_id']}/chunks/{chunk(each)['id']}"
        answer = person.ask("PUT", url, each)
        assert answer.status == 200, answer.body
        receipts += answer.json["receipts"]
    return receipts


def commit(person, plan, receipts, content=b"", headers=None, **asked):
    body = {"receipts": receipts, "sha256": hashlib.sha256(content).hexdigest(), **asked}
    return person.json("POST", f"/api/uploads/{plan['upload_id']}/commit", body, headers)


def staged(person, path, content, **asked):
    plan = begin(person, content, path=path, **asked)
    return plan, send(person, plan, content)


def stored(person, path, content, **asked):
    answer = commit(person, *staged(person, path, content), content, **asked)
    assert answer.status == 201, answer.body
    return answer.json


def test_a_plan_says_what_to_send_where(alice):
    plan = begin(alice, b"one", b"two", path="/a")
    assert plan["missing"] == [chunk(b"one")["id"], chunk(b"two")["id"]]
    assert set(plan["placements"]) == set(plan["capabilities"]) == set(plan["missing"])
    assert set(plan["nodes"]) == {"n1", "n2", "n3"}
    assert (plan["copies"], plan["ack"]) == (3, 2)
    assert alice.quota()["reserved"] == 6


def test_staged_chunks_are_invisible_until_the_commit(alice):
    plan, receipts = staged(alice, "/docs/a.txt", b"content")
    assert alice.names() == []
    answer = commit(alice, plan, receipts, b"content", mtime=1_600_000_000)
    assert answer.status == 201
    assert answer.headers["etag"] == f'"{answer.json["etag"]}"'
    assert answer.headers["x-minibox-durability"] in ("2/3", "3/3")
    assert answer.json["modified"].startswith("2020-09-13")
    assert answer.json["content_type"] == "text/plain"
    assert alice.read("/docs/a.txt") == b"content"
    assert alice.quota() == {"limit": None, "used": 7, "reserved": 0, "versions": 0, "trash": 0}
    assert commit(alice, plan, receipts, b"content").status == 410


def test_a_content_of_several_chunks_is_extended_and_committed(alice):
    plan = begin(alice, b"one", path="/a")
    url = f"/api/uploads/{plan['upload_id']}"
    more = alice.json("POST", f"{url}/extend", {"chunks": [chunk(b"two"), chunk(b"one")]})
    assert more.status == 200
    assert chunk(b"two")["id"] in more.json["missing"]
    receipts = send(alice, plan, b"one", b"two")
    assert commit(alice, plan, receipts, b"onetwoone").json["size"] == 9
    assert alice.read("/a") == b"onetwoone"


def test_receipts_may_be_noted_while_the_list_grows(alice):
    plan = begin(alice, b"one", path="/a")
    receipts = send(alice, plan, b"one")
    extend = {"chunks": [chunk(b"two")], "receipts": receipts}
    url = f"/api/uploads/{plan['upload_id']}/extend"
    assert alice.json("POST", url, extend).status == 200
    later = send(alice, plan, b"two")
    assert commit(alice, plan, later, b"onetwo").status == 201
    assert alice.read("/a") == b"onetwo"


def test_a_repeated_begin_or_extend_of_one_key_pins_once(alice):
    key = {"Idempotency-Key": "k"}
    first = begin(alice, b"one", path="/a", headers=key)
    second = begin(alice, b"one", path="/a", headers=key)
    assert first["upload_id"] == second["upload_id"]
    assert alice.quota()["reserved"] == 3
    url = f"/api/uploads/{first['upload_id']}"
    for _ in range(2):
        answer = alice.json("POST", f"{url}/extend", {"chunks": [chunk(b"two")]}, key)
        assert answer.status == 200
    assert len(alice.get(url).json["chunks"]) == 2
    assert alice.quota()["reserved"] == 6


def test_a_crashed_client_gets_its_receipts_again(alice):
    plan, _ = staged(alice, "/a", b"content")
    url = f"/api/uploads/{plan['upload_id']}"
    state = alice.get(url).json
    assert state["missing"] == []
    assert state["chunks"] == [chunk(b"content")]
    renewed = alice.json("POST", f"{url}/renew").json
    assert renewed["missing"] == []
    assert commit(alice, plan, state["receipts"], b"content").status == 201


def test_what_was_not_sent_is_missing(alice):
    plan = begin(alice, b"sent", b"never sent", path="/a")
    receipts = send(alice, plan, b"sent")
    state = alice.get(f"/api/uploads/{plan['upload_id']}").json
    assert state["missing"] == [chunk(b"never sent")["id"]]
    answer = commit(alice, plan, receipts, b"sentnever sent")
    assert (answer.status, answer.code) == (422, "chunk_missing")
    assert answer.json["ids"] == [chunk(b"never sent")["id"]]
    assert alice.names() == []
    assert alice.quota()["reserved"] == 14
    receipts += send(alice, plan, b"never sent")
    assert commit(alice, plan, receipts, b"sentnever sent").status == 201


def test_a_hash_alone_gives_neither_bytes_nor_an_answer(alice, bob):
    secret = b"the secret of alice"
    stored(alice, "/secret", secret)
    plan = begin(bob, secret, path="/stolen")
    assert plan["missing"] == [chunk(secret)["id"]]
    state = bob.get(f"/api/uploads/{plan['upload_id']}").json
    assert state["receipts"] == []
    answer = commit(bob, plan, [], secret)
    assert (answer.status, answer.code) == (422, "chunk_missing")
    assert bob.names() == []


def test_the_receipts_of_another_upload_are_refused(alice, bob):
    secret = b"another secret of alice"
    _, receipts = staged(alice, "/secret", secret)
    plan = begin(bob, secret, path="/stolen")
    answer = commit(bob, plan, receipts, secret)
    assert (answer.status, answer.code) == (422, "bad_receipt")
    url = f"/api/uploads/{plan['upload_id']}/extend"
    noted = bob.json("POST", url, {"chunks": [], "receipts": receipts})
    assert (noted.status, noted.code) == (422, "bad_receipt")


@pytest.mark.parametrize("receipt", ["", "AAAA", "not base64!", "é", "x" * 5000])
def test_a_receipt_that_is_none_is_refused(alice, receipt):
    plan, _ = staged(alice, "/a", b"content")
    answer = commit(alice, plan, [receipt], b"content")
    assert (answer.status, answer.code) == (422, "bad_receipt")


def test_a_lie_about_a_length_gains_nothing(alice):
    content = b"x" * 5000
    known = stored(alice, "/known", content)
    lie = {"id": chunk(content)["id"], "length": 1}
    plan = alice.json("POST", "/api/uploads", {"path": "/cheap", "chunks": [lie]}).json
    assert commit(alice, plan, [], content).code == "chunk_missing"
    other = b"y" * 5000
    lie = {"id": chunk(other)["id"], "length": 1}
    plan = alice.json("POST", "/api/uploads", {"path": "/cheap", "chunks": [lie]}).json
    url = f"/api/uploads/{plan['upload_id']}/chunks/{lie['id']}"
    answer = alice.ask("PUT", url, other)
    receipts = answer.json["receipts"] if answer.status == 200 else []
    assert commit(alice, plan, receipts, other).code == "chunk_missing"
    assert alice.names() == ["known"]
    assert alice.read("/known") == content
    assert known["size"] == 5000


def test_what_one_has_already_is_not_sent_again(alice):
    stored(alice, "/a", b"content")
    plan = begin(alice, b"content", path="/b")
    assert plan["missing"] == []
    assert commit(alice, plan, [], b"content").status == 201
    assert alice.read("/b") == b"content"


def test_a_base_guards_the_commit_and_a_conflict_copy_needs_no_new_upload(alice):
    first = stored(alice, "/a", b"1")
    alice.store("/a", b"2")
    plan, receipts = staged(alice, "/a", b"3", base=first["etag"])
    stale = commit(alice, plan, receipts, b"3")
    assert (stale.status, stale.code) == (409, "version_conflict")
    assert stale.json["head"].endswith(".2")
    copy = commit(alice, plan, receipts, b"3", on_conflict="rename")
    assert (copy.status, copy.json["name"]) == (201, "a (1)")
    assert alice.read("/a") == b"2"


def test_an_upload_may_name_its_file_by_id(alice):
    first = stored(alice, "/a.txt", b"1")
    plan = begin(alice, b"2", file_id=first["id"])
    answer = commit(alice, plan, send(alice, plan, b"2"), b"2")
    assert (answer.json["version"], answer.json["id"]) == (2, first["id"])
    assert answer.json["content_type"] == "text/plain"


def test_a_commit_to_a_file_that_went_to_the_trash_is_not_found(alice):
    first = stored(alice, "/a", b"1")
    plan = begin(alice, b"2", file_id=first["id"])
    receipts = send(alice, plan, b"2")
    alice.ask("DELETE", f"/api/files/{first['id']}")
    assert commit(alice, plan, receipts, b"2").status == 404
    assert alice.ask("DELETE", f"/api/uploads/{plan['upload_id']}").status == 200
    assert alice.quota()["reserved"] == 0


def test_the_same_key_commits_once_though_the_lease_has_ended(alice):
    plan, receipts = staged(alice, "/a", b"content")
    key = {"Idempotency-Key": "k"}
    answers = [commit(alice, plan, receipts, b"content", key) for _ in range(2)]
    assert [each.status for each in answers] == [201, 201]
    assert answers[0].body == answers[1].body
    assert answers[0].headers["etag"] == answers[1].headers["etag"]
    other = commit(alice, plan, receipts, b"content", key, mtime=5)
    assert (other.status, other.code) == (422, "idempotency_mismatch")


def batch(plan, *files, last=True, receipts=()):
    return {
        "upload_id": plan["upload_id"],
        "receipts": list(receipts),
        "last": last,
        "files": [
            {
                "path": path,
                "sha256": hashlib.sha256(content).hexdigest(),
                "chunks": [chunk(content)],
                **more,
            }
            for path, content, more in files
        ],
    }


def test_of_many_files_each_succeeds_or_fails_by_itself(alice):
    alice.store("/taken", b"x")
    plan = begin(alice, b"1", b"2")
    receipts = send(alice, plan, b"1", b"2")
    files = [
        ("/d/one", b"1", {}),
        ("/taken", b"2", {"on_conflict": "fail"}),
        ("/bad//path", b"2", {}),
        ("/unlisted", b"3", {}),
        ("/wrong", b"2", {"sha256": "0" * 64}),
        ("/late", b"2", {"mtime": 1e300}),
        ("/d/two", b"2", {}),
    ]
    answer = alice.json("POST", "/api/uploads/commit", batch(plan, *files, receipts=receipts))
    assert answer.status == 200
    results = answer.json["results"]
    assert [each["status"] for each in results] == [201, 409, 400, 400, 422, 400, 201]
    assert results[1]["problem"]["code"] == "name_conflict"
    assert alice.names("/d") == ["one", "two"]
    assert alice.quota()["reserved"] == 0


def test_many_files_under_one_key_are_committed_once(alice):
    plan = begin(alice, b"1", b"2")
    receipts = send(alice, plan, b"1", b"2")
    body = batch(plan, ("/a", b"1", {}), ("/b", b"2", {}), receipts=receipts)
    key = {"Idempotency-Key": "k"}
    answers = [alice.json("POST", "/api/uploads/commit", body, key) for _ in range(2)]
    assert [each.status for each in answers] == [200, 200]
    assert [r["status"] for r in answers[1].json["results"]] == [201, 201]
    assert {r["file"]["version"] for r in answers[1].json["results"]} == {1}
    other = batch(plan, ("/a", b"2", {}), ("/b", b"2", {}), receipts=receipts)
    assert alice.json("POST", "/api/uploads/commit", other, key).status == 422


def test_a_batch_that_goes_on_spends_what_was_promised(alice):
    plan = begin(alice, b"11", b"22", size=10)
    receipts = send(alice, plan, b"11", b"22")
    body = batch(plan, ("/a", b"11", {}), last=False, receipts=receipts)
    assert alice.json("POST", "/api/uploads/commit", body).json["results"][0]["status"] == 201
    assert (alice.quota()["used"], alice.quota()["reserved"]) == (2, 8)
    body = batch(plan, ("/b", b"22", {}), last=True, receipts=receipts)
    assert alice.json("POST", "/api/uploads/commit", body).json["results"][0]["status"] == 201
    assert (alice.quota()["used"], alice.quota()["reserved"]) == (4, 0)


def test_manifests_tell_who_holds_each_chunk(alice):
    file = stored(alice, "/a", b"content")
    manifest = alice.json("POST", f"/api/files/{file['id']}/manifest")
    assert manifest.status == 200
    assert manifest.json["chunks"] == [chunk(b"content")]
    assert manifest.json["holders"][chunk(b"content")["id"]]
    assert manifest.json["etag"] == file["etag"]
    many = alice.json("POST", "/api/manifests", {"files": [file["id"], "path:/a", "path:/no", "x"]})
    assert [each and each["etag"] for each in many.json["items"]] == [file["etag"]] * 2 + [None] * 2


@pytest.mark.parametrize(
    "query", ["first=-1", "first=" + "9" * 30, "version=-1", "version=" + "9" * 30, "version=77"]
)
def test_a_manifest_that_is_none_is_refused(alice, query):
    file = stored(alice, "/a", b"content")
    answer = alice.json("POST", f"/api/files/{file['id']}/manifest?{query}")
    assert answer.status in (400, 404)


@pytest.mark.parametrize(
    "asked",
    [
        {"size": -1},
        {"size": 10**30},
        {"path": "/"},
        {"path": "/a/../b"},
        {"path": "/a", "chunks": [{"id": "xyz", "length": 1}]},
        {"path": "/a", "chunks": [{"id": "0" * 64, "length": 0}]},
        {"path": "/a", "chunks": [{"id": "0" * 64, "length": 10**30}]},
        {"path": "/a", "chunks": [{"id": "0" * 64, "length": 1}] * 1001},
        {"path": 5},
        [],
    ],
    ids=lambda asked: repr(asked)[:60],
)
def test_an_upload_that_cant_be_is_refused(alice, asked):
    answer = alice.json("POST", "/api/uploads", asked)
    assert (answer.status, answer.code) == (400, "validation_failed")
    assert alice.quota()["reserved"] == 0


@pytest.mark.parametrize("mtime", [1e300, -1e300])
def test_a_commit_with_an_impossible_time_is_refused(alice, mtime):
    plan, receipts = staged(alice, "/a", b"content")
    assert commit(alice, plan, receipts, b"content", mtime=mtime).status == 400


def test_a_chunk_with_other_bytes_or_of_no_upload_is_refused(alice):
    plan = begin(alice, b"one", path="/a")
    url = f"/api/uploads/{plan['upload_id']}/chunks"
    wrong = alice.ask("PUT", f"{url}/{chunk(b'one')['id']}", b"two")
    assert (wrong.status, wrong.code) == (422, "checksum_mismatch")
    unlisted = alice.ask("PUT", f"{url}/{chunk(b'two')['id']}", b"two")
    assert unlisted.status == 404
    huge = alice.ask("PUT", f"{url}/{'0' * 64}", b"x" * (4 * 1024 * 1024 + 1))
    assert huge.status == 413
    assert alice.ask("PUT", f"{url}/xyz", b"two").status == 400


def test_an_abort_gives_the_promise_back_once(alice):
    keeps = begin(alice, b"keep", path="/k", size=100)
    plan = begin(alice, b"one", path="/a", size=50)
    url = f"/api/uploads/{plan['upload_id']}"
    together = [alice.begin("DELETE", url) for _ in range(3)]
    statuses = sorted(alice.cluster.finish(each).status for each in together)
    assert statuses == [200, 410, 410]
    assert alice.quota()["reserved"] == 100
    assert alice.get(url).status == 410
    assert keeps


def test_the_uploads_of_others_are_not_found(alice, bob):
    plan, receipts = staged(alice, "/a", b"content")
    url = f"/api/uploads/{plan['upload_id']}"
    assert bob.get(url).status == 410
    assert bob.ask("DELETE", url).status == 410
    assert bob.json("POST", f"{url}/renew").status == 410
    assert bob.json("POST", f"{url}/extend", {"chunks": []}).status == 410
    assert bob.ask("PUT", f"{url}/chunks/{chunk(b'content')['id']}", b"content").status == 410
    assert commit(bob, plan, receipts, b"content").status == 410
    assert bob.get("/api/uploads/u_nonsense").status == 404
    assert commit(alice, plan, receipts, b"content").status == 201


@pytest.fixture
def hasty():
    return Cluster(lease_minutes=1)


def test_an_expired_lease_gives_the_quota_back(hasty):
    alice = hasty.user("alice")
    plan, receipts = staged(alice, "/a", b"content")
    assert alice.quota()["reserved"] == 7
    hasty.advance(50)
    assert alice.json("POST", f"/api/uploads/{plan['upload_id']}/renew").status == 200
    hasty.advance(50)
    assert alice.get(f"/api/uploads/{plan['upload_id']}").status == 200
    hasty.advance(20)
    answer = commit(alice, plan, receipts, b"content")
    assert (answer.status, answer.code) == (410, "upload_expired")
    hasty.advance(10)
    assert alice.quota()["reserved"] == 0
    assert list(hasty.read(lambda reader: list(uploads.every(reader)))) == []


def test_a_lease_lives_on_through_a_restart(hasty):
    alice = hasty.user("alice")
    plan, receipts = staged(alice, "/a", b"content")
    hasty.restart_coordinator()
    assert commit(alice, plan, receipts, b"content").status == 201
    assert alice.read("/a") == b"content"


def test_a_closed_account_leaves_no_lease_behind(hasty):
    alice = hasty.user("alice")
    alice.store("/docs/a", b"x")
    staged(alice, "/b", b"content")
    body = {"password": PASSWORD}
    assert alice.json("DELETE", "/api/auth/profile", body).status == 200
    assert hasty.read(lambda reader: list(uploads.every(reader))) == []
    assert len(hasty.read(namespaces.every)) == 1
