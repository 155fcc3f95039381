"""kill -9, SIGSTOP and the loss of a disk: what was acknowledged is there, what goes on goes on."""

import hashlib
import os
import shutil
import signal
import sysconfig
from pathlib import Path

import pytest
from real_cluster import COORDINATOR, eventually

pytestmark = pytest.mark.probe

LIBRARY = Path(sysconfig.get_path("stdlib"))
CREATED = 201


def library_files(*packages):
    """Files of the standard library by their paths: real trees have many small ones."""
    return {
        str(file.relative_to(LIBRARY)): file.read_bytes()
        for package in packages
        for file in sorted((LIBRARY / package).rglob("*.py"))
    }


def content(seed, length):
    """Bytes that look random and are the same each time."""
    return hashlib.shake_256(seed.encode()).digest(length)


def copies_on(cluster, node, files):
    """How many of these, each of one chunk, are on the disk of a node."""
    found = [volume.read_bytes() for volume in (cluster.folder / node / "volumes").glob("*.vol")]
    return sum(any(each in volume for volume in found) for each in files.values())


def store(cluster, files):
    for path, each in files.items():
        answer = cluster.put(path, each)
        assert answer.status == CREATED, (path, answer.status, answer.body)


def check(cluster, files):
    for path, each in files.items():
        assert cluster.get(path) == each, path


def test_a_tree_outlives_a_killed_node_and_gets_its_copies_back(cluster):
    files = library_files("json", "email", "asyncio")
    store(cluster, files)
    cluster.kill("n2")
    check(cluster, files)
    more = library_files("logging", "http") | {"large.bin": content("large", 6_000_000)}
    store(cluster, more)
    check(cluster, more)
    assert cluster.ask("GET", "/api/admin/cluster").json()["debt"] > 0
    cluster.start("n2")
    cluster.await_nodes(3)
    cluster.await_copies(3)
    check(cluster, files | more)


def test_what_was_acknowledged_is_there_after_kill_9_of_the_coordinator(cluster):
    files = {f"{number}.bin": content(str(number), 20_000) for number in range(20)}
    store(cluster, files)
    cluster.kill(COORDINATOR)
    cluster.start_all()
    check(cluster, files)


def test_what_was_acknowledged_is_there_after_kill_9_of_all_nodes(cluster):
    files = {f"{number}.bin": content(str(number), 20_000) for number in range(20)}
    store(cluster, files)
    cluster.kill(*cluster.nodes)
    cluster.start_all()
    check(cluster, files)


def test_what_was_acknowledged_is_there_after_kill_9_of_everything_at_once(cluster):
    files = {"a.bin": content("a", 3_000_000), "empty": b""}
    store(cluster, files)
    cluster.kill(COORDINATOR, *cluster.nodes)
    cluster.start_all()
    check(cluster, files)


def test_once_fully_replicated_two_nodes_may_lose_their_disks_and_get_all_back(cluster):
    files = {"a.bin": content("a", 200_000), "b.bin": content("b", 1000)}
    store(cluster, files)
    cluster.await_copies(3)
    cluster.kill("n1", "n3")
    for node in ("n1", "n3"):
        shutil.rmtree(cluster.folder / node)
    check(cluster, files)
    cluster.start("n1", "n3")
    cluster.await_nodes(3)
    eventually(lambda: copies_on(cluster, "n1", files) == copies_on(cluster, "n3", files) == 2)
    cluster.await_copies(3)


def test_what_a_lost_node_had_is_made_anew_on_the_others(make_cluster):
    cluster = make_cluster(
        nodes=4, suspect_seconds=2, down_seconds=3, lost_seconds=4, repair_seconds=0.5
    )
    cluster.start_all()
    cluster.log_in()
    files = {f"{number}.bin": content(str(number), 20_000) for number in range(10)}
    store(cluster, files)
    cluster.await_copies(3)
    cluster.kill("n1")
    shutil.rmtree(cluster.folder / "n1")

    def are_all_elsewhere():
        return sum(copies_on(cluster, node, files) for node in ("n2", "n3", "n4")) == 3 * len(files)

    assert not are_all_elsewhere()
    eventually(are_all_elsewhere)
    cluster.await_copies(3)
    check(cluster, files)


def test_writes_and_reads_go_on_past_a_node_that_hangs(cluster):
    before = {f"before{number}": content(f"b{number}", 50_000) for number in range(5)}
    store(cluster, before)
    cluster.signal("n3", signal.SIGSTOP)
    after = {f"after{number}": content(f"a{number}", 50_000) for number in range(5)}
    store(cluster, after)
    check(cluster, before | after)
    cluster.signal("n3", signal.SIGCONT)
    cluster.await_nodes(3)
    cluster.await_copies(3)
    check(cluster, before | after)


def test_a_cluster_without_enough_nodes_refuses_and_goes_on_when_they_are_back(cluster):
    store(cluster, {"a": b"first"})
    cluster.kill("n1", "n2")
    refused = cluster.put("b", b"second")
    assert refused.status == 503
    assert refused.json()["code"] == "not_enough_nodes"
    assert cluster.get("a") == b"first"
    cluster.start_all()
    store(cluster, {"b": b"second"})
    check(cluster, {"a": b"first", "b": b"second"})


def test_children_end_with_the_pipe_of_their_parent(make_cluster):
    cluster = make_cluster()
    reading, writing = os.pipe()
    cluster._parent, kept = reading, cluster._parent
    cluster.start("n1")
    cluster._parent = kept
    os.close(reading)
    os.close(writing)
    assert cluster._running["n1"].wait(10) == 0
