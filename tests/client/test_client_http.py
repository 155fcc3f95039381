"""Typed calls against a small twisted.web server, both in memory on one virtual clock."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from minibox import errors
from minibox.client.authority import Authority, Credentials
from minibox.client.bodies import StreamedBody
from minibox.client.http import CALL_SECONDS, SILENCE_SECONDS, Http
from minibox.http_api.accounts import PROFILE, Login
from minibox.http_api.cluster import READY
from minibox.http_api.files import (
    DOWNLOAD,
    MAKE_FOLDER,
    PUT_CONTENT,
    MakeFolder,
)
from minibox.http_api.problems import problem_of, status_of
from minibox.simulation import Simulation

PROFILE_ANSWER = {
    "id": "usr_1",
    "username": "alice",
    "email": None,
    "role": "user",
    "created": "2026-01-01T00:00:00Z",
    "quota": {"limit": None, "used": 1, "reserved": 0, "versions": 0, "trash": 0},
}
ENTRY = {
    "id": "d_1",
    "type": "folder",
    "name": "a",
    "path": "/a",
    "parent_id": "d_0",
    "created": "2026-01-01T00:00:00Z",
    "modified": "2026-01-01T00:00:00Z",
}
URL = "http://server:8000"
Answer = Callable[[Request], Any]


class Scripted(Resource):
    """Answers each request by the next of its script; the last one stays."""

    isLeaf = True  # noqa: N815 - as twisted.web has it

    def __init__(self, script):
        super().__init__()
        self.script = script
        self.seen = []

    def render(self, request):
        self.seen.append(request)
        request.seen_body = request.content.read()
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return step(request)


def say(document, status=200, **headers):
    def answer(request):
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-"), value)
        return json.dumps(document).encode()

    return answer


def refuse(failure, **headers):
    return say(problem_of(failure, "r1"), status_of(failure), **headers)


def drop(request):
    request.channel.transport.abortConnection()
    return NOT_DONE_YET


def hang(request):  # noqa: ARG001
    return NOT_DONE_YET


TOKENS = {
    "access_token": "fresh",
    "token_type": "bearer",
    "expires_in": 1,
    "refresh_token": "second",
    "user": {k: v for k, v in PROFILE_ANSWER.items() if k != "quota"},
}


class Bench:
    """A client and a scripted server in one simulation."""

    def __init__(self, *script, credentials=None, login=None, listen=True, device_id=None):
        self.simulation = Simulation(1)
        self.server = Scripted(list(script))
        world = self.simulation.world("server")
        if listen:
            site = Site(self.server, reactor=world.clock)
            self.simulation.run(world.endpoints.to_listen("tcp:8000").listen(site))
        self.kept = []
        self.world = self.simulation.world("laptop")
        self.authority = Authority(credentials, self.kept.append)
        self.http = Http(self.world, URL, self.authority, login=login, device_id=device_id)

    def run(self, awaitable):
        return self.simulation.run(awaitable)

    def elapsed(self, awaitable, failure):
        began = self.world.clock.seconds()
        with pytest.raises(failure) as caught:
            self.run(awaitable)
        return self.world.clock.seconds() - began, caught.value


def test_an_answer_is_the_declared_value():
    bench = Bench(say(PROFILE_ANSWER), credentials=Credentials("t0"), device_id="phone")
    profile = bench.run(bench.http.call(PROFILE))
    assert profile.username == "alice"
    seen = bench.server.seen[0]
    assert seen.getHeader("Authorization") == "Bearer t0"
    assert seen.getHeader("X-Device-ID") == "phone"


def test_a_problem_document_is_raised_as_its_failure_with_its_fields():
    bench = Bench(refuse(errors.QuotaExceeded(limit=10, available=3)))
    with pytest.raises(errors.QuotaExceeded) as caught:
        bench.run(bench.http.call(PROFILE))
    assert (caught.value.limit, caught.value.available) == (10, 3)


def test_an_answer_of_another_shape_is_a_bad_record():
    bench = Bench(say({"username": 7}))
    with pytest.raises(errors.BadRecord):
        bench.run(bench.http.call(PROFILE))


def test_a_success_that_the_route_does_not_declare_is_no_success():
    bench = Bench(say(PROFILE_ANSWER, status=204))
    with pytest.raises(errors.Failure):
        bench.run(bench.http.call(PROFILE))


def test_a_cut_connection_is_tried_again_for_what_may_be_repeated():
    bench = Bench(drop, drop, say(PROFILE_ANSWER))
    assert bench.run(bench.http.call(PROFILE)).username == "alice"


def test_a_change_without_a_key_is_sent_only_once():
    bench = Bench(drop, say(ENTRY, 201))
    with pytest.raises(errors.Unreachable):
        bench.run(bench.http.call(MAKE_FOLDER, body=MakeFolder(path="/a")))
    assert len(bench.server.seen) == 1


def test_a_change_with_a_key_is_repeated_with_the_same_key():
    bench = Bench(drop, say(ENTRY, 201))
    made = bench.run(bench.http.call(MAKE_FOLDER, body=MakeFolder(path="/a"), once=True))
    first, second = bench.server.seen
    assert made.path == "/a"
    assert first.getHeader("Idempotency-Key") == second.getHeader("Idempotency-Key")
    assert first.getHeader("Idempotency-Key")
    assert first.seen_body == second.seen_body


def test_a_busy_server_is_asked_again_after_the_time_that_it_names():
    bench = Bench(refuse(errors.Busy(), Retry_After="4"), say(ENTRY, 201))
    began = bench.world.clock.seconds()
    bench.run(bench.http.call(MAKE_FOLDER, body=MakeFolder(path="/a")))
    assert bench.world.clock.seconds() - began >= 2  # half of it, at the least jitter


def test_patience_ends():
    bench = Bench(refuse(errors.Starting()))
    took, _ = bench.elapsed(bench.http.call(PROFILE), errors.Starting)
    assert 5 < took < 20


def test_a_server_that_never_answered_is_given_up_soon():
    bench = Bench(say({}), listen=False)
    took, failure = bench.elapsed(bench.http.call(PROFILE), errors.Unreachable)
    assert took < 2
    assert URL in str(failure)


def test_a_silent_server_is_a_call_timeout_that_is_not_repeated():
    bench = Bench(hang)
    took, _ = bench.elapsed(bench.http.call(PROFILE), errors.CallTimeout)
    assert took == pytest.approx(CALL_SECONDS, abs=1)
    assert len(bench.server.seen) == 1


def test_the_deadline_goes_on_while_the_body_comes():
    def half(request):
        request.setHeader("Content-Length", "1000")
        request.write(b"{")
        return NOT_DONE_YET

    bench = Bench(half)
    took, _ = bench.elapsed(bench.http.call(PROFILE), errors.CallTimeout)
    assert took == pytest.approx(CALL_SECONDS, abs=1)


def test_a_body_that_is_cut_is_unreachable_and_never_a_short_answer():
    def half(request):
        request.setHeader("Content-Length", "1000")
        request.write(b"half")
        cut = request.channel.transport.abortConnection
        bench.world.clock.callLater(1, cut)
        return NOT_DONE_YET

    bench = Bench(half)

    async def read():
        reply = await bench.http.receive(DOWNLOAD, {"file_id": "f_1"})
        return [part async for part in reply.parts()]

    with pytest.raises(errors.Unreachable):
        bench.run(read())


def test_an_expired_token_is_refreshed_once_for_all_calls_and_kept():
    def script(request):
        if request.path == b"/api/auth/refresh":
            assert json.loads(request.seen_body) == {"refresh_token": "first"}
            return say(TOKENS)(request)
        if request.getHeader("Authorization") == "Bearer fresh":
            return say(PROFILE_ANSWER)(request)
        return refuse(errors.TokenExpired())(request)

    bench = Bench(script, credentials=Credentials("old", "first", "alice"))

    async def two():
        from twisted.internet.defer import Deferred, gatherResults  # noqa: PLC0415

        calls = [Deferred.fromCoroutine(bench.http.call(PROFILE)) for _ in range(2)]
        return await gatherResults(calls)

    assert [each.username for each in bench.run(two())] == ["alice", "alice"]
    refreshes = [each for each in bench.server.seen if each.path == b"/api/auth/refresh"]
    assert len(refreshes) == 1
    assert refreshes[0].getHeader("Authorization") is None
    assert bench.kept == [Credentials("fresh", "second", "alice")]


def test_a_token_that_stays_refused_is_not_refreshed_for_ever():
    def script(request):
        if request.path == b"/api/auth/refresh":
            return say(TOKENS)(request)
        return refuse(errors.TokenExpired())(request)

    bench = Bench(script, credentials=Credentials("old", "first"))
    with pytest.raises(errors.TokenExpired):
        bench.run(bench.http.call(PROFILE))
    assert len(bench.server.seen) == 3


def test_a_client_with_a_password_logs_in_when_it_first_must():
    def script(request):
        if request.path == b"/api/auth/login":
            return say(TOKENS)(request)
        return say(PROFILE_ANSWER)(request)

    bench = Bench(script, login=Login(password="secret12", username="alice"))
    bench.run(bench.http.call(PROFILE))
    assert [each.path for each in bench.server.seen] == [b"/api/auth/login", b"/api/auth/profile"]


def test_health_is_asked_without_a_token_and_told_of_when_it_is_bad():
    bad = {"ready": False, "nodes_up": 1, "nodes": 3, "reason": "too few"}
    bench = Bench(say(bad, status=503), credentials=Credentials("t0"))
    assert bench.run(bench.http.call(READY)).reason == "too few"
    assert bench.server.seen[0].getHeader("Authorization") is None


def test_a_redirect_takes_the_token_nowhere():
    bench = Bench(say({}, status=302, Location="http://elsewhere/"), credentials=Credentials("t0"))
    with pytest.raises(errors.Failure):
        bench.run(bench.http.call(PROFILE))
    assert len(bench.server.seen) == 1


def streamed(bench, parts, length):
    async def source():
        for part in parts:
            yield part

    return bench.http.send(
        PUT_CONTENT, {"path": "/a"}, lambda heard: StreamedBody(source(), length, heard)
    )


def test_a_streamed_body_arrives_whole():
    made = {**ENTRY, "type": "file", "size": 6}
    bench = Bench(say(made, status=201))
    assert bench.run(streamed(bench, [b"abc", b"def"], 6)).size == 6
    assert bench.server.seen[0].seen_body == b"abcdef"


def test_a_source_that_fails_fails_the_call_with_its_own_failure():
    async def source():
        yield b"abc"
        raise errors.ChecksumMismatch("a", "b")

    bench = Bench(say(ENTRY, status=201))
    sending = bench.http.send(
        PUT_CONTENT, {"path": "/a"}, lambda heard: StreamedBody(source(), 6, heard)
    )
    with pytest.raises(errors.ChecksumMismatch):
        bench.run(sending)


def test_a_server_that_stops_taking_bytes_is_given_up_by_silence():
    bench = Bench(hang)
    took, _ = bench.elapsed(streamed(bench, [b"abc"], 3), errors.CallTimeout)
    assert took == pytest.approx(SILENCE_SECONDS, abs=1)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://a", "http://", "http://a:0", "http://a:x", "http://u@a/", ""]
)
def test_what_is_no_server_is_refused_at_once(url):
    with pytest.raises(errors.ValidationFailed):
        Http(Simulation(1).world("laptop"), url, Authority(None))
