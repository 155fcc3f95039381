"""Whatever is wrong at the start is one clear line on stderr and exit code 1."""

import http.client
import json
import socket

import lmdb
import pytest
from real_cluster import COORDINATOR

pytestmark = pytest.mark.probe


def only_line(text):
    """The one line that is for people; the others are events as JSON."""
    lines = [line for line in text.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, text
    assert lines[0].startswith("minibox: ")
    return lines[0]


WRONG = {
    "an unknown key": ("replicas: 3", "replicsa: 3", 1, "did you mean 'replicas'?"),
    "a wrong type": ("ack: 2", "ack: two", 1, "expected 1, 2, … or 'all'"),
    "more copies asked for than made": ("ack: 2", "ack: 4", 1, "more copies"),
    "fewer nodes than copies": ("replicas: 3", "replicas: 4", 1, "there are 3; add nodes"),
    "a size without sense": ("zone: n1", "capacity: much", 8, "expected a size"),
    "broken YAML": ("coordinator:", "coordinator: [", 2, ""),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("process", [COORDINATOR, "n1"])
def test_a_wrong_cluster_yaml_is_refused_with_its_line(make_cluster, wrong, process):
    cluster = make_cluster()
    right, written, number, advice = WRONG[wrong]
    cluster.file.write_text(cluster.file.read_text().replace(right, written))
    line = only_line(cluster.refusal(process))
    place, _, said = line.removeprefix("minibox: ").partition(": ")
    assert place.startswith(f"{cluster.file}:")
    if wrong != "broken YAML":
        assert place == f"{cluster.file}:{number}"
    assert advice in said


def test_two_listeners_on_one_port_are_refused_with_the_second_line(make_cluster):
    cluster = make_cluster()
    taken, wanted = str(cluster.node_ports["n1"]), str(cluster.node_ports["n2"])
    cluster.file.write_text(cluster.file.read_text().replace(wanted, taken))
    line = only_line(cluster.refusal("n2"))
    assert f"{cluster.file}:9: port {taken} is taken by {cluster.file}:8" in line


def test_a_node_that_is_not_in_cluster_yaml_is_refused(make_cluster):
    assert "the nodes are n1, n2, n3" in only_line(make_cluster().refusal("n4"))


@pytest.mark.parametrize("process", [COORDINATOR, "n1"])
def test_a_port_that_another_program_has_is_refused(make_cluster, process):
    cluster = make_cluster()
    port = cluster.node_ports["n1"] if process == "n1" else cluster.http_port
    with socket.create_server(("127.0.0.1", port)):
        assert str(port) in only_line(cluster.refusal(process))


@pytest.mark.parametrize("process", [COORDINATOR, "n1"])
def test_a_second_process_on_one_directory_is_refused(make_cluster, process):
    cluster = make_cluster()
    cluster.start(process)
    line = only_line(cluster.refusal(process))
    assert "another process" in line or "taken" in line
    assert cluster._running[process].poll() is None


@pytest.mark.parametrize("process", [COORDINATOR, "n1"])
def test_the_directory_of_another_cluster_is_refused(make_cluster, process):
    cluster = make_cluster()
    cluster.start(process)
    assert cluster.stop(process) == 0
    (cluster.folder / "cluster.key").unlink()
    assert "another cluster" in only_line(cluster.refusal(process))


def test_the_directory_of_another_node_is_refused(make_cluster):
    cluster = make_cluster()
    cluster.start("n1")
    assert cluster.stop("n1") == 0
    (cluster.folder / "n1").rename(cluster.folder / "n2")
    assert "it belongs to node 'n1'" in only_line(cluster.refusal("n2"))


def test_a_directory_that_holds_something_else_is_refused(make_cluster):
    cluster = make_cluster()
    (cluster.folder / "n1").mkdir()
    (cluster.folder / "n1" / "holiday.jpg").touch()
    assert "holiday.jpg" in only_line(cluster.refusal("n1"))


def test_a_node_does_not_touch_a_disk_of_a_newer_format(make_cluster):
    cluster = make_cluster()
    cluster.start("n1")
    assert cluster.stop("n1") == 0
    marker = cluster.folder / "n1" / "minibox-disk"
    newer = json.dumps({**json.loads(marker.read_text()), "format": 2})
    marker.write_text(newer)
    assert "format 2" in only_line(cluster.refusal("n1"))
    assert marker.read_text() == newer


def test_a_coordinator_does_not_touch_a_store_of_a_newer_format(make_cluster):
    cluster = make_cluster()
    cluster.start(COORDINATOR)
    assert cluster.stop(COORDINATOR) == 0
    store = lmdb.open(str(cluster.folder / "coordinator" / "store"))
    with store.begin(write=True) as transaction:
        transaction.put(b"\0format", b"minibox store 99")
    store.close()
    assert "format 99" in only_line(cluster.refusal(COORDINATOR))


def test_processes_that_start_at_once_make_one_cluster_key(make_cluster):
    cluster = make_cluster()
    cluster.start_all()
    cluster.log_in()
    assert (cluster.folder / "cluster.key").stat().st_mode & 0o777 == 0o600


def test_a_stop_is_clean_and_what_was_written_is_there_afterwards(cluster):
    assert cluster.put("a.bin", b"kept").status == http.client.CREATED
    for name in (COORDINATOR, *cluster.nodes):
        assert cluster.stop(name) == 0
    cluster.start_all()
    assert cluster.get("a.bin") == b"kept"
