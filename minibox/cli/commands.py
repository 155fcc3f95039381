"""All commands. What a command needs beyond words is imported when it runs: help is quick."""

import click

from minibox.cli.accounts import login, logout, register, whoami
from minibox.cli.admin import admin
from minibox.cli.bench import bench
from minibox.cli.files import cp, ls, mkdir, mv, rm, stat
from minibox.cli.health import status
from minibox.cli.processes import coordinator, node
from minibox.cli.refusals import RefusingGroup
from minibox.cli.transfers import cat, get, put
from minibox.cli.trash import trash
from minibox.cli.up import up
from minibox.cli.versions import restore, versions


@click.group(cls=RefusingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="minibox", message="%(version)s")
@click.option("--url", metavar="URL", help="The server; else MINIBOX_URL, or the last login's.")
@click.pass_context
def minibox(context: click.Context, url: str | None) -> None:
    """Your own machines as one place for files."""
    context.obj = url


for _command in (
    up,
    coordinator,
    node,
    status,
    register,
    login,
    logout,
    whoami,
    ls,
    put,
    get,
    cat,
    mkdir,
    mv,
    cp,
    rm,
    stat,
    versions,
    restore,
    trash,
    admin,
    bench,
):
    minibox.add_command(_command)
