"""Files, folders, versions and the trash, as callers of the HTTP API see them."""

import hashlib
import unicodedata

import pytest
from whole_cluster import form

JSON = {"Content-Type": "application/json"}


def etag_of(answer):
    return answer.headers["etag"].strip('"')


# Upload by form


def test_a_form_upload_answers_with_all_that_callers_rely_on(alice):
    answer = alice.upload(("file", "a.txt", b"hello"))
    assert answer.status == 201
    facts = answer.json
    assert facts["filename"] == facts["name"] == "a.txt"
    assert facts["path"] == "/a.txt"
    assert facts["size"] == 5
    assert facts["version"] == 1
    assert facts["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert facts["content_type"] == "text/plain"
    assert facts["file_id"] == facts["id"]
    assert facts["upload_date"]
    assert facts["message"]
    assert answer.headers["x-minibox-durability"] in ("2/3", "3/3")
    assert etag_of(answer) == facts["etag"] == f"{facts['id']}.1"
    assert alice.read("/a.txt") == b"hello"


@pytest.mark.parametrize("fields_first", [True, False])
def test_fields_of_a_form_may_stand_before_or_after_the_file(alice, fields_first):
    fields, file = [("parent_path", "/deep/er")], [("file", "a.txt", b"x")]
    answer = alice.upload(*(fields + file if fields_first else file + fields))
    assert answer.status == 201
    assert answer.json["path"] == "/deep/er/a.txt"


def test_a_form_may_name_a_folder_by_its_id(alice):
    folder = alice.json("POST", "/api/folders", {"path": "/docs"}).json
    answer = alice.upload(("folder_id", folder["id"]), ("file", "a.txt", b"x"))
    assert answer.json["path"] == "/docs/a.txt"


def test_a_form_may_name_the_whole_path(alice):
    answer = alice.upload(("path", "/docs/b.txt"), ("file", "a.txt", b"x"))
    assert answer.json["path"] == "/docs/b.txt"


def test_a_second_form_upload_of_a_name_gets_a_number(alice):
    assert alice.upload(("file", "a.txt", b"1")).status == 201
    second = alice.upload(("file", "A.TXT", b"2"))
    assert second.status == 201
    assert second.json["name"] == "A (1).TXT"
    assert alice.read("/a.txt") == b"1"


def test_on_conflict_replace_makes_the_next_version(alice):
    alice.upload(("file", "a.txt", b"1"))
    answer = alice.upload(("on_conflict", "replace"), ("file", "a.txt", b"2"))
    assert answer.status == 201
    assert answer.json["version"] == 2


def test_on_conflict_fail_refuses_and_changes_nothing(alice):
    alice.upload(("file", "a.txt", b"1"))
    answer = alice.upload(("file", "a.txt", b"2"), ("on_conflict", "fail"))
    assert (answer.status, answer.code) == (409, "name_conflict")
    assert answer.json["path"] == "/a.txt"
    assert alice.names() == ["a.txt"]


def test_an_unknown_way_to_solve_conflicts_is_refused(alice):
    answer = alice.upload(("file", "a.txt", b"2"), ("on_conflict", "explode"))
    assert (answer.status, answer.code) == (400, "validation_failed")


def test_a_form_without_a_file_is_refused(alice):
    answer = alice.upload(("path", "/a"))
    assert (answer.status, answer.code) == (400, "missing_file")


def test_a_form_that_is_none_is_refused(alice):
    answer = alice.json("POST", "/api/files/upload", {"file": 1})
    assert (answer.status, answer.code) == (415, "type_not_allowed")


def test_a_form_without_a_boundary_or_cut_short_is_refused(alice):
    bare = alice.ask("POST", "/api/files/upload", b"x", {"Content-Type": "multipart/form-data"})
    assert bare.status == 400
    body, typed = form(("file", "cut.txt", b"x" * 100))
    cut = alice.ask("POST", "/api/files/upload", body[:-40], typed)
    assert cut.status == 400
    assert alice.names() == []


def test_a_wrong_sha256_is_refused_and_leaves_nothing(alice):
    answer = alice.upload(("file", "a.txt", b"x"), ("sha256", "0" * 64))
    assert (answer.status, answer.code) == (422, "checksum_mismatch")
    assert alice.names() == []
    right = hashlib.sha256(b"x").hexdigest()
    assert alice.upload(("file", "a.txt", b"x"), ("sha256", right)).status == 201
    assert alice.upload(("file", "b.txt", b"x"), ("sha256", "xyz")).status == 400


@pytest.mark.parametrize("mtime", ["1600000000", "2020-09-13T12:26:40+00:00"])
def test_the_time_of_the_content_is_kept(alice, mtime):
    answer = alice.upload(("file", "a.txt", b"x"), ("mtime", mtime))
    assert answer.json["modified"].startswith("2020-09-13T12:26:40")


@pytest.mark.parametrize("mtime", ["yesterday", "nan", "1e400", "-1e300", "99999-01-01"])
def test_a_time_that_is_none_is_refused(alice, mtime):
    assert alice.upload(("file", "a.txt", b"x"), ("mtime", mtime)).status == 400


def test_a_form_with_a_base_replaces_that_version_or_tells_the_head(alice):
    first = alice.upload(("file", "a.txt", b"1")).json
    second = alice.upload(("file", "a.txt", b"2"), ("base", first["etag"]))
    assert second.json["version"] == 2
    stale = alice.upload(("base", first["etag"]), ("file", "a.txt", b"3"))
    assert (stale.status, stale.code) == (409, "version_conflict")
    assert stale.json["head"] == second.json["etag"]


def test_a_base_with_rename_keeps_both_when_the_head_is_another(alice):
    first = alice.upload(("file", "a.txt", b"1")).json
    renaming = ("base", first["etag"]), ("on_conflict", "rename")
    second = alice.upload(("file", "a.txt", b"2"), *renaming)
    assert (second.json["name"], second.json["version"]) == ("a.txt", 2)
    third = alice.upload(("file", "a.txt", b"3"), *renaming)
    assert third.status == 201
    assert third.json["name"] == "a (1).txt"
    assert alice.read("/a.txt") == b"2"


def test_a_form_upload_below_a_file_is_refused(alice):
    alice.store("/a", b"x")
    answer = alice.upload(("path", "/a/b/c"), ("file", "c", b"x"))
    assert (answer.status, answer.code) == (409, "name_conflict")
    assert answer.json["path"] == "/a"


# Raw content


def test_raw_content_is_created_replaced_read_and_deleted(alice):
    made = alice.put("/docs/new/a.bin", b"one")
    assert made.status == 201
    replaced = alice.put("/docs/new/a.bin", b"two!")
    assert replaced.status == 200
    assert replaced.json["version"] == 2
    read = alice.get("/api/files/content/docs/new/a.bin")
    assert read.body == b"two!"
    assert read.headers["content-disposition"] == 'attachment; filename="a.bin"'
    assert read.headers["accept-ranges"] == "bytes"
    assert read.headers["etag"] == replaced.headers["etag"]
    head = alice.ask("HEAD", "/api/files/content/docs/new/a.bin")
    assert (head.status, head.headers["content-length"]) == (200, "4")
    gone = alice.ask("DELETE", "/api/files/content/docs/new/a.bin")
    assert gone.status == 200
    assert gone.json["trash_id"].startswith("tr_")
    assert alice.get("/api/files/content/docs/new/a.bin").status == 404


def test_an_empty_file_is_a_file(alice):
    assert alice.put("/empty", b"", {"Content-Length": "0"}).status == 201
    assert alice.read("/empty") == b""
    ranged = alice.get("/api/files/content/empty", {"Range": "bytes=0-"})
    assert (ranged.status, ranged.headers["content-range"]) == (416, "bytes */0")


def test_a_large_content_comes_back_whole(alice):
    content = b"".join(hashlib.sha256(b"%d" % each).digest() for each in range(200_000))
    alice.store("/large", content)
    assert alice.read("/large") == content
    part = alice.get("/api/files/content/large", {"Range": "bytes=3000000-3000099"})
    assert part.body == content[3_000_000:3_000_100]


def test_a_chunked_body_is_stored(alice):
    body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    answer = alice.put("/c", body, {"Transfer-Encoding": "chunked"})
    assert answer.status == 201
    assert alice.read("/c") == b"hello world"


def test_if_match_replaces_only_the_named_version(alice):
    first = etag_of(alice.put("/a", b"1"))
    assert alice.put("/a", b"2", {"If-Match": f'"{first}"'}).status == 200
    stale = alice.put("/a", b"3", {"If-Match": f'"{first}"'})
    assert (stale.status, stale.code) == (409, "version_conflict")
    assert stale.json["head"] == first.removesuffix(".1") + ".2"
    assert alice.put("/a", b"3", query=f"?base={first}").status == 409
    assert alice.put("/new", b"3", {"If-Match": f'"{first}"'}).status == 409
    assert alice.put("/new", b"3", {"If-Match": "*"}).status == 412
    assert alice.put("/a", b"3", {"If-Match": "*"}).status == 200
    assert alice.read("/a") == b"3"


def test_if_none_match_creates_only(alice):
    assert alice.put("/a", b"1", {"If-None-Match": "*"}).status == 201
    second = alice.put("/a", b"2", {"If-None-Match": "*"})
    assert (second.status, second.code) == (412, "precondition_failed")
    again = alice.put("/a", b"2", {"If-None-Match": "*"}, "?on_conflict=rename")
    assert again.status == 412
    file = alice.get("/api/files/by-path?path=/a").json["id"]
    assert alice.ask("PUT", f"/api/files/{file}", b"2", {"If-None-Match": "*"}).status == 412
    assert alice.names() == ["a"]


@pytest.mark.parametrize("ack", ["1", "2", "all"])
def test_a_caller_chooses_how_many_copies_to_wait_for(alice, ack):
    answer = alice.put("/a", b"1", {"X-Minibox-Ack": ack})
    have, want = answer.headers["x-minibox-durability"].split("/")
    assert want == "3"
    assert int(have) >= {"1": 1, "2": 2, "all": 3}[ack]


def test_an_ack_that_is_none_is_refused(alice):
    answer = alice.put("/a", b"1", {"X-Minibox-Ack": "bad"})
    assert (answer.status, answer.code) == (400, "validation_failed")
    assert alice.names() == []


def test_put_onto_a_folder_or_below_a_file_is_refused(alice):
    alice.store("/docs/a", b"x")
    assert alice.put("/docs", b"x").code == "name_conflict"
    assert alice.put("/docs/a/b", b"x").code == "name_conflict"
    assert alice.get("/api/files/content/docs/a/b").status == 404
    assert alice.get("/api/files/by-path?path=/docs/a/b").status == 404
    assert alice.ask("DELETE", "/api/files/content/docs/a/b").status == 404
    assert alice.read("/docs/a") == b"x"
    assert alice.put("/", b"x").status == 404
    assert alice.get("/api/files/content/docs").status == 404


# Metadata, change, move, copy


def test_metadata_is_found_by_path_and_by_id(alice):
    made = alice.store("/docs/a.txt", b"hello")
    by_path = alice.get("/api/files/by-path?path=/DOCS/A.txt")
    by_id = alice.get(f"/api/files/{made['id']}")
    assert by_path.json == by_id.json
    assert by_id.json["copies"] == {"have": 3, "want": 3}
    assert by_id.json["owner"].startswith("alice")
    assert etag_of(by_id) == made["etag"]
    assert alice.get("/api/files/by-path?path=/").json["type"] == "folder"


def test_an_id_with_the_other_kinds_prefix_is_unknown(alice):
    file = alice.store("/docs/a", b"x")
    as_folder = "d_" + file["id"].removeprefix("f_")
    as_file = "f_" + file["parent_id"].removeprefix("d_")
    assert alice.get(f"/api/files/{as_folder}").status == 404
    assert alice.get(f"/api/files/{as_file}").status == 404


def test_put_of_json_changes_metadata_and_of_anything_else_the_content(alice):
    file = alice.store("/a", b"1")
    url = f"/api/files/{file['id']}"
    renamed = alice.json("PUT", url, {"name": "b", "tags": ["x", "y"]})
    assert (renamed.status, renamed.json["path"]) == (200, "/b")
    assert renamed.json["tags"] == ["x", "y"]
    assert renamed.json["version"] == 1
    written = alice.ask("PUT", url, b"{}", {"Content-Type": "text/plain"})
    assert (written.status, written.json["version"]) == (200, 2)
    body, typed = form(("file", "whatever", b"formed"))
    assert alice.ask("PUT", url, body, typed).json["version"] == 3
    assert alice.read("/b") == b"formed"
    moved = alice.json("PUT", url, {"folder_id": alice_folder(alice, "/docs")})
    assert moved.json["path"] == "/docs/b"


def alice_folder(alice, path):
    return alice.json("POST", "/api/folders", {"path": path}).json["id"]


def test_a_change_of_nothing_is_refused(alice):
    file = alice.store("/a", b"1")
    answer = alice.json("PUT", f"/api/files/{file['id']}", {})
    assert (answer.status, answer.code) == (400, "nothing_to_update")


@pytest.mark.parametrize(
    "tags", [["x" * 5000], ["t"] * 5000, [""], ["a\x00b"], "text", [1]], ids=repr
)
def test_tags_are_few_and_short(alice, tags):
    file = alice.store("/a", b"1")
    answer = alice.json("PUT", f"/api/files/{file['id']}", {"tags": tags})
    assert (answer.status, answer.code) == (400, "validation_failed")


def test_if_match_guards_changes_moves_and_deletes_too(alice):
    file = alice.store("/a", b"1")
    alice.store("/a", b"2")
    url, stale = f"/api/files/{file['id']}", {"If-Match": f'"{file["etag"]}"'}
    for answer in (
        alice.json("PUT", url, {"name": "b"}, stale),
        alice.json("POST", f"{url}/move", {"name": "b"}, stale),
        alice.ask("DELETE", url, b"", stale),
        alice.ask("DELETE", "/api/files/content/a", b"", stale),
        alice.ask("PUT", url, b"3", stale),
    ):
        assert (answer.status, answer.code) == (409, "version_conflict")
        assert answer.json["head"].endswith(".2")
    assert alice.names() == ["a"]
    assert alice.ask("DELETE", url, b"", {"If-Match": "*"}).status == 200


def test_twins_by_case_and_by_accents_are_one_name(alice):
    alice.store("/R%C3%A9sum%C3%A9", b"1")
    twin = unicodedata.normalize("NFD", "/RÉSUMÉ")
    answer = alice.json("POST", "/api/folders", {"path": twin})
    assert (answer.status, answer.code) == (409, "name_conflict")
    other = alice.store("/b", b"2")
    moved = alice.json("POST", f"/api/files/{other['id']}/move", {"name": twin[1:]})
    assert (moved.status, moved.code) == (409, "name_conflict")
    kept = alice.json(
        "POST", f"/api/files/{other['id']}/move", {"name": twin[1:], "on_conflict": "rename"}
    )
    assert kept.json["name"] == "RÉSUMÉ (1)"


def test_a_file_may_change_the_case_of_its_name(alice):
    file = alice.store("/a", b"1")
    answer = alice.json("POST", f"/api/files/{file['id']}/move", {"name": "A"})
    assert (answer.status, answer.json["path"]) == (200, "/A")


def test_a_folder_cant_be_moved_or_copied_into_itself(alice):
    alice.store("/a/b/c", b"1")
    folder = alice.get("/api/files/by-path?path=/a").json["id"]
    for verb in ("move", "copy"):
        for target in ("/a", "/a/b"):
            answer = alice.json("POST", f"/api/files/{folder}/{verb}", {"path": target})
            assert (answer.status, answer.code) == (400, "validation_failed")
    root = alice.get("/api/files/by-path?path=/").json["id"]
    assert alice.json("POST", f"/api/files/{root}/move", {"path": "/a"}).status == 404
    assert alice.json("PATCH", f"/api/folders/{root}", {"name": "x"}).status == 404
    assert alice.ask("DELETE", f"/api/folders/{root}").status == 404


def test_a_copy_shares_the_bytes_and_is_another_file(alice):
    file = alice.store("/a", b"1")
    answer = alice.json("POST", f"/api/files/{file['id']}/copy", {"name": "b"})
    assert answer.status == 201
    assert answer.json["id"] != file["id"]
    assert answer.json["version"] == 1
    assert alice.read("/b") == b"1"
    conflict = alice.json("POST", f"/api/files/{file['id']}/copy", {"name": "B"})
    assert conflict.status == 409
    renamed = alice.json("POST", f"/api/files/{file['id']}/copy", {"on_conflict": "rename"})
    assert renamed.json["name"] == "a (1)"
    assert alice.quota()["used"] == 3


def test_a_folder_is_copied_with_all_in_it(alice):
    alice.store("/a/b/c", b"12")
    folder = alice.get("/api/files/by-path?path=/a").json["id"]
    assert alice.json("POST", f"/api/files/{folder}/copy", {"name": "z"}).status == 201
    assert alice.read("/z/b/c") == b"12"


# Folders and lists


def test_folders_are_made_by_path_or_by_name_and_parent(alice):
    made = alice.json("POST", "/api/folders", {"path": "/x/y/z"})
    assert (made.status, made.json["path"]) == (201, "/x/y/z")
    by_id = alice.json("POST", "/api/folders", {"name": "w", "parent_id": made.json["id"]})
    assert by_id.json["path"] == "/x/y/z/w"
    by_path = alice.json("POST", "/api/folders", {"name": "v", "parent_path": "/x"})
    assert by_path.json["path"] == "/x/v"
    assert alice.json("POST", "/api/folders", {"name": "v", "parent_path": "/no"}).status == 404
    assert alice.json("POST", "/api/folders", {"path": "/x/y"}).code == "name_conflict"
    assert alice.json("POST", "/api/folders", {}).status == 400
    shown = alice.get(f"/api/folders/{made.json['id']}")
    assert shown.json["id"] == made.json["id"]
    children = alice.get("/api/folders/root/children")
    assert [each["name"] for each in children.json["items"]] == ["x"]


def test_a_folder_goes_and_comes_back_with_all_in_it(alice):
    alice.store("/a/b", b"123")
    folder = alice.get("/api/files/by-path?path=/a").json["id"]
    gone = alice.ask("DELETE", f"/api/folders/{folder}").json
    assert alice.names() == []
    listed = alice.get("/api/trash").json
    assert listed["total"] == 1
    assert listed["items"][0]["path"] == "/a"
    assert listed["items"][0]["size"] == 3
    back = alice.json("POST", f"/api/trash/{gone['trash_id']}/restore")
    assert (back.status, back.json["path"]) == (200, "/a")
    assert alice.read("/a/b") == b"123"


def test_lists_are_in_the_order_of_folded_names(alice):
    names = ["abcd", "abc", "B", "a", "ab", "ä", "Z", "z1", "a b", "a-b", "10", "9"]
    for name in names:
        alice.json("POST", "/api/folders", {"name": name})
    assert alice.names() == sorted(names, key=str.casefold)


def test_lists_are_paged_searched_sorted_and_filtered(alice):
    for each in range(7):
        alice.store(f"/f{each}", b"x" * (7 - each))
    alice.json("POST", "/api/folders", {"path": "/sub"})
    alice.store("/sub/f9", b"deep")

    def listed(query):
        answer = alice.get(f"/api/files/list?{query}")
        assert answer.status == 200, answer.body
        return answer.json

    first = listed("per_page=3")
    assert [each["name"] for each in first["items"]] == ["f0", "f1", "f2"]
    assert (first["total"], first["page"], first["per_page"]) == (8, 1, 3)
    third = listed("per_page=3&page=3")
    assert [each["name"] for each in third["items"]] == ["f6", "sub"]
    assert third.get("next_cursor") is None
    names, cursor = [], first["next_cursor"]
    while cursor:
        page = listed(f"limit=2&cursor={cursor}")
        names += [each["name"] for each in page["items"]]
        cursor = page.get("next_cursor")
    assert names == ["f3", "f4", "f5", "f6", "sub"]
    assert listed("page=99")["items"] == []
    assert [each["name"] for each in listed("search=F1")["items"]] == ["f1"]
    assert listed("sort=size&type=file")["items"][0]["name"] == "f6"
    assert listed("sort=-name")["items"][0]["name"] == "sub"
    assert listed("recursive=true&search=f9")["items"][0]["path"] == "/sub/f9"
    assert listed("type=folder")["total"] == 1


@pytest.mark.parametrize(
    "query",
    [
        "per_page=5001",
        "per_page=0",
        "per_page=-1",
        "page=0",
        "page=-1",
        "page=999999999999999999999999",
        "per_page=x",
        "limit=0",
        "sort=colour",
        "type=device",
        "cursor=!!!!",
        "cursor=abc",
        "cursor=" + "QUFB" * 500,
        "cursor=%C3%A9",
        "cursor=QUFB&sort=size",
        "recursive=perhaps",
        "page=1&page=2",
        "path=relative/../x",
    ],
)
def test_a_list_that_cant_be_made_is_refused(alice, query):
    alice.store("/f", b"x")
    answer = alice.get(f"/api/files/list?{query}")
    assert answer.status == 400
    assert answer.code in ("validation_failed", "bad_cursor")


def test_a_file_has_no_children(alice):
    file = alice.store("/f", b"x")
    assert alice.get("/api/files/list?path=/f").status == 404
    assert alice.get(f"/api/folders/{file['id']}/children").status == 404
    assert alice.get("/api/files/list?path=/nothing").status == 404


# Trash


def test_a_deleted_path_made_again_is_another_file(alice):
    first = alice.store("/a", b"1")
    gone = alice.ask("DELETE", f"/api/files/{first['id']}").json
    second = alice.store("/a", b"2")
    assert second["id"] != first["id"]
    assert alice.put("/a", b"3", {"If-Match": f'"{first["etag"]}"'}).status == 409
    back = alice.json("POST", f"/api/trash/{gone['trash_id']}/restore")
    assert back.json["path"] == "/a (1)"
    assert back.json["id"] == first["id"]


def test_what_is_in_the_trash_can_only_be_restored_or_purged(alice):
    file = alice.store("/docs/a", b"1")
    url = f"/api/files/{file['id']}"
    gone = alice.ask("DELETE", url).json
    assert alice.ask("DELETE", url).status == 404
    assert alice.get(url).status == 404
    assert alice.get(f"{url}/download").status == 404
    assert alice.get(f"{url}/versions").status == 404
    assert alice.ask("PUT", url, b"2").status == 404
    assert alice.json("POST", f"{url}/move", {"name": "x"}).status == 404
    assert alice.quota()["trash"] == 1
    assert alice.ask("DELETE", f"/api/trash/{gone['trash_id']}").status == 200
    assert alice.ask("DELETE", f"/api/trash/{gone['trash_id']}").status == 404
    assert alice.json("POST", f"/api/trash/{gone['trash_id']}/restore").status == 404
    assert alice.quota()["used"] == 0


def test_something_inside_a_deleted_folder_is_gone_too(alice):
    file = alice.store("/docs/a", b"1")
    folder = alice.get("/api/files/by-path?path=/docs").json["id"]
    alice.ask("DELETE", f"/api/folders/{folder}")
    assert alice.get(f"/api/files/{file['id']}").status == 404
    body = alice.upload(("folder_id", folder), ("file", "b", b"x"))
    assert body.status == 404
    assert alice.json("POST", "/api/folders", {"name": "x", "parent_id": folder}).status == 404


def test_a_restore_makes_the_folder_again_that_is_missing(alice):
    file = alice.store("/docs/a", b"1")
    gone = alice.ask("DELETE", f"/api/files/{file['id']}").json
    alice.ask("DELETE", "/api/files/content/docs?permanent=true")
    back = alice.json("POST", f"/api/trash/{gone['trash_id']}/restore")
    assert back.json["path"] == "/docs/a"


def test_a_restore_where_a_file_stands_in_the_way_is_a_conflict(alice):
    file = alice.store("/docs/a", b"1")
    gone = alice.ask("DELETE", f"/api/files/{file['id']}").json
    alice.ask("DELETE", "/api/files/content/docs")
    alice.store("/docs", b"now a file")
    answer = alice.json("POST", f"/api/trash/{gone['trash_id']}/restore")
    assert (answer.status, answer.code) == (409, "name_conflict")


def test_a_permanent_delete_leaves_nothing(alice):
    alice.store("/a", b"1")
    answer = alice.ask("DELETE", "/api/files/content/a?permanent=true")
    assert answer.json["trash_id"] is None
    assert alice.get("/api/trash").json["total"] == 0
    assert alice.quota()["used"] == 0


def test_the_trash_is_emptied(alice):
    for name in ("/a", "/b"):
        alice.store(name, b"12")
        alice.ask("DELETE", f"/api/files/content{name}")
    assert alice.ask("DELETE", "/api/trash").status == 200
    assert alice.quota() == {"limit": None, "used": 0, "reserved": 0, "versions": 0, "trash": 0}


# Versions


def test_versions_are_listed_read_and_restored(alice):
    file = alice.store("/a", b"one")
    alice.store("/a", b"two!")
    url = f"/api/files/{file['id']}/versions"
    listed = alice.get(url).json
    assert [each["version"] for each in listed["items"]] == [2, 1]
    assert [each["is_head"] for each in listed["items"]] == [True, False]
    assert alice.get(f"{url}/1").json["size"] == 3
    assert alice.get(f"{url}/1/download").body == b"one"
    assert alice.get(f"/api/files/{file['id']}/download?version=1").body == b"one"
    assert alice.get("/api/files/content/a?version=1").body == b"one"
    restored = alice.json("POST", f"{url}/1/restore")
    assert (restored.status, restored.json["version"]) == (200, 3)
    assert alice.read("/a") == b"one"
    assert alice.quota()["used"] == 10
    assert alice.quota()["versions"] == 7


@pytest.mark.parametrize("number", ["0", "4", "-1", "x", "1.0", "9" * 30, "%31%30", "\uff11"])
def test_a_version_that_is_none_is_not_found(alice, number):
    file = alice.store("/a", b"one")
    url = f"/api/files/{file['id']}/versions"
    quoted = number.encode().decode("latin-1") if number.isascii() else "%EF%BC%91"
    assert alice.get(f"{url}/{quoted}").status == 404
    assert alice.get(f"{url}/{quoted}/download").status == 404
    assert alice.json("POST", f"{url}/{quoted}/restore").status == 404


@pytest.mark.parametrize("number", ["0", "-1", "99", "9" * 30])
def test_a_download_of_a_version_that_is_none_is_refused(alice, number):
    file = alice.store("/a", b"one")
    answer = alice.get(f"/api/files/{file['id']}/download?version={number}")
    assert answer.status in (400, 404)
    assert alice.get(f"/api/files/content/a?version={number}").status in (400, 404)


# Download


def test_ranges_and_conditions_of_a_download(alice):
    file = alice.store("/a", b"0123456789")
    url, tag = f"/api/files/{file['id']}/download", f'"{file["etag"]}"'
    one = alice.get(url, {"Range": "bytes=2-4"})
    assert (one.status, one.body) == (206, b"234")
    assert one.headers["content-range"] == "bytes 2-4/10"
    several = alice.get(url, {"Range": "bytes=0-0,-1"})
    assert several.status == 206
    assert several.headers["content-type"].startswith("multipart/byteranges")
    beyond = alice.get(url, {"Range": "bytes=10-"})
    assert (beyond.status, beyond.code) == (416, "bad_range")
    assert alice.get(url, {"If-None-Match": tag}).status == 304
    assert alice.get(url, {"If-Match": '"f_x.1"'}).status == 412
    stale = alice.get(url, {"Range": "bytes=0-1", "If-Range": '"f_x.1"'})
    assert (stale.status, stale.body) == (200, b"0123456789")


def test_a_download_never_runs_in_the_applications_origin(alice):
    alice.put("/a.html", b"<script>", {"Content-Type": "text/html"})
    answer = alice.get("/api/files/content/a.html")
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_health_of_a_file_names_its_holders(alice):
    file = alice.store("/a", b"0123456789")
    health = alice.get(f"/api/files/{file['id']}/health").json
    assert health["copies"] == {"have": 3, "want": 3}
    assert health["chunks"][0]["holders"] == ["n1", "n2", "n3"]


# Idempotency


def test_the_same_key_gives_the_same_answer_and_one_change(alice):
    key = {"Idempotency-Key": "once"}
    file = alice.store("/a", b"x")
    answers = [
        alice.json("POST", f"/api/files/{file['id']}/copy", {"name": "b"}, key) for _ in range(3)
    ]
    assert [each.status for each in answers] == [201] * 3
    assert len({each.body for each in answers}) == 1
    assert alice.names() == ["a", "b"]
    other = alice.json("POST", f"/api/files/{file['id']}/copy", {"name": "c"}, key)
    assert (other.status, other.code) == (422, "idempotency_mismatch")


def test_a_form_upload_is_honoured_once(alice):
    key = {"Idempotency-Key": "once"}
    first = alice.upload(("file", "a", b"x"), headers=key)
    second = alice.upload(("file", "a", b"x"), headers=key)
    assert first.body == second.body
    assert (second.status, second.headers["etag"]) == (201, first.headers["etag"])
    assert second.headers["x-minibox-durability"] == first.headers["x-minibox-durability"]
    assert alice.names() == ["a"]
    other = alice.upload(("file", "a", b"y"), headers=key)
    assert (other.status, other.code) == (422, "idempotency_mismatch")


def test_what_was_done_once_is_answered_again_though_the_thing_is_gone(alice):
    file = alice.store("/a", b"x")
    url, key = f"/api/files/{file['id']}", {"Idempotency-Key": "once"}
    asked = [
        (f"{url}/move", {"name": "b"}),
        (f"{url}/copy", {"name": "c"}),
        (f"{url}/versions/1/restore", None),
        ("/api/folders", {"name": "f"}),
    ]
    first = [alice.json("POST", *each, key) for each in asked]
    assert all(each.status in (200, 201) for each in first)
    alice.ask("DELETE", url)
    second = [alice.json("POST", *each, key) for each in asked]
    assert [each.body for each in second] == [each.body for each in first]
    assert [each.status for each in second] == [each.status for each in first]


def test_two_users_may_use_the_same_key(alice, bob):
    key = {"Idempotency-Key": "once"}
    assert alice.upload(("file", "a", b"x"), headers=key).status == 201
    assert bob.upload(("file", "a", b"y"), headers=key).status == 201
