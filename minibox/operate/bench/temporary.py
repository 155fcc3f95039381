"""A cluster for one run: three nodes on free ports, everything gone afterwards."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from minibox.config import demo_config

NODES = 3
_PASSWORD = "temporary password"  # noqa: S105  of a cluster that lives for minutes
_STOP_SECONDS = 30


@contextmanager
def temporary_cluster(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Run a cluster below ``folder``: gives its address, a username and the password."""
    with TemporaryDirectory(prefix="minibox-bench-", dir=folder) as place:
        port = _free_ports()
        (Path(place) / "cluster.yaml").write_text(demo_config(NODES, port))
        environment = {**os.environ, "MINIBOX_ADMIN_PASSWORD": _PASSWORD}
        process = subprocess.Popen(  # noqa: S603  this very program
            [sys.executable, "-m", "minibox", "up", "-c", f"{place}/cluster.yaml"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        try:
            _await_ready(process)
            yield f"http://127.0.0.1:{port}", "admin", _PASSWORD
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            process.kill()
            process.wait()


def _await_ready(process: "subprocess.Popen[bytes]") -> None:
    if process.stdout is None:
        raise RuntimeError("the cluster has no output")
    for line in process.stdout:
        if line.startswith(b"ready http"):
            return
    raise RuntimeError("the temporary cluster did not start")


def _free_ports() -> int:
    """A port p so that p, p + 1 and those of the nodes are free now."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        wanted = [port, port + 1, *(port + 100 + number for number in range(1, NODES + 1))]
        if all(_is_free(each) for each in wanted):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True
