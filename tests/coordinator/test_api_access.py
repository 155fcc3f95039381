"""Who may what, for each route that is offered; and what no caller may break."""

import hashlib
import json

import pytest
from whole_cluster import PASSWORD, form

from minibox.http_api import accounts, cluster, files, uploads
from minibox.http_api.route import Route

JSON = {"Content-Type": "application/json"}
NOBODY = "00000000000ab"
CHUNK = hashlib.sha256(b"x").hexdigest()

ROUTES = {
    each.name: each
    for module in (accounts, cluster, files, uploads)
    for each in vars(module).values()
    if isinstance(each, Route)
}

# What each route is asked with; {file}, {folder}, {trash}, {upload} are those of the owner.
ASKED = {
    "register": ({}, {"username": "u", "password": "short"}),
    "login": ({}, {"username": "nobody at all", "password": "x"}),
    "refresh": ({}, {"refresh_token": "x"}),
    "logout": ({}, {}),
    "profile": ({}, None),
    "change_profile": ({}, {}),
    "delete_profile": ({}, {"password": "wrong"}),
    "change_password": ({}, {"current_password": "wrong", "new_password": PASSWORD}),
    "live": ({}, None),
    "ready": ({}, None),
    "metrics": ({}, None),
    "cluster": ({}, None),
    "nodes": ({}, None),
    "layout": ({}, None),
    "upload": ({}, form(("folder_id", "{folder}"), ("file", "x", b"x"))),
    "put_content": ({"path": "own"}, b"own"),
    "get_content": ({"path": "docs/a"}, None),
    "delete_content": ({"path": "docs/a"}, None),
    "by_path": ({}, None, "path=/docs/a"),
    "list": ({}, None, "folder_id={folder}"),
    "metadata": ({"file_id": "{file}"}, None),
    "change_file": ({"file_id": "{file}"}, {"name": "x"}),
    "delete_file": ({"file_id": "{file}"}, None),
    "download": ({"file_id": "{file}"}, None),
    "copy": ({"file_id": "{file}"}, {"name": "x"}),
    "move": ({"file_id": "{file}"}, {"name": "x"}),
    "file_health": ({"file_id": "{file}"}, None),
    "make_folder": ({}, {"name": "x", "parent_id": "{folder}"}),
    "folder": ({"folder_id": "{folder}"}, None),
    "change_folder": ({"folder_id": "{folder}"}, {"name": "x"}),
    "delete_folder": ({"folder_id": "{folder}"}, None),
    "children": ({"folder_id": "{folder}"}, None),
    "versions": ({"file_id": "{file}"}, None),
    "version": ({"file_id": "{file}", "version": "1"}, None),
    "version_download": ({"file_id": "{file}", "version": "1"}, None),
    "version_restore": ({"file_id": "{file}", "version": "1"}, None),
    "trash": ({}, None),
    "trash_restore": ({"trash_id": "{trash}"}, None),
    "trash_purge": ({"trash_id": "{trash}"}, None),
    "trash_empty": ({}, None),
    "begin_upload": ({}, {"file_id": "{file}"}),
    "extend_upload": ({"upload_id": "{upload}"}, {"chunks": []}),
    "renew_upload": ({"upload_id": "{upload}"}, None),
    "put_chunk": ({"upload_id": "{upload}", "sha256": CHUNK}, b"x"),
    "upload_state": ({"upload_id": "{upload}"}, None),
    "abort_upload": ({"upload_id": "{upload}"}, None),
    "commit_upload": ({"upload_id": "{upload}"}, {}),
    "commit_many": ({}, {"upload_id": "{upload}", "receipts": [], "files": []}),
    "manifest": ({"file_id": "{file}"}, None),
    "manifests": ({}, {"files": ["{file}"]}),
}

OWN = {  # these concern the caller alone: for another user they are no window into anybody's home
    "logout", "profile", "change_profile", "delete_profile", "change_password", "put_content",
    "trash", "trash_empty", "manifests",
}  # fmt: skip
OF_LEASES = {
    "extend_upload", "renew_upload", "put_chunk", "upload_state", "abort_upload",
    "commit_upload", "commit_many",
}  # fmt: skip


