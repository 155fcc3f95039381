"""``python -m minibox.coordinator -c cluster.yaml``: one coordinator, until it is told to stop."""

import argparse
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from minibox.allocator import collect_rarely, keep_freed_memory
from minibox.config import Config, load_config
from minibox.coordinator.service import Coordinator, start_coordinator
from minibox.credentials import load_or_create_cluster_key
from minibox.errors import Failure
from minibox.logging_events import log_json_lines
from minibox.process import EXIT_REFUSED, run_process
from minibox.reactor_world import reactor_world
from minibox.store import open_lmdb

PASSWORD_VARIABLE = "MINIBOX_ADMIN_PASSWORD"  # noqa: S105  a variable's name
PASSWORD_FILE = "admin-password"  # noqa: S105  a file's name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until stopped; the exit code."""
    parser = argparse.ArgumentParser(prog="minibox coordinator")
    parser.add_argument("-c", "--config", type=Path, default=Path("cluster.yaml"))
    parser.add_argument("--parent-pipe", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    from twisted.internet import reactor  # noqa: PLC0415  the only place that may

    keep_freed_memory()
    collect_rarely()
    log_json_lines(sys.stderr)
    try:
        config = load_config(options.config, os.environ)
    except Failure as failure:
        sys.stderr.write(f"minibox: {failure}\n")
        return EXIT_REFUSED
    world = reactor_world(reactor)

    async def start() -> Coordinator:
        settings = config.coordinator
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = load_or_create_cluster_key(config.cluster.secret_file, world.random_bytes)

        async def first_password() -> str:
            return _first_password(config)

        running = await start_coordinator(
            world, config, key, lambda: open_lmdb(world, settings.data / "store"), first_password
        )
        running.store.failed.addCallback(lambda _: reactor.stop())
        return running

    return run_process(reactor, start, options.parent_pipe)


def _first_password(config: Config) -> str:
    """From the environment, else a random one in a file that only its owner reads."""
    given = os.environ.get(PASSWORD_VARIABLE)
    if given:
        return given
    made = secrets.token_urlsafe(12)
    place = config.coordinator.data / PASSWORD_FILE
    descriptor = os.open(place, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    return made


if __name__ == "__main__":
    sys.exit(main())
