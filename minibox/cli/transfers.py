"""Commands that move content between this machine and the server."""

import sys
from typing import TYPE_CHECKING

import click

from minibox.cli.bars import progress_bar
from minibox.cli.connecting import connected
from minibox.cli.output import as_json, count_text, print_json, print_lines, printable, size_text
from minibox.cli.refusals import REFUSED, check_usage
from minibox.cli.remote import file_target, must_be_local, must_be_remote, remote_path

if TYPE_CHECKING:
    from minibox.client import Client, TreeReport

STDIO = "-"


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.argument("target")
@click.option("-r", "recursive", is_flag=True, help="The content of a folder becomes TARGET's.")
@click.option(
    "--on-conflict",
    type=click.Choice(["replace", "rename", "fail"]),
    default="replace",
    show_default=True,
    help="When TARGET exists.",
)
@click.option("--base", metavar="ETAG", help="Replace exactly this version, else refuse.")
@as_json
def put(
    sources: tuple[str, ...],
    target: str,
    *,
    recursive: bool,
    on_conflict: str,
    base: str | None,
    as_json: bool,
) -> None:
    """Put local SOURCES at mb:/TARGET; - is stdin."""
    remote = must_be_remote(target)
    for each in sources:
        must_be_local(each)
    check_usage(
        (recursive and len(sources) > 1, "-r takes one folder"),
        (recursive and base is not None, "--base is for one file"),
        (len(sources) > 1 and base is not None, "--base is for one file"),
        (STDIO in sources and recursive, "-r takes a folder"),
    )
    with connected() as box:
        if recursive:
            with progress_bar("put") as watcher:
                report = box.put_tree(
                    sources[0],
                    remote,
                    on_conflict=on_conflict,  # type: ignore[arg-type]
                    progress=watcher,
                )
            _print_report(report, as_json=as_json)
            return
        is_folder = len(sources) > 1 or _is_folder(box, remote)
        made = []
        for each in sources:
            place = remote if each == STDIO else file_target(remote, each, is_folder=is_folder)
            with progress_bar(printable(each)) as watcher:
                made.append(
                    box.put(
                        sys.stdin.buffer if each == STDIO else each,
                        place,
                        on_conflict=on_conflict,  # type: ignore[arg-type]
                        base=base,
                        progress=watcher,
                    )
                )
    if as_json:
        print_json(made if len(sources) > 1 else made[0])
    else:
        print_lines(
            f"{each.path} (version {each.version}, {size_text(each.size)})" for each in made
        )


@click.command()
@click.argument("source")
@click.argument("target", default=".")
@click.option("-r", "recursive", is_flag=True, help="The content of a folder becomes TARGET's.")
@click.option("--version", type=click.IntRange(min=1), help="A former version.")
@as_json
def get(source: str, target: str, *, recursive: bool, version: int | None, as_json: bool) -> None:
    """Get mb:/SOURCE to the local TARGET; - is stdout."""
    remote = must_be_remote(source)
    must_be_local(target)
    check_usage(
        (recursive and version is not None, "--version is for one file"),
        (recursive and target == STDIO, "-r needs a folder to write to"),
        (target == STDIO and as_json, "stdout is either the content or JSON"),
    )
    with connected() as box:
        if recursive:
            with progress_bar("get") as watcher:
                report = box.get_tree(remote, target, progress=watcher)
            _print_report(report, as_json=as_json)
            return
        if target == STDIO:
            box.get(remote, sys.stdout.buffer, version=version)
            sys.stdout.buffer.flush()
            return
        with progress_bar(printable(remote)) as watcher:
            facts = box.get(remote, target, version=version, progress=watcher)
    if as_json:
        print_json(facts)
    else:
        print_lines([f"{facts.path} ({size_text(facts.size)})"])


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--version", type=click.IntRange(min=1), help="A former version.")
def cat(paths: tuple[str, ...], *, version: int | None) -> None:
    """Write contents to stdout."""
    with connected() as box:
        for path in paths:
            box.get(remote_path(path), sys.stdout.buffer, version=version)
    sys.stdout.buffer.flush()


def _is_folder(box: "Client", remote: str) -> bool:
    from minibox.errors import NotFound  # noqa: PLC0415

    if remote.endswith("/"):
        return True
    try:
        return box.stat(remote).type == "folder"
    except NotFound:
        return False


def _print_report(report: "TreeReport", *, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        print_lines([f"{count_text(report.files, 'file')}, {size_text(report.bytes)}"])
        for each in report.skipped:
            click.echo(printable(f"skipped: {each.path}: {each.reason}"), err=True)
        for each in report.failed:
            click.echo(printable(f"failed: {each.path}: {each.reason}"), err=True)
    if report.failed:
        sys.exit(REFUSED)