@pytest.fixture(scope="module")
def owner(cluster):
    person = cluster.user("owner")
    file = person.store("/docs/a", b"content")
    person.store("/gone", b"content")
    trash = person.ask("DELETE", "/api/files/content/gone").json["trash_id"]
    begun = person.json(
        "POST", "/api/uploads", {"path": "/b", "chunks": [{"id": CHUNK, "length": 1}]}
    )
    person.things = {
        "file": file["id"],
        "folder": file["parent_id"],
        "trash": trash,
        "upload": begun.json["upload_id"],
    }
    return person


def ask(person, name, things, headers=None):
    route = ROUTES[name]
    params, body, *query = ASKED[name]
    target = route.url({key: value.format(**things) for key, value in params.items()})
    if query:
        target += "?" + query[0].format(**things)
    given = dict(headers or {})
    if isinstance(body, tuple):
        body, typed = body
        given |= typed
        for key, value in things.items():
            body = body.replace(b"{%b}" % key.encode(), value.encode())
    elif body is not None and not isinstance(body, bytes):
        text = json.dumps(body)
        for key, value in things.items():
            text = text.replace(f"{{{key}}}", value)
        body = text.encode()
        given |= JSON
    return person.ask(route.method, target, body or b"", given)


def test_every_offered_route_has_a_row_here(cluster):
    described = cluster.ask("GET", "/api/openapi.json").json
    offered = {
        operation["operationId"]
        for path in described["paths"].values()
        for operation in path.values()
    }
    assert offered <= set(ASKED) | {"openapi", "docs"}
    assert set(ASKED) <= set(ROUTES)


@pytest.mark.parametrize("name", sorted(ASKED))
@pytest.mark.parametrize("who", ["anonymous", "garbage", "logged out", "tampered"])
def test_nobody_without_a_session_is_told_anything(cluster, owner, name, who):
    if ROUTES[name].access == "anyone":
        return
    token = {"anonymous": None, "garbage": "Bearer garbage", "logged out": None, "tampered": None}
    headers = {"Authorization": token[who] or ""}
    if who == "logged out":
        person = cluster.login("owner")
        person.json("POST", "/api/auth/logout")
        headers = person.bearer
    if who == "tampered":
        text = owner.bearer["Authorization"]
        headers = {"Authorization": text[:-3] + ("AAA" if text[-3:] != "AAA" else "BBB")}
    before = cluster.read(lambda reader: list(reader.scan(b"e", b"f")))
    answer = ask(owner, name, owner.things, headers)
    assert answer.status == 401
    assert answer.code in ("unauthenticated", "token_revoked")
    assert cluster.read(lambda reader: list(reader.scan(b"e", b"f"))) == before


@pytest.mark.parametrize("name", sorted(ASKED))
def test_what_others_own_is_not_found(cluster, owner, bob, name):
    if ROUTES[name].access == "anyone":
        return
    before = cluster.read(lambda reader: list(reader.scan(b"e", b"f")))
    answer = ask(bob, name, owner.things)
    if ROUTES[name].access == "admin":
        assert (answer.status, answer.code) == (403, "forbidden")
    elif name in OWN:
        assert answer.status < 500
        assert owner.things["file"].encode() not in answer.body
        assert b'"/docs' not in answer.body
        if name == "manifests":
            assert answer.json["items"] == [None]
        return
    elif name in OF_LEASES:  # an id that leads to no lease of the caller may be an expired one
        assert (answer.status, answer.code) == (410, "upload_expired")
    else:
        assert (answer.status, answer.code) == (404, "not_found")
    assert cluster.read(lambda reader: list(reader.scan(b"e", b"f"))) == before


@pytest.mark.parametrize(
    "text", ["x", "f_", "f_x", f"f_{NOBODY}", f"s_{NOBODY}", "f_" + "z" * 13, "f_" + "0" * 13,
             "..", "%2e%2e", "%C3%A9", "f_%20", "f_" + "a" * 3000],
)  # fmt: skip
def test_an_unknown_or_malformed_id_is_not_found(alice, text):
    things = dict.fromkeys(("file", "folder", "trash"), text)
    for name, (params, *_) in ASKED.items():
        if any(f"{{{thing}}}" in str(params) for thing in things):
            route = ROUTES[name]
            target = route.path
            for key, value in params.items():
                target = target.replace(f"{{{key}}}", value.format(upload="u", **things))
            headers = JSON if route.body else {}
            answer = alice.ask(route.method, target, b"{}" if route.body else b"", headers)
            if name == "change_file":
                assert answer.status in (400, 404, 405)
            else:
                assert answer.status in (404, 405), (name, answer.body)
            assert answer.code


