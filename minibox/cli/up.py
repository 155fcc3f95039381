"""The command that runs a whole cluster in one terminal."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minibox.cli.processes import config_option
from minibox.cli.refusals import REFUSED

if TYPE_CHECKING:
    from minibox.config import Config

PASSWORD_VARIABLE = "MINIBOX_ADMIN_PASSWORD"  # noqa: S105  a variable's name


@click.command()
@config_option
@click.option("--nodes", type=click.IntRange(1, 64), help="Write a demo file for so many nodes.")
def up(config: str, nodes: int | None) -> None:
    """Run the whole cluster here, until Ctrl-C; its processes end with this one."""
    from minibox.cli.children import Child, Children  # noqa: PLC0415 - help must be quick

    path = Path(config)
    loaded = _load(path, nodes)
    is_first_start = not (loaded.coordinator.data / "store").exists()
    arguments = ["-c", str(path)]
    children = [
        Child("coordinator", [sys.executable, "-m", "minibox.coordinator", *arguments]),
        *(
            Child(f"node {name}", [sys.executable, "-m", "minibox.node", name, *arguments])
            for name in loaded.nodes
        ),
    ]

    def all_ready() -> None:
        click.echo(f"ready {url_of(loaded.coordinator.http)}{_advice(loaded, is_first_start)}")
        sys.stdout.flush()

    def log(line: str) -> None:
        click.echo(f"minibox: {line}", err=True)

    if not Children(children, log).run(all_ready):
        sys.exit(REFUSED)


def url_of(listen: str) -> str:
    """Where people reach the coordinator that listens on this endpoint string."""
    from minibox.endpoint_strings import parse, to_connect  # noqa: PLC0415

    dialled = parse(to_connect(listen))
    if dialled.kind == "unix":
        return listen
    scheme = "https" if dialled.kind == "tls" else "http"
    host, port = dialled.positional
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _load(path: Path, nodes: int | None) -> "Config":
    """The file's Config; a demo file is written first where there is none and one is wanted."""
    from minibox.config import demo_config, load_config  # noqa: PLC0415
    from minibox.errors import ConfigInvalid  # noqa: PLC0415

    if nodes is None or path.exists():
        if not path.exists():
            raise ConfigInvalid(
                str(path), "there is no such file; write one for a demo with: minibox up --nodes 3"
            )
        loaded = load_config(path, os.environ)
        if nodes is not None and len(loaded.nodes) != nodes:
            raise ConfigInvalid(
                str(path), f"it has {len(loaded.nodes)} nodes; leave --nodes {nodes} out"
            )
        return loaded
    with path.open("x") as file:
        file.write(demo_config(nodes))
    return load_config(path, os.environ)


def _advice(config: "Config", is_first_start: bool) -> str:  # noqa: FBT001
    """How to log in, where nobody has yet."""
    if not is_first_start:
        return ""
    if os.environ.get(PASSWORD_VARIABLE):
        return f" (log in as admin with the password in {PASSWORD_VARIABLE})"
    file = config.coordinator.data / "admin-password"
    return f" (log in as admin with the password in {file})"
