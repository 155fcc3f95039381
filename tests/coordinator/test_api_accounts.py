"""Accounts over HTTP: registering, sessions, profiles, passwords."""

import pytest
from whole_cluster import PASSWORD, Cluster, Person

from minibox import credentials

JSON = {"Content-Type": "application/json"}


def post(cluster, path, value, headers=None):
    nobody = Person(cluster, {"access_token": "none"})
    return nobody.json("POST", path, value, {"Authorization": "", **(headers or {})})


def register(cluster, **asked):
    return post(cluster, "/api/auth/register", {"password": PASSWORD, **asked})


def login(cluster, **asked):
    return post(cluster, "/api/auth/login", {"password": PASSWORD, **asked})


def test_an_account_is_made_and_either_word_logs_in(cluster):
    made = register(cluster, username="Carol", email="carol@example.org")
    assert made.status == 201
    assert made.json["message"]
    user = made.json["user"]
    assert (user["username"], user["email"], user["role"]) == ("Carol", "carol@example.org", "user")
    assert "password" not in made.body.decode().lower()
    for field in ("username", "email"):
        for name in ("carol", "CAROL", "Carol@Example.org"):
            answer = login(cluster, **{field: name})
            assert answer.status == 200
            assert answer.json["token_type"] == "bearer"
            assert answer.json["expires_in"] == 12 * 3600
            assert answer.json["user"] == user


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"username": ""},
        {"username": "a@b"},
        {"username": "a b"},
        {"username": "a\x00b"},
        {"username": "x" * 65},
        {"email": "nobody"},
        {"email": "x" * 5000 + "@example.org"},
        {"username": "dave", "password": "short"},
        {"username": "dave", "password": "x" * 5000},
        {"username": 5},
        {"username": None, "email": None},
    ],
    ids=lambda asked: repr(asked)[:40],
)
def test_an_account_that_cant_be_is_refused(cluster, asked):
    answer = register(cluster, **asked)
    assert (answer.status, answer.code) == (400, "validation_failed")


def test_lone_surrogates_are_refused_everywhere(cluster):
    for field in (b"username", b"email", b"password"):
        values = {b"username": b"u", b"password": b"long enough", field: b"\\ud800long enough"}
        body = b"{%b}" % b",".join(b'"%b":"%b"' % each for each in values.items())
        for path in ("/api/auth/register", "/api/auth/login"):
            answer = cluster.ask("POST", path, body, JSON)
            assert answer.status in (400, 401)


def test_twins_of_a_name_are_taken(cluster):
    register(cluster, username="Émile", email="emile@example.org")
    for twin in ({"username": "e\u0301mile"}, {"username": "ÉMILE"}):
        answer = register(cluster, **twin)
        assert (answer.status, answer.code) == (409, "already_exists")
    answer = register(cluster, username="other", email="EMILE@example.org")
    assert answer.status == 409


def test_two_addresses_with_one_first_part_get_two_usernames(cluster):
    made = [register(cluster, email=f"walt@{each}.org") for each in ("x", "y", "z")]
    assert [each.status for each in made] == [201] * 3
    assert [each.json["user"]["username"] for each in made] == ["walt", "walt2", "walt3"]
    assert login(cluster, email="walt@y.org").json["user"] == made[1].json["user"]
    assert register(cluster, email="walt@x.org").status == 409


def test_unknown_users_and_wrong_passwords_are_told_nothing_apart(cluster, monkeypatch):
    register(cluster, username="erin")
    hashed = []
    real = credentials.password_matches

    def counting(password, stored):
        hashed.append(stored)
        return real(password, stored)

    monkeypatch.setattr(credentials, "password_matches", counting)
    for name in ("erin", "nobody", "x" * 10_000, "é" * 300 + "@x", "", "\U0001f600" * 200):
        answer = post(cluster, "/api/auth/login", {"username": name, "password": "wrong" * 2})
        assert (answer.status, answer.code) == (401, "bad_credentials")
        assert len(hashed) == 1, f"{name[:20]!r} was not hashed once"
        hashed.clear()


