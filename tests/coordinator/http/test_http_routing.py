import contextlib

import msgspec
import pytest
from http_door import Note, request
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from minibox.coordinator.http.parsing import parse_json, parse_query
from minibox.errors import Failure, ValidationFailed

JSON = "application/json"


def post(connection, body, content_type=JSON):
    return connection.ask("POST", "/api/notes", body, Content_Type=content_type)


def test_a_json_call_is_answered_with_json(door, connection):
    answer = post(connection, b'{"title": "milk", "lines": [1, 2]}')
    assert answer.status == 201
    assert answer.json == {"id": "n1", "title": "milk"}
    assert answer.headers["content-type"] == JSON
    assert answer.headers["etag"] == '"n1.1"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert door.seen == [("post", Note("milk", [1, 2]))]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "title"),
        (b'{"title": 5}', "title"),
        (b'{"title": "a", "lines": [1, "x"]}', "lines[1]"),
        (b"[1]", "body"),
        (b"{", "body"),
        (b"\xff", "body"),
        (b'{"title": "\xff"}', "body"),
        (b'{"title": "\\ud800 and more"}', "body"),
        (b'{"x": ' + b"[" * 100_000, "body"),
        (b'{"title": "a"} trailing', "body"),
    ],
)
def test_malformed_json_is_a_400_that_names_the_field(connection, body, field):
    answer = post(connection, body)
    assert answer.status == 400
    assert answer.json["code"] == "validation_failed"
    assert answer.json["field"] == field
    assert answer.json["request_id"] == answer.headers["x-request-id"]


def test_another_content_type_is_a_415(connection):
    assert post(connection, b"title=a", "application/x-www-form-urlencoded").status == 415
    assert connection.ask("POST", "/api/notes", b"{}").status == 415


def test_no_body_is_an_empty_object(connection):
    assert connection.ask("POST", "/api/notes").json["field"] == "title"


def test_a_long_json_body_is_refused_before_it_is_read(connection):
    head = b"POST /api/notes HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    connection.send(head + b"Content-Length: 1048577\r\n\r\n")
    answer = connection.answer()
    assert (answer.status, answer.json["limit"]) == (413, 1048576)
    assert answer.headers["connection"] == "close"


def test_a_chunked_300_mb_json_body_is_refused_early(connection):
    head = b"POST /api/notes HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    connection.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
    sent = 0
    while not connection.wire.value():
        connection.send(b"10000\r\n" + bytes(65536) + b"\r\n")
        sent += 65536
    assert connection.answer().status == 413
    assert sent <= 2 * 1024 * 1024
    while not connection.is_closed:
        connection.send(b"10000\r\n" + bytes(65536) + b"\r\n")
        sent += 65536
    assert sent < 10 * 1024 * 1024


def test_queries_become_typed_values(door, connection):
    path = "/api/notes/a?page=3&from=x%20y&tag=1&tag=2&unknown=1"
    assert connection.ask("GET", path, Authorization="ann").status == 200
    query = door.seen[0][2]
    assert (query.page, query.since, query.tag) == (3, "x y", ["1", "2"])


@pytest.mark.parametrize(
    "query", ["page=x", "page=1&page=2", "from=%ff", "from=%00", "&".join(["a=1"] * 100)]
)
def test_a_bad_query_is_a_400(connection, query):
    assert connection.ask("GET", f"/api/notes/a?{query}", Authorization="ann").status == 400


def test_the_caller_is_asked_for(connection):
    answer = connection.ask("GET", "/api/notes/a")
    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_admin_routes_are_for_admins(door, connection):
    assert connection.ask("DELETE", "/api/notes", Authorization="Bearer ann").status == 403
    assert connection.ask("DELETE", "/api/notes", Authorization="Bearer root").status == 204
    assert door.seen == [("delete", "root")]


def test_an_unknown_address_is_a_404_problem(connection):
    for path in ("/", "/api/none", "/api/notes/a/b", "//api//notes/a", "/api/notes/"):
        answer = connection.ask("GET", path, Authorization="x")
        assert (answer.status, answer.json["code"]) == (404, "not_found"), path


def test_a_wrong_verb_is_a_405_that_names_the_right_ones(connection):
    answer = connection.ask("PATCH", "/api/notes")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, POST")
    assert connection.ask("GET", "/api/content/a").status == 405


def test_a_failure_becomes_its_problem(connection):
    answer = connection.ask("GET", "/api/notes/gone", Authorization="x")
    assert answer.status == 404
    assert answer.json["detail"] == "There is no such note."


def test_head_is_get_without_the_body(connection):
    get = connection.ask("GET", "/api/notes/a", Authorization="x")
    head = connection.ask("HEAD", "/api/notes/a", Authorization="x")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert connection.ask("GET", "/api/notes/a", Authorization="x").status == 200


def test_a_bug_is_a_500_without_its_details(connection, caught_bugs):
    answer = connection.ask("GET", "/api/break")
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert b"ZeroDivision" not in answer.body
    assert caught_bugs() == [ZeroDivisionError]


def test_paths_keep_their_slashes_and_are_decoded_once(door, connection):
    connection.ask("PUT", "/api/content/a/b%2520c/%C3%A4%2e", b"x")
    assert door.seen == [("put", "a/b%20c/ä.", 1)]


@pytest.mark.parametrize("path", ["/api/content/%ff", "/api/content/a%00b", "/api/notes/%c3"])
def test_a_path_that_is_no_text_is_a_400(connection, path):
    assert connection.ask("PUT", path, b"x").json["field"] == "path"


def test_a_read_stops_when_its_client_leaves(door, connection):
    door.waiting = Deferred()
    connection.send(request("GET", "/api/notes/a", Authorization="x"))
    connection.leave()
    assert door.seen[1:] == [("stopped", "CancelledError")]


def test_a_change_goes_on_when_its_client_leaves(door, connection):
    door.waiting = Deferred()
    connection.send(request("POST", "/api/notes", b'{"title": "a"}', Content_Type=JSON))
    connection.leave()
    door.waiting.callback(None)
    assert door.seen[1:] == [("posted", Note("a"))]


def test_an_upload_whose_client_leaves_in_mid_body_ends_quietly(door, connection):
    connection.send(b"PUT /api/content/a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
    connection.leave()
    assert door.seen == []


def test_the_description_names_every_route_and_its_refusals(connection):
    document = connection.ask("GET", "/api/openapi.json").json
    note = document["paths"]["/api/notes/{note_id}"]["get"]
    assert [each["name"] for each in note["parameters"]] == ["note_id", "page", "from", "tag"]
    assert set(note["responses"]) == {"200", "400", "401", "404", "500"}
    assert document["paths"]["/api/content/{path}"]["put"]["requestBody"]["required"]
    assert "Kept" in document["components"]["schemas"]
    page = connection.ask("GET", "/api/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert b"http://" not in page.body
    assert b"https://" not in page.body


@given(st.binary(max_size=200))
def test_json_is_a_value_or_a_failure(content):
    with contextlib.suppress(Failure):
        parse_json(content, Note)


class Asked(msgspec.Struct):
    page: int = 1
    flag: bool = False
    name: str | None = None


@given(st.binary(max_size=80))
def test_a_query_is_a_value_or_a_failure(content):
    with contextlib.suppress(ValidationFailed):
        parse_query(content, Asked)


def test_booleans_in_queries_are_words():
    assert parse_query(b"flag=true&name=null", Asked) == Asked(flag=True, name="null")