def test_a_malformed_upload_id_is_not_found(alice):
    for text in ("x", "u_", "u_x", "f_" + NOBODY, "%2e%2e"):
        assert alice.get(f"/api/uploads/{text}").status == 404
    body = {"upload_id": "x", "receipts": [], "files": []}
    assert alice.json("POST", "/api/uploads/commit", body).status == 404


# Administration


def test_an_admin_sees_the_cluster_its_nodes_and_its_layout(admin, alice):
    alice.store("/a", b"content")
    facts = admin.get("/api/admin/cluster").json
    assert (facts["replicas"], facts["ack"], facts["layout"]) == (3, 2, 1)
    assert facts["logical_bytes"] > 0
    nodes = admin.get("/api/admin/nodes").json["items"]
    assert [each["id"] for each in nodes] == ["n1", "n2", "n3"]
    assert {each["state"] for each in nodes} == {"up"}
    layout = admin.get("/api/admin/layout").json
    assert sum(each["partitions"] for each in layout["members"]) == 3 * layout["partitions"]


def test_anyone_may_ask_for_health_and_metrics(cluster):
    assert cluster.ask("GET", "/health/live").json == {"status": "ok"}
    ready = cluster.ask("GET", "/health/ready")
    assert (ready.status, ready.json["nodes_up"]) == (200, 3)
    metrics = cluster.ask("GET", "/metrics")
    assert b"minibox_node_state" in metrics.body


# The description


def test_the_description_is_openapi_and_names_every_route(cluster):
    document = cluster.ask("GET", "/api/openapi.json").json
    assert document["openapi"].startswith("3.1")
    for route in ROUTES.values():
        operation = document["paths"][route.template][route.method.lower()]
        assert operation["operationId"] == route.name
        assert str(route.status) in operation["responses"]
        named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert named == {each.name for each in route.parameters}
    references = []

    def look(value):
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                references.append(value["$ref"])
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(document)
    for reference in references:
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    assert references
    assert cluster.ask("GET", "/api/docs").status == 200


# What no input may break


