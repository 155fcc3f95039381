"""A real cluster under ``minibox up``, used by the command line and the library."""

import contextlib
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from twisted.internet.defer import fail
from twisted.internet.error import ConnectionRefusedError as Refused

from minibox import errors
from minibox.chunk import chunk_id
from minibox.cli.commands import minibox
from minibox.client import Client, Session, uploading
from minibox.client.background import Background
from minibox.client.putting import OpenSource, open_source
from minibox.client.uploading import Target
from minibox.config import demo_config
from minibox.http_api.uploads import STATE

pytestmark = [pytest.mark.probe, pytest.mark.timeout(120)]

PASSWORD = "correct horse"
START_SECONDS = 40


def free_base():
    """A port such that those that a demo cluster takes are free, as far as one can know."""
    for base in range(21000 + os.getpid() % 300 * 10, 60000, 311):
        wanted = [base, base + 1, base + 101, base + 102, base + 103]
        with contextlib.ExitStack() as stack:
            try:
                for port in wanted:
                    listening = stack.enter_context(socket.socket())
                    listening.bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise AssertionError("no free ports")


class Cluster:
    """``minibox up`` in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        base = free_base()
        self.url = f"http://127.0.0.1:{base}"
        (folder / "cluster.yaml").write_text(demo_config(3, base))
        self.errors = (folder / "up.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minibox", "up"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, "MINIBOX_ADMIN_PASSWORD": PASSWORD},
        )
        self.ready = self._line()
        with Client(self.url) as box:
            until(lambda: _health(box))

    def _line(self):
        readable, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        assert readable, (self.folder / "up.log").read_text()
        return self.process.stdout.readline().decode()

    def children(self):
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(each) for each in listed.split()]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(START_SECONDS)
        self.process.stdout.close()
        self.errors.close()
        return code


def _health(box):
    try:
        return box.health().ready
    except (errors.Unreachable, errors.Starting):
        return False


def until(condition, seconds=START_SECONDS):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        select.select([], [], [], 0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def box(cluster, tmp_path):
    with Client(
        cluster.url, username="admin", password=PASSWORD, resume_folder=tmp_path / "resume"
    ) as client:
        yield client


@pytest.fixture
def run(cluster, tmp_path, monkeypatch):
    """Run a command as a fresh user of this machine who is logged in."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MINIBOX_PASSWORD", PASSWORD)
    monkeypatch.delenv("MINIBOX_TOKEN", raising=False)
    monkeypatch.setenv("MINIBOX_URL", cluster.url)

    def invoke(*arguments, code=0, text=None):
        result = CliRunner().invoke(minibox, [str(each) for each in arguments], input=text)
        assert result.exit_code == code, result.output
        return result

    invoke("login", "admin")
    return invoke


# Commands


def test_up_says_where_it_serves_and_how_to_log_in(cluster):
    assert cluster.ready.startswith(f"ready {cluster.url} ")
    assert "admin" in cluster.ready


