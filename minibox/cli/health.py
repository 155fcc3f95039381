"""The command that says whether the cluster serves."""

import sys
from typing import TYPE_CHECKING

import click

from minibox.cli.connecting import connected
from minibox.cli.output import as_json, print_json, print_lines, print_table
from minibox.cli.refusals import REFUSED

if TYPE_CHECKING:
    from minibox.client import Client
    from minibox.http_api.cluster import NodeFacts


@click.command()
@as_json
def status(*, as_json: bool) -> None:
    """Whether the cluster serves; for administrators also its nodes. Exit 1 if it doesn't."""
    with connected() as box:
        health = box.health()
        nodes = _nodes(box)
        url = box.url
    if as_json:
        print_json({"url": url, "health": health, "nodes": nodes})
    else:
        state = "ready" if health.ready else f"not ready: {health.reason or 'starting'}"
        print_lines([f"{url} is {state}; {health.nodes_up} of {health.nodes} nodes are up"])
        if nodes:
            print_table(["node", "state", "zone"], [[n.id, n.state, n.zone] for n in nodes])
    if not health.ready:
        sys.exit(REFUSED)


def _nodes(box: "Client") -> "list[NodeFacts] | None":
    """None for who may not see them."""
    from minibox.errors import (  # noqa: PLC0415
        Forbidden,
        NotFound,
        TokenExpired,
        TokenRevoked,
        Unauthenticated,
    )

    try:
        return box.admin.nodes()
    except (Forbidden, NotFound, Unauthenticated, TokenExpired, TokenRevoked):
        return None
