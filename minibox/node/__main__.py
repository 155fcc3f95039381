"""The storage process: ``python -m minibox.node n1 -c cluster.yaml``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.internet import reactor

from minibox.allocator import collect_rarely, keep_freed_memory
from minibox.config import load_config
from minibox.credentials import load_or_create_cluster_key
from minibox.errors import Failure
from minibox.logging_events import log_json_lines
from minibox.node.service import Node, directories, start_node
from minibox.process import EXIT_REFUSED, run_process
from minibox.reactor_world import reactor_world


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="minibox node", description=__doc__)
    parser.add_argument("node", help="its name in cluster.yaml")
    parser.add_argument("-c", "--config", type=Path, default=Path("cluster.yaml"))
    parser.add_argument("--parent-pipe", type=int, help="a descriptor: stop when it closes")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    collect_rarely()
    log_json_lines(sys.stderr)
    world = reactor_world(reactor)
    try:
        config = load_config(options.config, os.environ)
        key = load_or_create_cluster_key(config.cluster.secret_file, world.random_bytes)
    except Failure as problem:
        sys.stderr.write(f"minibox: {problem}\n")
        return EXIT_REFUSED

    async def start() -> Node:
        return await start_node(world, config, options.node, key, directories(world))

    return run_process(reactor, start, options.parent_pipe)


if __name__ == "__main__":
    sys.exit(main())