BODIES = {
    "nothing": b"",
    "half": b'{"username": "a',
    "an array": b"[]",
    "a number": b"5",
    "null": b"null",
    "deep": b"[" * 200_000,
    "deep in a field": b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not utf-8": b'{"name":"\xff\xfe"}',
    "a NUL": b'{"name":"a\\u0000b","path":"/a\\u0000"}',
    "a surrogate": b'{"name":"\\ud800","path":"/\\udfff","file_id":"\\ud800"}',
    "a huge number": b'{"size":' + b"9" * 5000 + b"}",
    "nan": b'{"mtime":NaN}',
    "twice": b'{"name":"a","name":"b"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_bad_body_is_refused_on_every_route(owner, bob, body):
    for name, route in ROUTES.items():
        if route.body is None or name in ("logout", "delete_profile"):
            continue
        params = {k: v.format(**owner.things) for k, v in ASKED[name][0].items()}
        answer = bob.ask(route.method, route.url(params), body, JSON)
        assert answer.status < 500, (name, answer.body)
        if answer.status >= 400:
            assert answer.code


def test_a_json_body_of_another_type_or_size_is_refused(alice):
    plain = alice.ask("POST", "/api/folders", b"{}", {"Content-Type": "text/plain"})
    assert (plain.status, plain.code) == (415, "type_not_allowed")
    large = alice.begin("POST", "/api/folders", b"x", {"Content-Length": str(300 << 20), **JSON})
    answer = alice.cluster.finish(large)
    assert (answer.status, answer.code) == (413, "too_large")


def test_an_endless_chunked_body_is_cut_off_early(alice):
    conversation = alice.begin(
        "POST", "/api/folders", b"", {"Transfer-Encoding": "chunked", **JSON}
    )
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0
    while not conversation.has_ended and sent < 300 << 20:
        conversation.transport.write(piece)
        sent += 65536
        alice.cluster.advance(0.01)
    assert sent < 16 << 20
    assert conversation.answer().status == 413


BAD_NAMES = {
    "dots": "..",
    "a dot": ".",
    "nothing": "",
    "a NUL": "a\x00b",
    "a newline": "a\nb",
    "del": "a\x7fb",
    "256 bytes": "x" * 256,
    "256 bytes of accents": "é" * 128,
    "a slash": "a/b",
    "a megabyte": "x" * 500_000,
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_a_bad_name_is_refused_at_every_door(alice, name):
    file = alice.store("/ok", b"x")
    folder = alice.get("/api/files/by-path?path=/").json["id"]
    asked = [
        ("POST", "/api/folders", {"name": name, "parent_id": folder}),
        ("POST", f"/api/files/{file['id']}/move", {"name": name}),
        ("PUT", f"/api/files/{file['id']}", {"name": name}),
        ("POST", f"/api/files/{file['id']}/copy", {"name": name}),
    ]
    for method, target, body in asked:
        answer = alice.json(method, target, body)
        if name or "copy" not in target:  # an empty name of a copy means the same name: a conflict
            assert (answer.status, answer.code) == (400, "validation_failed"), target
        assert answer.status in (400, 409)
    if name != "a/b":
        for path in (f"/d/{name}/x",):
            answer = alice.json("POST", "/api/folders", {"path": path})
            assert answer.status == 400
            assert alice.json("POST", "/api/uploads", {"path": path}).status == 400
    assert alice.names() == ["ok"]


@pytest.mark.parametrize(
    "path",
    ["/..", "/../..", "/%2e%2e/x", "/%2E%2E%2Fx", "/a%00b", "/a%ff", "/a//b", "//", "/.", "/%7f",
     "/" + "x" * 256, "/" + "/".join(["d"] * 129), "/" + "é" * 3 + "%80", "/a%2F%2Fb", "/%0a"],
)  # fmt: skip
def test_a_bad_path_is_refused(alice, path):
    target = path.encode().decode("latin-1")
    for answer in (
        alice.ask("PUT", f"/api/files/content{target}", b"x"),
        alice.get(f"/api/files/content{target}"),
        alice.ask("DELETE", f"/api/files/content{target}"),
        alice.get(f"/api/files/by-path?path={target}"),
        alice.get(f"/api/files/list?path={target}"),
    ):
        assert answer.status in (400, 404), answer.body
        assert answer.code in ("validation_failed", "not_found")
    assert alice.names() == []


def test_the_deepest_tree_is_bounded_whichever_way_it_grows(alice):
    root = alice.get("/api/files/by-path?path=/").json["id"]
    deep = "/" + "/".join(["d"] * 128)
    bottom = alice.json("POST", "/api/folders", {"path": deep}).json["id"]
    for answer in (
        alice.json("POST", "/api/folders", {"name": "x", "parent_id": bottom}),
        alice.upload(("folder_id", bottom), ("file", "x", b"x")),
    ):
        assert (answer.status, answer.code) == (400, "validation_failed")
    tree = alice.json("POST", "/api/folders", {"path": "/two/levels"}).json["parent_id"]
    almost = alice.get("/api/files/by-path?path=" + "/d" * 127).json["id"]
    for verb in ("move", "copy"):
        answer = alice.json("POST", f"/api/files/{tree}/{verb}", {"folder_id": almost})
        assert (answer.status, answer.code) == (400, "validation_failed")
    top = alice.get("/api/files/by-path?path=/d").json["id"]
    assert alice.ask("DELETE", f"/api/folders/{top}?permanent=true").status == 200
    assert root


def test_a_long_name_gets_a_number_within_its_bounds(alice):
    for name in ("x" * 255, "a." + "b" * 253, "é" * 127 + ".", ".hidden"):
        alice.upload(("file", name, b"1"))
        answer = alice.upload(("file", name, b"2"))
        assert answer.status == 201, answer.body
        assert len(answer.json["name"].encode()) <= 255
        assert " (1)" in answer.json["name"]


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": "\xff"},
        {"If-Match": '"' + "x" * 4000 + '"'},
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "x" * 300},
        {"X-Device-ID": "x" * 300},
        {"X-Device-ID": "\xff\xfe"},
        {"X-Minibox-Ack": "99"},
        {"Content-Type": "multipart/form-data; boundary=" + "x" * 500},
        {"Content-Type": "\xff/\xff; charset=\x01"},
    ],
    ids=repr,
)
def test_bad_headers_are_refused_or_ignored(alice, headers):
    for answer in (
        alice.put("/a", b"x", headers),
        alice.json("POST", "/api/folders", {"path": "/f"}, headers),
        alice.get("/api/files/list", headers),
    ):
        assert answer.status < 500, answer.body