def test_a_file_goes_there_and_back(run, tmp_path):
    (tmp_path / "a.txt").write_text("hello\n")
    os.utime(tmp_path / "a.txt", (1_600_000_000, 1_600_000_000))
    run("put", tmp_path / "a.txt", "mb:/cli/")
    assert run("cat", "mb:/cli/a.txt").stdout == "hello\n"
    assert run("get", "mb:/cli/a.txt", "-").stdout_bytes == b"hello\n"
    run("get", "mb:/cli/a.txt", tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_text() == "hello\n"
    assert (tmp_path / "b.txt").stat().st_mtime == 1_600_000_000
    facts = json.loads(run("stat", "--json", "/cli/a.txt").stdout)
    assert facts["sha256"] == chunk_id(b"hello\n").hex()


def test_stdin_can_be_put(run):
    run("put", "-", "mb:/cli/stdin", text="typed")
    assert run("cat", "/cli/stdin").stdout == "typed"


def test_names_change_and_versions_and_trash_bring_back(run):
    run("put", "-", "mb:/names/a", text="one")
    run("put", "-", "mb:/names/a", text="two")
    found = json.loads(run("versions", "--json", "/names/a").stdout)
    assert [each["version"] for each in found] == [2, 1]
    run("restore", "/names/a", "1")
    assert run("cat", "/names/a").stdout == "one"
    run("mkdir", "/names/sub")
    run("mv", "/names/a", "/names/sub")
    run("cp", "/names/sub/a", "/names/copy")
    assert run("ls", "/names").output.split() == ["copy", "sub/"]
    assert "is a folder" in run("rm", "/names/sub", code=1).stderr
    run("rm", "-r", "/names/sub")
    thrown = json.loads(run("trash", "list", "--json").stdout)
    (ours,) = [each for each in thrown if each["path"] == "/names/sub"]
    run("trash", "restore", ours["trash_id"])
    assert run("cat", "/names/sub/a").stdout == "one"
    run("rm", "/names/copy")
    run("trash", "empty", "--yes")
    assert json.loads(run("trash", "list", "--json").stdout) == []


def test_what_is_not_there_is_one_line_and_1(run):
    result = run("cat", "/nothing/here", code=1)
    assert result.stderr == "minibox: There is no such file or folder.\n"


def test_a_stranger_is_told_to_log_in_and_a_wrong_password_is_refused(run, monkeypatch):
    run("logout")
    assert run("ls", code=1).stderr == "minibox: You are not logged in; run: minibox login\n"
    monkeypatch.setenv("MINIBOX_PASSWORD", "not the password")
    assert "wrong" in run("login", "admin", code=1).stderr


def test_a_new_account_sees_only_its_own_and_no_nodes(run):
    run("put", "-", "mb:/private", text="secret")
    run("register", "bob")
    assert run("whoami").output.startswith("bob (user)")
    assert run("ls").output == ""
    run("cat", "/private", code=1)
    run("admin", "nodes", code=1)
    assert json.loads(run("status", "--json").stdout)["nodes"] is None


def test_an_administrator_sees_the_cluster(run):
    assert "3 of 3 nodes are up" in run("status").output
    assert {each["id"] for each in json.loads(run("admin", "nodes", "--json").stdout)} == {
        "n1",
        "n2",
        "n3",
    }
    assert "partitions" in run("admin", "layout").output
    assert "3 copies" in run("admin", "cluster").output


def test_a_tree_goes_there_and_back(run, tmp_path):
    source = tmp_path / "source"
    contents = {f"d{n % 7}/f{n}": os.urandom(n * 37) for n in range(700)}
    contents |= {"zero": b"", "medium": os.urandom(900_000), "large": os.urandom(3_000_000)}
    for name, content in contents.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    (source / "empty").mkdir()
    (source / "link").symlink_to("zero")
    result = run("put", "-r", source, "mb:/tree")
    assert result.stdout.startswith("703 files")
    assert "link: a symbolic link" in result.stderr
    run("get", "-r", "mb:/tree", tmp_path / "back")
    back = tmp_path / "back"
    found = {str(each.relative_to(back)): each for each in back.rglob("*")}
    files = {name: each for name, each in found.items() if each.is_file()}
    assert {name: each.read_bytes() for name, each in files.items()} == contents
    assert found["empty"].is_dir()
    for name, each in files.items():
        assert each.stat().st_mtime == pytest.approx((source / name).stat().st_mtime, abs=1e-3)


def test_the_saved_login_is_for_its_owner_alone(run, tmp_path):
    run("ls")
    mode = (tmp_path / "config" / "minibox" / "login.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


# The library


def big(tmp_path, size=40_000_000):
    path = tmp_path / "big"
    path.write_bytes(os.urandom(size))
    return path


def test_large_contents_are_equal_by_both_ways(cluster, tmp_path):
    path = big(tmp_path)
    for number, direct in enumerate((True, False)):
        with Client(cluster.url, username="admin", password=PASSWORD, direct=direct) as box:
            box.put(path, f"/large{number}")
            for other in (0, number):
                box.get(f"/large{other}", tmp_path / "out")
                assert (tmp_path / "out").read_bytes() == path.read_bytes()


class Walled:
    """A network in which only the coordinator can be reached."""

    def __init__(self, endpoints, port):
        self._endpoints = endpoints
        self._port = port

    def to_connect(self, description):
        if description.endswith(f":{self._port}"):
            return self._endpoints.to_connect(description)
        return self

    def to_listen(self, description):
        return self._endpoints.to_listen(description)

    def connect(self, _factory):
        return fail(Refused())


def test_where_nodes_cannot_be_reached_all_goes_through_the_door(cluster, tmp_path):
    path = big(tmp_path)
    background = Background()
    port = cluster.url.rpartition(":")[2]
    world = background.world
    session = Session(
        replace(world, endpoints=Walled(world.endpoints, port)),
        cluster.url,
        username="admin",
        password=PASSWORD,
    )
    try:
        for turn in range(2):  # the first finds out, the second knows
            background.wait_for(lambda turn=turn: session.put(path, f"/walled{turn}"))
            background.wait_for(lambda turn=turn: session.get(f"/walled{turn}", tmp_path / "out"))
            assert (tmp_path / "out").read_bytes() == path.read_bytes()
        background.wait_for(session.close)
    finally:
        background.stop()


class CutOff:
    """A file that can't be read to its end, because then the connection is cut."""

    def __init__(self, file, limit, cut):
        self._file = file
        self._limit = limit
        self._cut = cut

    def read(self, size):
        if self._file.tell() >= self._limit:
            self._cut()
        return self._file.read(size)

    def seekable(self):
        return True

    def seek(self, place):
        return self._file.seek(place)


def test_an_upload_that_was_cut_sends_nothing_twice(box, cluster, tmp_path):
    path = big(tmp_path, 60_000_000)
    opened = open_source(path)

    def cut():
        with Client(cluster.url, username="admin", password=PASSWORD) as other:
            until(lambda: _all_stored(other, upload_ids(tmp_path)[0]))
        raise errors.Unreachable("the world", "it was cut")

    cut_off = OpenSource(
        CutOff(opened.file, 24 * 2**20, cut), opened.size, None, opened.path, opened.mtime_ns
    )
    session = box._session
    with pytest.raises(errors.Unreachable):
        box._wait(
            lambda: session._putter.put(cut_off, Target("/cut"), lambda _: None, session._username)
        )
    opened.file.close()
    assert upload_ids(tmp_path)
    sent = []
    made = box.put(path, "/cut", progress=lambda progress: sent.append(progress.bytes_done))
    assert made.version == 1
    assert max(sent[:-1]) <= 60_000_000 - 2 * 2**20
    assert upload_ids(tmp_path) == []
    box.get("/cut", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == path.read_bytes()


def upload_ids(tmp_path):
    kept = (tmp_path / "resume").glob("*.json")
    return [json.loads(each.read_text())["upload_id"] for each in kept]


def _all_stored(box, upload_id):
    state = box._wait(lambda: box._session._http.call(STATE, {"upload_id": upload_id}))
    return bool(state.chunks) and not state.missing


def test_receipts_too_many_for_one_call_are_told_along_the_way(box, tmp_path, monkeypatch):
    monkeypatch.setattr(uploading, "RECEIPTS_PER_CALL", 5)
    path = big(tmp_path)
    box.put(path, "/receipts")
    assert box.cat("/receipts") == path.read_bytes()


def test_a_source_that_changed_since_is_not_gone_on_with(box, tmp_path):
    path = big(tmp_path, 20_000_000)
    opened = open_source(path)

    def cut():
        raise errors.Unreachable("the world", "it was cut")

    session = box._session
    cut_off = OpenSource(
        CutOff(opened.file, 8 * 2**20, cut), opened.size, None, opened.path, opened.mtime_ns
    )
    with pytest.raises(errors.Unreachable):
        box._wait(
            lambda: session._putter.put(cut_off, Target("/chg"), lambda _: None, session._username)
        )
    opened.file.close()
    facts = path.stat()
    path.write_bytes(os.urandom(20_000_000))
    os.utime(path, ns=(facts.st_mtime_ns, facts.st_mtime_ns))  # it even hides that it changed
    box.put(path, "/chg")
    assert box.cat("/chg") == path.read_bytes()


def test_a_get_goes_on_where_it_was_cut(box, tmp_path):
    path = big(tmp_path, 20_000_000)
    made = box.put(path, "/partial")
    part = tmp_path / f".out.{made.sha256[:16]}.minibox-part"
    part.write_bytes(path.read_bytes()[:9_000_000] + b"garbage" * 1000)
    read = []
    box.get("/partial", tmp_path / "out", progress=read.append)
    assert (tmp_path / "out").read_bytes() == path.read_bytes()
    assert read[0].bytes_done > 4_000_000
    assert not part.exists()


def test_a_reader_seeks_anywhere(box, tmp_path):
    path = big(tmp_path, 10_000_000)
    content = path.read_bytes()
    box.put(path, "/seek")
    with box.open("/seek") as file:
        for start, size in ((0, 10), (9_999_990, 100), (4_000_000, 3_000_000), (5, 5)):
            file.seek(start)
            assert file.read(size) == content[start : start + size]
        assert file.seek(-3, os.SEEK_END) == 9_999_997
        assert file.read() == content[-3:]
        assert file.read() == b""


def test_a_write_to_a_stale_base_is_refused_with_the_head(box):
    first = box.put(b"one", "/base")
    second = box.put(b"two", "/base", base=first.etag)
    with pytest.raises(errors.VersionConflict) as caught:
        box.put(b"three", "/base", base=first.etag)
    assert caught.value.head == second.etag
    with pytest.raises(errors.NameConflict):
        box.put(b"four", "/base", on_conflict="fail")
    assert box.put(b"five", "/base", on_conflict="rename").path != "/base"


def test_a_stale_base_is_refused_for_a_large_file_too(box, tmp_path):
    path = big(tmp_path, 3_000_000)
    first = box.put(path, "/largebase")
    box.put(b"two", "/largebase")
    with pytest.raises(errors.VersionConflict):
        box.put(path, "/largebase", base=first.etag)


def test_a_pipe_of_any_length_can_be_put(box):
    for size in (10, 5_000_000):
        source = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.stdout.write('x' * {size})"],
            stdout=subprocess.PIPE,
        )
        with source:
            assert box.put(source.stdout, "/pipe").size == size
        assert box.cat("/pipe") == b"x" * size


def test_several_clients_work_side_by_side(cluster):
    with (
        Client(cluster.url, username="admin", password=PASSWORD) as first,
        Client(cluster.url, username="admin", password=PASSWORD) as second,
    ):
        first.put(b"from the first", "/shared")
        assert second.cat("/shared") == b"from the first"


# Processes


def test_a_child_that_dies_is_started_again(cluster, box):
    victim = cluster.children()[-1]
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(cluster.children()) == 4 and victim not in cluster.children())
    until(lambda: all(each.state == "up" for each in box.admin.nodes()))


def test_children_end_when_up_is_killed_outright(tmp_path):
    running = Cluster(tmp_path)
    children = running.children()
    assert len(children) == 4
    running.process.kill()
    until(lambda: not any(Path(f"/proc/{each}").exists() for each in children))
    running.stop()


def test_up_that_cannot_start_says_so_and_leaves_nothing(tmp_path, cluster):
    text = (cluster.folder / "cluster.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "minibox", "up"],
        cwd=tmp_path,
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert b"could not start" in done.stderr
    assert done.stdout == b""
