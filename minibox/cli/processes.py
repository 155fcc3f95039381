"""Commands that are one process of the cluster each."""

import sys

import click

config_option = click.option(
    "-c", "--config", default="cluster.yaml", show_default=True, help="The cluster's file."
)


@click.command()
@config_option
@click.option("--parent-pipe", type=int, hidden=True)
def coordinator(config: str, parent_pipe: int | None) -> None:
    """Run the coordinator: names, accounts, the HTTP API."""
    from minibox.coordinator.__main__ import main  # noqa: PLC0415 - help must be quick

    sys.exit(main(_arguments(config, parent_pipe)))


@click.command()
@click.argument("node_id", metavar="ID")
@config_option
@click.option("--parent-pipe", type=int, hidden=True)
def node(node_id: str, config: str, parent_pipe: int | None) -> None:
    """Run the storage node ID of the cluster's file."""
    from minibox.node.__main__ import main  # noqa: PLC0415

    sys.exit(main([node_id, *_arguments(config, parent_pipe)]))


def _arguments(config: str, parent_pipe: int | None) -> list[str]:
    pipe = [] if parent_pipe is None else ["--parent-pipe", str(parent_pipe)]
    return ["--config", config, *pipe]