def test_a_refresh_token_serves_once_and_an_old_one_ends_the_session(cluster):
    frank = cluster.user("frank")
    first = frank.tokens
    second = post(cluster, "/api/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert second.status == 200
    renewed = Person(cluster, second.json)
    assert renewed.get("/api/auth/profile").status == 200
    stolen = post(cluster, "/api/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert (stolen.status, stolen.code) == (401, "token_revoked")
    assert renewed.get("/api/auth/profile").code == "token_revoked"
    again = post(cluster, "/api/auth/refresh", {"refresh_token": second.json["refresh_token"]})
    assert again.status == 401


@pytest.mark.parametrize("token", ["", "x", "mbr_", "mbr_ses_0.x", "mbr_.", "mbr_" + "é" * 9000])
def test_a_refresh_token_that_is_none_is_refused(cluster, token):
    answer = post(cluster, "/api/auth/refresh", {"refresh_token": token})
    assert answer.status == 401


def test_a_logout_counts_from_the_next_request_on(cluster):
    grace = cluster.user("grace")
    other = cluster.login("grace")
    assert grace.json("POST", "/api/auth/logout").status == 200
    assert grace.get("/api/auth/profile").status == 401
    assert grace.get("/api/files/list").status == 401
    assert other.get("/api/auth/profile").status == 200
    third = cluster.login("grace")
    assert other.json("POST", "/api/auth/logout", {"all_devices": True}).status == 200
    assert third.get("/api/auth/profile").status == 401


def test_a_profile_is_shown_and_renamed(cluster):
    heidi = cluster.user("heidi")
    profile = heidi.get("/api/auth/profile").json
    assert profile["quota"] == {"limit": None, "used": 0, "reserved": 0, "versions": 0, "trash": 0}
    changed = heidi.json("PUT", "/api/auth/profile", {"username": "Heidi2", "email": "h@x.org"})
    assert (changed.status, changed.json["username"]) == (200, "Heidi2")
    assert login(cluster, username="heidi").status == 401
    assert login(cluster, username="heidi2").status == 200
    assert heidi.json("PUT", "/api/auth/profile", {}).code == "nothing_to_update"
    assert heidi.json("PUT", "/api/auth/profile", {"username": "admin"}).status == 409
    assert heidi.json("PUT", "/api/auth/profile", {"username": "a/b"}).status == 400
    assert register(cluster, username="heidi").status == 201


def test_two_renames_at_once_leave_one_name(cluster):
    user = cluster.user("mallory0")
    asking = [
        user.begin("PUT", "/api/auth/profile", b'{"username":"mallory%d"}' % each, JSON)
        for each in (1, 2)
    ]
    assert [cluster.finish(each).status for each in asking] == [200, 200]
    working = [n for n in range(3) if login(cluster, username=f"mallory{n}").status == 200]
    assert len(working) == 1
    assert user.get("/api/auth/profile").json["username"] == f"mallory{working[0]}"


def test_a_new_password_ends_all_other_sessions(cluster):
    ivan = cluster.user("ivan")
    other = cluster.login("ivan")
    asked = {"current_password": PASSWORD, "new_password": "another password"}
    wrong = ivan.json("POST", "/api/auth/password", {**asked, "current_password": "no"})
    assert (wrong.status, wrong.code) == (401, "bad_credentials")
    short = ivan.json("POST", "/api/auth/password", {**asked, "new_password": "x"})
    assert short.status == 400
    assert ivan.json("POST", "/api/auth/password", asked).status == 200
    assert ivan.get("/api/auth/profile").status == 200
    assert other.get("/api/auth/profile").status == 401
    assert login(cluster, username="ivan").status == 401
    assert cluster.login("ivan", "another password")


def test_a_login_that_overlaps_a_new_password_opens_no_session(cluster):
    judy = cluster.user("judy")
    asked = b'{"current_password":"%b","new_password":"another password"}' % PASSWORD.encode()
    changing = judy.begin("POST", "/api/auth/password", asked, JSON)
    body = b'{"username":"judy","password":"%b"}' % PASSWORD.encode()
    opened = []
    while not changing.has_ended:
        opened.append(cluster.begin("POST", "/api/auth/login", body, JSON))
        cluster.advance(0.0005)
    assert cluster.finish(changing).status == 200
    answers = [cluster.finish(each) for each in opened]
    for answer in answers:
        if answer.status == 200:
            assert Person(cluster, answer.json).get("/api/auth/profile").status == 401
        else:
            assert answer.status in (401, 503)


def test_a_closed_account_is_gone_with_its_files_and_its_name_is_free(cluster):
    kim = cluster.user("kim")
    kim.store("/docs/a", b"x")
    kim.store("/b", b"x")
    kim.ask("DELETE", "/api/files/content/b")
    assert kim.json("DELETE", "/api/auth/profile", {"password": "wrong"}).status == 401
    assert kim.json("DELETE", "/api/auth/profile", {"password": PASSWORD}).status == 200
    assert kim.get("/api/auth/profile").status == 401
    assert login(cluster, username="kim").status == 401
    again = cluster.user("kim")
    assert again.names() == []


def test_registration_can_be_closed():
    cluster = Cluster(registration="closed", start_nodes=False, settle=False)
    answer = register(cluster, username="leo")
    assert (answer.status, answer.code) == (403, "registration_closed")


def test_the_first_start_makes_the_admin(admin):
    assert admin.get("/api/auth/profile").json["role"] == "admin"


def test_sessions_and_files_live_on_through_a_restart():
    cluster = Cluster()
    alice = cluster.user("alice")
    alice.store("/a", b"content")
    cluster.restart_coordinator()
    assert alice.read("/a") == b"content"
    assert alice.tokens["refresh_token"]
    assert cluster.login("admin", "the admin's password")
