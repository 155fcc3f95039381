"""`minibox up` and the commands beside it, as a person uses them."""

import os
import select
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from real_cluster import (
    COORDINATOR,
    PASSWORD,
    START_SECONDS,
    await_line,
    environment,
    eventually,
)

from minibox.client import Client

pytestmark = pytest.mark.probe

LIBRARY = Path(sysconfig.get_path("stdlib"))


class Up:
    """A running `minibox up`."""

    def __init__(self, cluster):
        self.url = f"http://127.0.0.1:{cluster.http_port}"
        self._log = cluster.folder / "up.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "minibox", "up", "-c", str(cluster.file)],
                cwd=cluster.folder,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.line = await_line(self.process, "ready http")

    def children(self):
        """The processes under it, by name."""
        number = self.process.pid
        found = {}
        for child in Path(f"/proc/{number}/task/{number}/children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            match words[2:4]:  # one that has just begun or ended has none of its own
                case ["minibox.node", name]:
                    found[name] = int(child)
                case ["minibox.coordinator", _]:
                    found[COORDINATOR] = int(child)
        return found

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def up(make_cluster):
    running = Up(make_cluster(repair_seconds=0.5))
    yield running
    running.close()


def is_alive(number):
    """Whether the process runs; one that nobody has waited for yet doesn't."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def minibox(up, folder, *arguments):
    """One command, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "minibox", "--url", up.url, *arguments],
        cwd=folder,
        env={
            **environment(),
            "MINIBOX_PASSWORD": PASSWORD,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_the_commands_of_the_readme_do_what_it_says(up, tmp_path):
    assert up.line.startswith(f"ready {up.url}")
    (tmp_path / "report.pdf").write_bytes(b"%PDF first")
    minibox(up, tmp_path, "login", "admin")
    minibox(up, tmp_path, "put", "report.pdf", "mb:/docs/")
    assert "report.pdf" in minibox(up, tmp_path, "ls", "-l", "mb:/docs")
    minibox(up, tmp_path, "get", "mb:/docs/report.pdf", "copy.pdf")
    assert (tmp_path / "copy.pdf").read_bytes() == b"%PDF first"
    (tmp_path / "report.pdf").write_bytes(b"%PDF second")
    minibox(up, tmp_path, "put", "report.pdf", "mb:/docs/")
    minibox(up, tmp_path, "restore", "mb:/docs/report.pdf", "1")
    assert minibox(up, tmp_path, "cat", "mb:/docs/report.pdf") == "%PDF first"


def test_a_whole_tree_goes_in_and_comes_out_past_a_killed_node(up, tmp_path):
    source, back = LIBRARY / "asyncio", tmp_path / "back"
    with Client(up.url, username="admin", password=PASSWORD) as box:
        box.put_tree(source, "/asyncio")
        os.kill(up.children()["n2"], signal.SIGKILL)
        box.get_tree("/asyncio", back)
    files = sorted(source.rglob("*.py"))
    assert files
    for file in files:
        assert (back / file.relative_to(source)).read_bytes() == file.read_bytes()


def test_a_child_that_is_killed_is_started_again(up):
    before = up.children()
    assert sorted(before) == [COORDINATOR, "n1", "n2", "n3"]
    os.kill(before["n1"], signal.SIGKILL)
    eventually(lambda: up.children().get("n1", before["n1"]) != before["n1"])


def test_an_interrupt_stops_everything_in_order(up):
    children = up.children()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(START_SECONDS) == 0
    assert not any(is_alive(child) for child in children.values())


def test_kill_9_of_the_parent_ends_the_children_too(up):
    children = up.children()
    up.process.kill()
    eventually(lambda: not any(is_alive(child) for child in children.values()))
    assert select.select([up.process.stdout], [], [], 0)[0]
